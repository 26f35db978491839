"""`Occlum.json` from typed sizes: what the enclave may use, and what it trusts of its surroundings.

The file is measured, so every value here is part of MRENCLAVE. Source: Occlum's `occlum_configuration.md`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from confidential_spark.core.errors import ConfigurationError
from confidential_spark.enclave import layout

if TYPE_CHECKING:
    from confidential_spark.enclave.spark import MemoryPlan

MEBIBYTE = 1024 * 1024
UNITS = {"KB": 1024, "MB": MEBIBYTE, "GB": 1024 * MEBIBYTE}
# As Occlum's own template; 2048 such stacks are address space, not memory.
KERNEL_STACK, PROCESS_STACK, PROCESS_MMAP = "1MB", "4MB", "100MB"
# TCS, two SSA frames, thread data and guard pages of the SGX SDK's `enclave.config`, rounded up.
THREAD_CONTROL_BYTES = 256 * 1024
# The agent, and one of a job's three steps at a time; Occlum sets each one's heap aside when it starts.
PROCESSES = 2
# What a run of Spark's local mode has been seen to start, the agent's and the JVM's own threads included.
FEWEST_THREADS = 64
MOST_THREADS = 16_384
LARGEST_NUMBER = 0xFFFF

# All that programs in the enclave find in their environment. Measured, so no host can set a search path.
ENVIRONMENT = {
    "HOME": "/tmp",  # noqa: S108 - the enclave's own
    "LANG": "C.UTF-8",
    "MALLOC_ARENA_MAX": "1",
    "OCCLUM": "yes",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONHOME": str(layout.PYTHON.parents[1]),
    "PYTHONNOUSERSITE": "1",
    "PYTHONSAFEPATH": "1",
    "PYTHONUNBUFFERED": "1",
    "SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt",
    "TZ": "UTC",
}


@dataclass(frozen=True, kw_only=True)
class EnclaveSizing:
    """How large an enclave is; sizes as Occlum writes them, e.g. ``12GB``.

    :param user_space: all memory of the programs in the enclave.
    :param kernel_heap: Occlum's own memory.
    :param process_heap: what each process gets for its native heap (`brk`).
    :param max_threads: threads of all processes together.
    :param product_id: the signer's number for this product, 0…65535.
    :param svn: security version, 0…65535; raise it with every fix that old images must not outlive.
    :param debug: whether a debugger may read the enclave; production policies refuse such an image.
    """

    user_space: str = "12GB"
    kernel_heap: str = "1GB"
    process_heap: str = "1GB"
    max_threads: int = 2048
    product_id: int = 1
    svn: int = 2
    debug: bool = False

    def __post_init__(self) -> None:
        """Refuse what Occlum or SGX could not represent.

        :raises ConfigurationError: ``enclave-size-malformed`` or ``enclave-number-invalid``.
        """
        for size in (self.user_space, self.kernel_heap, self.process_heap):
            size_bytes(size)
        _require_number("max_threads", self.max_threads, FEWEST_THREADS, MOST_THREADS)
        _require_number("product_id", self.product_id, 0, LARGEST_NUMBER)
        _require_number("svn", self.svn, 0, LARGEST_NUMBER)


def render_occlum_json(sizing: EnclaveSizing) -> str:
    """Return the text of `Occlum.json`; the same sizes give the same bytes."""
    return json.dumps(_document(sizing), indent=2) + "\n"


def require_memory_fits(plan: MemoryPlan, sizing: EnclaveSizing) -> None:
    """Refuse a Spark job that would outgrow its enclave, before the enclave starts.

    JVM heap + metaspace + off-heap + Python, and what Occlum sets aside for each process, must be less than
    the user space: there is no swap in there, and Occlum ends the process that asks for one page too many.

    :param plan: what Spark will be given, MiB.
    :raises ConfigurationError: ``enclave-memory-too-small``.
    """
    reserved = PROCESSES * size_bytes(sizing.process_heap) // MEBIBYTE
    available = size_bytes(sizing.user_space) // MEBIBYTE
    if plan.total + reserved >= available:
        raise ConfigurationError(
            "Spark's memory does not fit into the enclave.",
            code="enclave-memory-too-small",
            got=f"{plan.heap} heap + {plan.metaspace} metaspace + {plan.native} off-heap + {plan.python} "
            f"Python + {PROCESSES} × {sizing.process_heap} = {plan.total + reserved} MiB",
            expected=f"less than the user space of {sizing.user_space} = {available} MiB",
            action="give Spark less memory, or build an image with a larger enclave_user_space_size",
        )


def enclave_bytes(sizing: EnclaveSizing) -> int:
    """Return the enclave's size: all of it is committed when it starts, so it is the EPC to ask for.

    User space, kernel heap, and a kernel stack with its guard and control pages for each thread.
    """
    thread = size_bytes(KERNEL_STACK) + THREAD_CONTROL_BYTES
    return size_bytes(sizing.user_space) + size_bytes(sizing.kernel_heap) + sizing.max_threads * thread


def size_bytes(text: str) -> int:
    """Read a size as Occlum writes it: a whole number and KB, MB or GB, powers of 1024.

    :raises ConfigurationError: ``enclave-size-malformed``.
    """
    match = re.fullmatch(r"([1-9][0-9]{0,8})(KB|MB|GB)", text, re.ASCII)
    if match is None:
        raise ConfigurationError(
            "The size of the enclave is malformed.",
            code="enclave-size-malformed",
            got=text,
            expected="a whole number and KB, MB or GB, e.g. 12GB",
            action="correct the CONFIDENTIAL_SPARK_ENCLAVE_… setting",
        )
    return int(match[1]) * UNITS[match[2]]


def _document(sizing: EnclaveSizing) -> dict[str, Any]:
    nothing = {"high": "0x0", "low": "0x0"}
    return {
        "resource_limits": {
            "kernel_space_heap_size": sizing.kernel_heap,
            "kernel_space_stack_size": KERNEL_STACK,
            "user_space_size": sizing.user_space,
            "max_num_of_threads": sizing.max_threads,
        },
        "process": {
            "default_stack_size": PROCESS_STACK,
            "default_heap_size": sizing.process_heap,
            "default_mmap_size": PROCESS_MMAP,
        },
        # One file, and no folder: the host chooses among them, and what their arguments are. Java and Python
        # would run any code of its.
        "entry_points": [str(layout.ENTRY_POINT)],
        "env": {
            "default": [f"{name}={value}" for name, value in sorted(ENVIRONMENT.items())],
            "untrusted": [],
        },
        "metadata": {
            "product_id": sizing.product_id,
            "version_number": sizing.svn,
            "debuggable": sizing.debug,
            "enable_kss": False,
            "family_id": nothing,
            "ext_prod_id": nothing,
        },
        "feature": {
            "amx": 0,
            "pkru": 0,
            "io_uring": 0,
            "enable_edmm": False,
            "enable_posix_shm": False,
        },
        "mount": _mounts(),
    }


def _mounts() -> list[dict[str, Any]]:
    """Return the file systems: measured image, encrypted and new layer above it, one host folder."""
    root = {
        "target": "/",
        "type": "unionfs",
        "options": {
            "layers": [
                {
                    "target": "/",
                    "type": "sefs",
                    "source": "./build/mount/__ROOT",
                    "options": {"MAC": ""},
                },
                {
                    "target": "/",
                    "type": "sefs",
                    "source": "./run/mount/__ROOT",
                    # Its key is the signer's, not this enclave's: otherwise Occlum would go on with what
                    # any earlier enclave of ours left there, above the measured files.
                    "options": {"temporary": True},
                },
            ]
        },
    }
    return [
        root,
        {"target": str(layout.HOST_DIR), "type": "hostfs", "source": str(layout.HOST_DIR)},
        {"target": "/proc", "type": "procfs"},
        {"target": "/dev", "type": "devfs"},
    ]


def _require_number(name: str, value: int, least: int, most: int) -> None:
    if type(value) is not int or not least <= value <= most:
        raise ConfigurationError(
            f"The enclave's {name} is out of range.",
            code="enclave-number-invalid",
            got=value,
            expected=f"a whole number {least}…{most}",
            action=f"correct CONFIDENTIAL_SPARK_ENCLAVE_{name.upper()}",
        )
