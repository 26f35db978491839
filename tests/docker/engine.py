"""Run a command with a Docker engine: the one that answers, or one installed and started for it.

`python -m tests.docker.engine pytest -m docker`; what was started here is ended here. Exit code 3 means that
no engine could be had, so nothing was tested.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import docker
from docker.errors import DockerException

if TYPE_CHECKING:
    from collections.abc import Iterator

# Debian's package "docker.io" brings the engine; "debootstrap" makes a base image where none can be pulled.
PACKAGES = ("docker.io", "debootstrap")
PROGRAMS = ("dockerd", "debootstrap")
START_PATIENCE_SECONDS = 60.0
END_PATIENCE_SECONDS = 30.0
NO_ENGINE = 3


class NoEngineError(Exception):
    """No Docker engine can be had on this machine; the text says why."""


def main() -> int:
    """Run the command line's command with an engine, and return its exit code."""
    try:
        with running_engine():
            return subprocess.run(sys.argv[1:], check=False).returncode
    except NoEngineError as error:
        print(f"!!! NOT TESTED: no Docker engine: {error}", file=sys.stderr)
        return NO_ENGINE


@contextmanager
def running_engine() -> Iterator[None]:
    """Yield while an engine answers.

    :raises NoEngineError: none answers and none can be started.
    """
    install_missing_programs()
    if answers():
        yield
        return
    with tempfile.TemporaryDirectory(prefix="dockerd-") as folder:
        process = start(Path(folder) / "dockerd.log")
        try:
            yield
        finally:
            process.terminate()
            process.wait(END_PATIENCE_SECONDS)


def answers() -> bool:
    """Say whether the engine of the environment (DOCKER_HOST, else the default socket) answers."""
    try:
        client = docker.from_env(timeout=5)
        client.ping()
    except (DockerException, OSError):
        return False
    return True


def install_missing_programs() -> None:
    """Install engine and debootstrap from Debian, where they are absent and this user may."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if not missing or os.geteuid() != 0 or shutil.which("apt-get") is None:
        return
    print(f"Installing {' and '.join(PACKAGES)} for {' and '.join(missing)} …", flush=True)
    for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *PACKAGES]):
        subprocess.run(["apt-get", *command], check=False, stdout=subprocess.DEVNULL)


def start(log: Path) -> subprocess.Popen[bytes]:
    """Start an engine and return its process once it answers.

    :raises NoEngineError: with the end of the engine's log.
    """
    if os.geteuid() != 0 or shutil.which("dockerd") is None:
        raise NoEngineError("none answers, and only root with Debian's docker.io can start one")
    with log.open("w") as output:
        process = subprocess.Popen(["dockerd"], stdout=output, stderr=output)
    deadline = time.monotonic() + START_PATIENCE_SECONDS
    while not answers():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise NoEngineError(f"dockerd does not start:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.5)
    return process


if __name__ == "__main__":
    raise SystemExit(main())
