"""What a Docker engine and its host must offer to enclaves: facts in, rows of the platform check out.

Sources: Docker Engine API 1.41 (`/info`, `/version`), Linux `Documentation/arch/x86/sgx.rst`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from confidential_spark.core.check_rows import (
    CLOCK_FAILURE_SECONDS,
    CLOCK_WARNING_SECONDS,
    GIBIBYTE,
    CheckRow,
    gib,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from confidential_spark.core.check_rows import SgxDevice

OLDEST_API = (1, 41)
"""Docker 20.10, the oldest engine that this project is tested with."""
MEMORY_FOR_THE_HOST = GIBIBYTE
LIMITS = {"MemoryLimit": "memory", "SwapLimit": "swap", "CpuCfsQuota": "CPU", "PidsLimit": "processes"}
# The names of the rows, for a table in which they could not be looked at.
ENGINE_ROWS = (
    *("engine", "engine-private", "architecture", "memory", "cpus", "limits"),
    *("seccomp", "log-driver", "clock", "live-restore"),
)
HOST_ROWS = ("container", "disk", "sgx-cpu", "sgx-devices", "epc", "aesm")
SGX_CPU_FLAGS = frozenset({"sgx", "sgx_lc"})


@dataclass(frozen=True)
class Needs:
    """What the largest run asks of one host.

    :param trust: of the platform's policy.
    :param memory_bytes: limit of one enclave's container.
    :param enclave_bytes: size of one enclave, all of which is committed when it starts.
    :param disk_bytes: free space that the engine's folder should have.
    :param aesm_dir: folder of the host's AESM socket, where quotes come from AESM.
    """

    trust: str
    memory_bytes: int
    enclave_bytes: int
    cpus: int
    disk_bytes: int
    aesm_dir: str | None = None


@dataclass(frozen=True)
class EngineFacts:
    """What an engine says about itself.

    :param address: where it listens.
    :param is_private: a local address, or TLS: nobody on the way can read or use it.
    :param api: newest version of its API that it speaks.
    :param absent_limits: kinds of limits that the kernel does not enforce, e.g. ``memory``.
    :param clock_ahead_seconds: of the engine's clock before this machine's; negative when behind.
    :param live_restore: whether containers outlive a restart of the engine.
    """

    address: str
    is_private: bool
    version: str
    api: tuple[int, ...]
    operating_system: str
    architecture: str
    cpus: int
    memory_bytes: int
    absent_limits: tuple[str, ...]
    security_options: tuple[str, ...]
    log_drivers: tuple[str, ...]
    clock_ahead_seconds: float
    live_restore: bool


@dataclass(frozen=True)
class HostFacts:
    """What a container on the host sees.

    :param epc_bytes: enclave page cache, or None where the kernel does not tell (before 5.17).
    :param has_aesm: whether AESM's socket is where the container expects it.
    :param free_bytes: free space where the engine keeps images and containers.
    """

    devices: tuple[SgxDevice, ...]
    cpu_flags: frozenset[str]
    epc_bytes: int | None
    has_aesm: bool
    free_bytes: int


def engine_rows(facts: EngineFacts, needs: Needs) -> Iterator[CheckRow]:
    """Yield what the engine's own words say."""
    yield CheckRow.judge(
        "engine",
        f"Docker {facts.version} (API {'.'.join(map(str, facts.api))}) at {facts.address}",
        "Docker 20.10 (API 1.41) or later",
        passed=facts.api >= OLDEST_API,
        action="update the engine",
    )
    yield CheckRow.judge(
        "engine-private",
        "local or TLS" if facts.is_private else f"plain TCP: {facts.address}",
        "a local address, or TLS",
        passed=facts.is_private,
        action="give the connection TLS certificates, port 2376: access to this port is root access",
    )
    yield CheckRow.judge(
        "architecture",
        f"{facts.operating_system} {facts.architecture}",
        "linux x86_64",
        passed=(facts.operating_system, facts.architecture) == ("linux", "x86_64"),
        action="use an x86-64 Linux host: the enclave image is built for it",
    )
    yield from _capacity_rows(facts, needs)
    yield CheckRow.judge(
        "limits",
        f"not enforced: {', '.join(facts.absent_limits)}" if facts.absent_limits else "all enforced",
        f"{', '.join(LIMITS.values())}: enforced",
        passed=not facts.absent_limits,
        action="boot the host with cgroup_enable=memory swapaccount=1, or use cgroup v2",
    )
    yield from _operation_rows(facts)


def host_rows(facts: HostFacts, needs: Needs) -> Iterator[CheckRow]:
    """Yield what a container on the host saw, which is itself the first thing to know."""
    yield CheckRow.judge(
        "container",
        "a container with a run's user, limits and rights started and ended well",
        "containers start",
        passed=True,
        action="",
    )
    yield CheckRow.advise(
        "disk",
        f"{gib(facts.free_bytes)} free for images and containers",
        f"{gib(needs.disk_bytes)} or more",
        passed=facts.free_bytes >= needs.disk_bytes,
        action="docker system df; remove old images and stopped containers, or enlarge the disk",
    )
    flags = facts.cpu_flags & SGX_CPU_FLAGS
    yield CheckRow.require_for_hardware(
        "sgx-cpu",
        f"flags {' '.join(sorted(flags))}" if flags else "the processor has no SGX, or hides it",
        "flags sgx and sgx_lc",
        trust=needs.trust,
        passed=flags == SGX_CPU_FLAGS,
        action="use a DCsv3/DCdsv3 machine; elsewhere enable SGX and launch control in the firmware",
    )
    yield _device_row(facts, needs)
    yield _epc_row(facts, needs)
    yield _aesm_row(facts, needs)


def _capacity_rows(facts: EngineFacts, needs: Needs) -> Iterator[CheckRow]:
    wanted = needs.memory_bytes + MEMORY_FOR_THE_HOST
    yield CheckRow.judge(
        "memory",
        gib(facts.memory_bytes),
        f"{gib(wanted)} or more: one enclave and the host itself",
        passed=facts.memory_bytes >= wanted,
        action="use a larger machine, or lower CONFIDENTIAL_SPARK_DCSV3_MEMORY",
    )
    yield CheckRow.judge(
        "cpus",
        facts.cpus,
        f"{needs.cpus} or more",
        passed=facts.cpus >= needs.cpus,
        action="lower CONFIDENTIAL_SPARK_DCSV3_CORES, or use a larger machine",
    )


def _operation_rows(facts: EngineFacts) -> Iterator[CheckRow]:
    seccomp = any("seccomp" in option for option in facts.security_options)
    yield CheckRow.advise(
        "seccomp",
        "on" if seccomp else "off",
        "on",
        passed=seccomp,
        action="use a kernel and an engine with seccomp",
    )
    yield CheckRow.judge(
        "log-driver",
        "json-file" if "json-file" in facts.log_drivers else f"only {', '.join(facts.log_drivers)}",
        "json-file, from which logs can be read again",
        passed="json-file" in facts.log_drivers,
        action="do not remove the engine's json-file log driver",
    )
    offset = abs(facts.clock_ahead_seconds)
    direction = "ahead of" if facts.clock_ahead_seconds > 0 else "behind"
    clock = CheckRow.advise if offset <= CLOCK_FAILURE_SECONDS else CheckRow.judge
    yield clock(
        "clock",
        f"{offset:.1f} s {direction} this machine",
        f"within {CLOCK_WARNING_SECONDS:.0f} s",
        passed=offset <= CLOCK_WARNING_SECONDS,
        action="run NTP on both machines: a token older than its run is refused",
    )
    yield CheckRow.advise(
        "live-restore",
        "on" if facts.live_restore else "off: a restart of the engine ends every enclave",
        "on",
        passed=facts.live_restore,
        action='set "live-restore": true in the engine\'s daemon.json',
    )


def _device_row(facts: HostFacts, needs: Needs) -> CheckRow:
    closed = [device for device in facts.devices if not device.opens]
    got = "; ".join(f"{device.path} mode {device.mode} group {device.group}" for device in facts.devices)
    if closed:
        got += f"; the enclave's user cannot open {', '.join(device.path for device in closed)}"
    return CheckRow.require_for_hardware(
        "sgx-devices",
        got or "no SGX device",
        "/dev/sgx_enclave and /dev/sgx_provision, or their names below /dev/sgx/, which the user may open",
        trust=needs.trust,
        passed=len(facts.devices) > 1 and not closed,
        action="Linux 5.11 or later on an SGX machine; give the enclave's user the devices' groups",
    )


def _epc_row(facts: HostFacts, needs: Needs) -> CheckRow:
    if facts.epc_bytes is None:
        return CheckRow.absent(
            "epc",
            "the kernel does not tell its enclave page cache",
            "more than one enclave needs",
            "nothing on a host without SGX; elsewhere `dmesg | grep -i 'sgx: EPC'` tells",
        )
    return CheckRow.advise(
        "epc",
        gib(facts.epc_bytes),
        f"{gib(needs.enclave_bytes)} or more",
        passed=facts.epc_bytes >= needs.enclave_bytes,
        action="use a larger DCsv3 size: an enclave beyond the page cache is many times slower",
    )


def _aesm_row(facts: HostFacts, needs: Needs) -> CheckRow:
    if needs.aesm_dir is None:
        return CheckRow.absent(
            "aesm",
            "not used: quotes are made inside the container",
            "AESM on the host, where quotes come from it",
            "nothing; to use AESM set CONFIDENTIAL_SPARK_DCSV3_AESM_DIR",
        )
    return CheckRow.require_for_hardware(
        "aesm",
        f"{needs.aesm_dir} is {'there' if facts.has_aesm else 'not there'}",
        f"{needs.aesm_dir} with AESM's socket",
        trust=needs.trust,
        passed=facts.has_aesm,
        action="start aesmd on the host, or unset CONFIDENTIAL_SPARK_DCSV3_AESM_DIR",
    )
