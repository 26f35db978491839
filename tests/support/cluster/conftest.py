"""A cluster for the tests of the cluster: in a temporary folder, with the programs the cache has."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.cluster.images import write_program_image
from tests.support.cluster.machine import MachineUnfitError, require_machine
from tests.support.cluster.places import REPOSITORY, Places
from tests.support.cluster.programs import KUBERNETES, NETWORK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.cluster.programs import GoModule

BUSYBOX = Path("/usr/bin/busybox")
IMAGE = "localhost/confidential-spark/probe:test"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "cluster: brings up a Kubernetes node on this machine (root, a minute)"
    )


@dataclass(frozen=True)
class CommandLine:
    """`python -m tests.cluster` with one home."""

    places: Places

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "tests.support.cluster", *arguments],
            cwd=REPOSITORY,
            env=os.environ | {"CONFIDENTIAL_SPARK_CACHE_DIR": str(self.places.home.parent)},
            capture_output=True,
            text=True,
            check=check,
        )

    def kubectl(self, *arguments: str, check: bool = True) -> str:
        return self.run("kubectl", *arguments, check=check).stdout


@pytest.fixture(scope="module")
def command_line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """The command line with an empty home that has the compiled programs; its node ends with the module."""
    cached = [_cached(module) for module in (KUBERNETES, NETWORK)]
    places = Places(tmp_path_factory.mktemp("cache") / "cluster")
    places.home.mkdir()
    for folder in cached:
        (places.home / folder.name).symlink_to(folder)
    line = CommandLine(places)
    yield line
    line.run("down")
    shutil.rmtree(places.home.parent)


@pytest.fixture(scope="module")
def image_by_digest(command_line: CommandLine, tmp_path_factory: pytest.TempPathFactory) -> str:
    """`repository@sha256:…` of an image on the running node that has busybox and probe."""
    command_line.run("up")
    archive = tmp_path_factory.mktemp("image") / "busybox.tar"
    write_program_image(archive, IMAGE, BUSYBOX, KUBERNETES.folder(command_line.places) / "probe")
    [loaded] = json.loads(command_line.run("load-image", str(archive)).stdout)
    return str(loaded["reference"])


@pytest.fixture(scope="module")
def image(image_by_digest: str) -> str:
    """The same image by its name and tag."""
    return IMAGE


@pytest.fixture
def apply(command_line: CommandLine, image: str, tmp_path: Path) -> Iterator[Callable[..., None]]:
    """Creates objects, and deletes them after the test."""
    files: list[Path] = []

    def create(*objects: dict[str, object]) -> None:
        files.append(tmp_path / f"{len(files)}.json")
        files[-1].write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
        command_line.kubectl("create", f"--filename={files[-1]}")

    yield create
    for file in files:
        command_line.kubectl("delete", "--wait", "--ignore-not-found", f"--filename={file}")


def _cached(module: GoModule) -> Path:
    try:
        require_machine()
    except MachineUnfitError as unfit:
        pytest.skip(unfit.diagnostics())
    if not BUSYBOX.is_file():
        pytest.skip("busybox-static is not installed: `python -m tests.support.cluster install` does it")
    homes = (Places.of_environment(), Places(Path.home() / ".cache" / "confidential-spark" / "cluster"))
    found = next((module.folder(places) for places in homes if module.folder(places).is_dir()), None)
    if found is None:
        pytest.skip(f"{module.contents}: not compiled here; `python -m tests.support.cluster build` does it")
    return found
