"""A place for results: a folder, or a prefix of Azurite that no other test uses."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from azure.core.exceptions import ResourceExistsError
from confidential_spark.hooks.results.folder_store import FolderResults
from confidential_spark.hooks.results.store import REQUIRED_FILES

from tests.support.azure.results import CONTAINER, BlobPlace
from tests.unit.ui.conftest import api_server, browse, by_hand, show  # noqa: F401 - fixtures

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from confidential_spark.hooks.results.store import Location, Results, ResultStore, VersionFiles

    from tests.support.azure.azurite import Azurite

MAY = "month=2018-05"
NUMBERS = count(1)


@pytest.fixture
def blobs(storage: Azurite) -> BlobPlace:
    with suppress(ResourceExistsError):
        storage.client().create_container(CONTAINER)
    return BlobPlace(storage.endpoint, f"deployment {next(NUMBERS)}/résultats+%41")


@dataclass(frozen=True)
class FolderPlace:
    """A folder that stands for a deployment's results, with what a test asks of either form."""

    root: Path
    marker_ending: ClassVar[str] = ""

    def results(self) -> Results:
        return FolderResults(self.root)

    def write(self, name: str, content: bytes) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def names(self) -> list[str]:
        """Return the names of all files that are not empty: locks have no content."""
        paths = (path for path in self.root.rglob("*") if path.is_file() and not path.is_symlink())
        return sorted(path.relative_to(self.root).as_posix() for path in paths if path.stat().st_size)

    def expire_leases(self) -> None:
        """Nothing: a lock ends with its process."""


Place = FolderPlace | BlobPlace


@pytest.fixture(params=["folder", "blob"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return (
        FolderPlace(tmp_path / "results") if request.param == "folder" else request.getfixturevalue("blobs")
    )


@pytest.fixture
def store(place: Place) -> ResultStore:
    return place.results().store("nytaxi_local")


def files_of(attempt: str) -> dict[str, bytes]:
    """Return a complete result whose files all name its attempt."""
    documents = {name: json.dumps({"attempt": attempt}).encode() for name in REQUIRED_FILES}
    return {**documents, "tables/by hour+%41 é.parquet": attempt.encode() * 1000}


def write(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def staged(store: ResultStore, attempt: str, key: str = MAY, **changes: Any) -> Location:
    """Stage a complete result; a change is another content, or None for no such file."""
    staging = store.stage(key, attempt)
    changed = {name.replace("_", "."): content for name, content in changes.items()}
    files = {**files_of(attempt), **changed}
    with store.hold(staging) as folder:
        write(folder, {name: content for name, content in files.items() if content is not None})
    return staging


def attempt_in(version: VersionFiles | None) -> str | None:
    """Return the one attempt that every file of a version belongs to."""
    if version is None:
        return None
    attempt = str(version.json_object("summary.json")["attempt"])
    assert {name: version.content(name) for name in files_of(attempt)} == files_of(attempt), (
        "a mix of versions"
    )
    return attempt
