"""Docker Compose: the engine's plugin, or Debian's program, installed if absent and permitted.

`python -m tests.docker.deployment.compose` installs it; exit code 3 means that it could not be had.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from tests.support.places import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

COMPOSE_FILE = ROOT / "docker" / "compose.yaml"
PACKAGE = "docker-compose"
NO_COMPOSE = 3


class NoComposeError(Exception):
    """Compose cannot be had on this machine; the text says why."""


def main() -> int:
    """Install it, and return an exit code."""
    try:
        command()
    except NoComposeError as error:
        print(f"!!! NOT TESTED: no Compose: {error}", file=sys.stderr)
        return NO_COMPOSE
    return 0


def command() -> list[str]:
    """Return how Compose is called.

    :raises NoComposeError: it is not there and cannot be installed.
    """
    plugin = ["docker", "compose"]
    if subprocess.run([*plugin, "version"], capture_output=True, check=False).returncode == 0:
        return plugin
    if shutil.which(PACKAGE) is None and os.geteuid() == 0 and shutil.which("apt-get"):
        for arguments in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", PACKAGE]):
            subprocess.run(["apt-get", *arguments], check=False, stdout=subprocess.DEVNULL)
    if (program := shutil.which(PACKAGE)) is None:
        raise NoComposeError(f"`docker compose` is not there, and only root can install Debian's {PACKAGE}")
    return [program]


@dataclass
class Compose:
    """One project of Compose.

    :param name: prefix of its containers, networks and volumes.
    :param files: what describes it; later ones override earlier ones.
    :param variables: what the files refer to.
    """

    name: str
    files: list[Path]
    variables: Mapping[str, str]
    program: list[str] = field(default_factory=command)

    def __call__(self, *arguments: str, check: bool = True, **more: Any) -> str:
        """Run one of its commands and return what it prints."""
        files = [part for file in self.files for part in ("--file", str(file))]
        done = subprocess.run(
            [*self.program, "--project-name", self.name, *files, *arguments],
            env={**os.environ, **self.variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            **more,
        )
        assert not check or done.returncode == 0, f"{arguments}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
        return done.stdout + (done.stderr if not check else "")

    def config(self) -> dict[str, Any]:
        """Return the description as Compose understands it."""
        described: dict[str, Any] = yaml.safe_load(self("config"))
        return described

    def containers(self, service: str) -> list[str]:
        """Return the ids of a service's containers."""
        return self("ps", "-q", service).split()

    def execute(self, service: str, *arguments: str, index: int = 1, check: bool = True) -> str:
        """Run a program in a container of a service and return what it prints."""
        return self("exec", "-T", "--index", str(index), service, *arguments, check=check)


if __name__ == "__main__":
    raise SystemExit(main())
