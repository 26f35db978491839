"""Audit bundles of results in Blob: byte for byte those of the same results in a folder."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

import pytest
from confidential_spark.audit.contents import ArchiveContents, read_manifest
from confidential_spark.audit.making.bundle import bundle
from confidential_spark.cli.main import main
from confidential_spark.core.errors import ResultError
from confidential_spark.hooks.results.blob_copies import BlobCopies
from confidential_spark.hooks.results.location import result_store
from confidential_spark.hooks.results.published_versions import FolderFiles
from confidential_spark.ui.results.published_blobs import PublishedBlobs

from tests.azure.results.conftest import NUMBERS
from tests.support.azure.azurite import ACCOUNT, KEY
from tests.support.azure.results import CONTAINER, Faults
from tests.support.published_range import Range, include_folder, month_files, publish, published_range
from tests.unit.ui.conftest import DAG_ID

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.azure.results import BlobPlace

MONTHS = ("2018-04", "2018-05", "2018-06")
SPAN = (MONTHS[0], MONTHS[-1])


@pytest.fixture
def in_folder(tmp_path: Path) -> Range:
    return published_range(tmp_path / "deployment", MONTHS)


@pytest.fixture
def in_blob(blobs: BlobPlace, in_folder: Range) -> Range:
    store = blobs.results().store(DAG_ID)
    for number, month in enumerate(MONTHS):
        publish(store, month, month_files(month, trips=number))
    return Range(store, in_folder.include)


def test_of_blobs_is_that_of_files(in_folder: Range, in_blob: Range) -> None:
    assert b"".join(bundle(in_blob.sources(), *SPAN)) == b"".join(bundle(in_folder.sources(), *SPAN))


def test_of_the_pages_copies_is_the_same(
    in_folder: Range, in_blob: Range, blobs: BlobPlace, tmp_path: Path
) -> None:
    results = PublishedBlobs(BlobCopies(blobs.folder(), tmp_path / "copies"))

    def published(month: str) -> FolderFiles | None:
        result = results.result(DAG_ID, f"month={month}")
        assert result is not None
        results.provide(DAG_ID, result)
        return FolderFiles(result.folder)

    expected = b"".join(bundle(in_folder.sources(), *SPAN))
    assert b"".join(bundle(in_blob.sources(published=published), *SPAN)) == expected


def test_a_changed_blob_makes_its_month_refused(in_blob: Range, blobs: BlobPlace, tmp_path: Path) -> None:
    """The commit marker has the digest of each file, so nothing else is handed out in its name."""
    (name,) = [name for name in blobs.names() if name.endswith("2018-05.1/summary.json")]
    blobs.write(name, b"{}")
    path = tmp_path / "bundle.zip"
    path.write_bytes(b"".join(bundle(in_blob.sources(), *SPAN)))
    with path.open("rb") as file:
        manifest, _ = read_manifest(ArchiveContents(file))
    assert {month: (entry.found, entry.reason) for month, entry in manifest.months.items()} == {
        "2018-04": ("VERIFIED", ""),
        "2018-05": ("REFUSED", "result-missing"),
        "2018-06": ("VERIFIED", ""),
    }
    assert manifest.months["2018-05"].left_out == 1


def test_a_storage_that_is_away_ends_it_by_name(in_blob: Range, blobs: BlobPlace) -> None:
    store = blobs.results(Faults(at=4, kind="unsent")).store(DAG_ID)
    with pytest.raises(ResultError, match="results-unreachable"):
        b"".join(bundle(Range(store, in_blob.include).sources(), *SPAN))


def test_at_the_command_line(
    blobs: BlobPlace,
    connect: Callable[..., None],
    deploy: Callable[..., None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    connect(login=ACCOUNT, password=KEY)
    include = include_folder(tmp_path / "include")
    place = f"wasbs://{CONTAINER}@{ACCOUNT}.blob.core.windows.net/audit%20{next(NUMBERS)}/résultats+"
    deploy(include_dir=include, results_dir=place)
    store = result_store(place, DAG_ID)
    for month in MONTHS[:2]:
        publish(store, month, month_files(month))
    output = tmp_path / "bundle.zip"
    command = ["audit", "bundle", "nytaxi", "--platform", "local", "--from", SPAN[0], "--to", SPAN[1]]
    assert main([*command, "--output", str(output)]) == 1
    assert "2 of 3 months VERIFIED · 1 MISSING (2018-06)" in capsys.readouterr().out
    with zipfile.ZipFile(output) as file:
        content = b"".join(file.read(name) for name in file.namelist())
    assert KEY.encode() not in content
