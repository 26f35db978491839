"""Programs without a network, and what they ask the kernel for."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest


def no_network() -> list[str]:
    """Return what starts a program where there is no network, and the loopback is down."""
    command = ["unshare", "--net", "--map-root-user"]
    if not shutil.which("unshare") or subprocess.run([*command, "true"], check=False).returncode:
        pytest.skip("network namespaces cannot be made here")
    return command


def traced(file: Path) -> list[str]:
    """Return what starts a program and writes its calls about sockets to a file."""
    if not shutil.which("strace") or subprocess.run(["strace", "-o", file, "true"], check=False).returncode:
        pytest.skip("strace is not there, or may not trace")
    return ["strace", "-f", "-qq", "-o", str(file), "-e", "trace=bind,listen,connect,accept,accept4,sendto"]


class Sockets:
    """Remembers each address on which a process' network namespace has a socket."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self.samples = 0

    def look(self, process: int) -> None:
        with suppress(OSError):  # it has ended
            for name in ("tcp", "tcp6", "udp", "udp6"):
                lines = Path(f"/proc/{process}/net/{name}").read_text().splitlines()[1:]
                self.seen |= {f"{name} {' '.join(line.split()[1:4])}" for line in lines}
            self.samples += 1
