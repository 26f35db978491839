"""A deployment with a few published months, and bundles of them."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

import pytest
from confidential_spark.audit.making.bundle import bundle
from confidential_spark.cli.main import main
from confidential_spark.hooks.results.folder_store import FolderStore

from tests.support.published_range import Range, include_folder, month_files, publish
from tests.unit.ui.conftest import DAG_ID

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FIRST, LAST = "2018-04", "2018-06"
MONTHS = ("2018-04", "2018-05", "2018-06")
STEM = f"audit-{DAG_ID}-{FIRST}-to-{LAST}"


@pytest.fixture(scope="session")
def include(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the deployment judges by, and runs."""
    return include_folder(tmp_path_factory.mktemp("include"))


@pytest.fixture
def deployed(tmp_path: Path, include: Path) -> Range:
    """A deployment that has published nothing yet."""
    return Range(FolderStore(tmp_path / "results", DAG_ID), include)


@pytest.fixture
def complete(deployed: Range) -> Range:
    """A deployment that has published every month of the range."""
    for number, month in enumerate(MONTHS):
        publish(deployed.store, month, month_files(month, trips=number, tables__part="é".encode()))
    return deployed


@pytest.fixture(scope="session")
def packed(tmp_path_factory: pytest.TempPathFactory, include: Path) -> bytes:
    """The bundle of a complete range."""
    store = FolderStore(tmp_path_factory.mktemp("results"), DAG_ID)
    for number, month in enumerate(MONTHS):
        publish(store, month, month_files(month, trips=number))
    return b"".join(bundle(Range(store, include).sources(), FIRST, LAST))


@pytest.fixture
def bundle_zip(packed: bytes, tmp_path: Path) -> Path:
    """The same as a file."""
    path = tmp_path / "bundle.zip"
    path.write_bytes(packed)
    return path


@pytest.fixture
def unpacked(bundle_zip: Path, tmp_path: Path) -> Path:
    """The same as a folder."""
    with zipfile.ZipFile(bundle_zip) as file:
        file.extractall(tmp_path / "unpacked")
    return tmp_path / "unpacked" / STEM


@pytest.fixture
def verify(capsys: pytest.CaptureFixture[str], include: Path) -> Callable[..., tuple[int, str]]:
    """Verify a bundle at the command line by the auditor's own policy; return status and output."""

    def verify(path: Path, *options: str, policy: bool = True) -> tuple[int, str]:
        own = ["--policy", str(include / "policies" / "simulation.yaml")] if policy else []
        status = main(["audit", "verify", str(path), *own, *options])
        said = capsys.readouterr()
        return status, said.out + said.err

    return verify
