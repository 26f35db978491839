"""What a Docker engine and its host offer to enclaves, asked through the engine's API: works for remote ones.

The host is looked at from inside a short container, made like a run's container: same user, same limits, same
devices. So what it meets is what a run will meet.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from confidential_spark.core.check_rows import SgxDevice
from confidential_spark.core.errors import EnclaveError
from confidential_spark.core.failures import LogWatcher
from confidential_spark.enclave.image import PREFIX
from confidential_spark.platforms.docker.check.rows import LIMITS, EngineFacts, HostFacts
from confidential_spark.platforms.docker.container import AESM_DIR, create_arguments
from confidential_spark.platforms.docker.failures import container_diagnosis, docker_failures

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from docker.api import APIClient

    from confidential_spark.platforms.docker.container import ContainerSpec

CHECK_LABEL = f"{PREFIX}platform-check"
LOOK_SECONDS = 60
MAX_OUTPUT_BYTES = 64 * 1024
KIBIBYTE = 1024
ABSENT = frozenset({"sgx-device-missing", "aesm-unavailable"})
# POSIX shell and coreutils only: both images have them. Its arguments are the devices.
LOOK_SCRIPT = """
for device in "$@"; do
  opens=no; [ -r "$device" ] && [ -w "$device" ] && opens=yes
  stat -c "device %n %a %g $opens" "$device"
done
grep -m1 '^flags' /proc/cpuinfo | tr ' ' '\\n' | sed -n -E 's/^(sgx|sgx_lc)$/cpu \\1/p'
for file in /sys/devices/system/node/node*/x86/sgx_total_bytes; do
  [ -r "$file" ] && echo "epc $(cat "$file")"
done
[ -S "$AESM_DIR/aesm.socket" ] && echo 'aesm yes'
echo "free $(df -k --output=avail / | tail -n 1)"
"""


class DockerHost:
    """One engine and its host.

    :param address: how the engine was reached, for people.
    :param is_private: whether that way is local or TLS.
    """

    def __init__(self, client: APIClient, address: str, *, is_private: bool) -> None:
        """Ask nothing yet."""
        self.client = client
        self.address = address
        self.is_private = is_private

    def engine(self) -> EngineFacts:
        """Return what the engine says about itself.

        :raises EnclaveError: ``docker-…``.
        """
        with docker_failures():
            before = datetime.now(UTC)
            info, version = self.client.info(), self.client.version()
            after = datetime.now(UTC)
        # The engine read its clock somewhere in between.
        here = before + (after - before) / 2
        ahead = (datetime.fromisoformat(info["SystemTime"]) - here).total_seconds()
        return EngineFacts(
            address=self.address,
            is_private=self.is_private,
            version=version["Version"],
            api=tuple(int(part) for part in version["ApiVersion"].split(".")),
            operating_system=info["OSType"],
            architecture=info["Architecture"],
            cpus=info["NCPU"],
            memory_bytes=info["MemTotal"],
            absent_limits=tuple(text for name, text in LIMITS.items() if not info.get(name)),
            security_options=tuple(info.get("SecurityOptions") or ()),
            log_drivers=tuple(info["Plugins"].get("Log") or ()),
            clock_ahead_seconds=ahead,
            live_restore=bool(info.get("LiveRestoreEnabled")),
        )

    def image_labels(self, reference: str) -> dict[str, str] | None:
        """Return the labels of an image, or None when the engine does not have it.

        :raises EnclaveError: ``docker-…``.
        """
        from docker.errors import NotFound

        with docker_failures():
            try:
                image = self.client.inspect_image(reference)
            except NotFound:
                return None
        return dict(image["Config"].get("Labels") or {})

    def look(self, spec: ContainerSpec, device_sets: Iterable[Sequence[str]]) -> HostFacts:
        """Start one short container and return what it met.

        :param spec: a run's container; image, user and limits are used, devices and AESM are tried.
        :param device_sets: SGX devices by each of their names, in the order to try.
        :raises EnclaveError: what the engine refused; ``failure-without-a-name`` when the container failed.
        """
        self.remove_leftovers()
        attempts = [replace(spec, devices=tuple(devices)) for devices in (*device_sets, ())]
        attempts += [replace(attempt, aesm_dir=None) for attempt in attempts if attempt.aesm_dir]
        for attempt in attempts:
            try:
                return host_facts(self._run(attempt))
            except EnclaveError as error:
                if error.code not in ABSENT or attempt is attempts[-1]:
                    raise
        raise AssertionError("the last attempt returned or raised")

    def remove_leftovers(self) -> None:
        """Remove the containers of earlier checks that were killed."""
        with docker_failures():
            for found in self.client.containers(all=True, filters={"label": CHECK_LABEL}):
                self._remove(found["Id"])

    def _run(self, spec: ContainerSpec) -> str:
        arguments = create_arguments(self.client, replace(spec, labels={CHECK_LABEL: "look"}))
        arguments |= {
            "entrypoint": ["/bin/sh", "-c", LOOK_SCRIPT, "look"],
            "command": list(spec.devices),
            "environment": {"AESM_DIR": AESM_DIR},
        }
        with docker_failures():
            container = self.client.create_container(**arguments)["Id"]
            try:
                self.client.start(container)
                self.client.wait(container, timeout=LOOK_SECONDS)
                output: bytes = self.client.logs(container)
                state: dict[str, Any] = self.client.inspect_container(container)["State"]
            finally:
                self._remove(container)
        text = output[:MAX_OUTPUT_BYTES].decode("utf-8", "replace")
        return self._require_ended_well(text, state)

    def _require_ended_well(self, text: str, state: dict[str, Any]) -> str:
        watcher = LogWatcher()
        for line in text.splitlines():
            watcher.feed(line)
        if diagnosis := container_diagnosis(state, watcher):
            raise diagnosis.error()
        return text

    def _remove(self, container: str) -> None:
        from docker.errors import NotFound

        try:
            self.client.remove_container(container, v=True, force=True)
        except NotFound:
            return


def host_facts(output: str) -> HostFacts:
    """Read what the script printed; lines of other forms are ignored.

    :raises EnclaveError: ``host-facts-missing`` when the script did not come to its end.
    """
    free = re.search(r"^free {1,20}([0-9]{1,15})$", output, re.MULTILINE)
    if free is None:
        raise EnclaveError(
            "The container that looks at the host did not answer.",
            code="host-facts-missing",
            got=output[-200:] or "nothing",
            expected="its last line, the free space",
            action="run the image by hand: docker run --rm --entrypoint /bin/sh <image> -c true",
        )
    epc = [int(size) for size in re.findall(r"^epc ([0-9]{1,19})$", output, re.MULTILINE)]
    devices = re.findall(
        r"^device (/dev/\S{1,64}) ([0-7]{1,4}) ([0-9]{1,10}) (yes|no)$", output, re.MULTILINE
    )
    return HostFacts(
        devices=tuple(
            SgxDevice(path, mode, int(group), opens == "yes") for path, mode, group, opens in devices
        ),
        cpu_flags=frozenset(re.findall(r"^cpu (sgx|sgx_lc)$", output, re.MULTILINE)),
        epc_bytes=sum(epc) if epc else None,
        has_aesm="aesm yes" in output.splitlines(),
        free_bytes=int(free[1]) * KIBIBYTE,
    )
