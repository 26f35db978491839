"""Readers of every style beside a month in Blob that is published again and again."""

from __future__ import annotations

import contextlib
import json
from itertools import count
from typing import TYPE_CHECKING

import pytest
from azure.core.exceptions import ResourceExistsError
from confidential_spark.hooks.results.blob_copies import BlobCopies
from confidential_spark.ui.results.archive import archive
from confidential_spark.ui.results.published_blobs import PublishedBlobs

from tests.azure.results.conftest import MAY, write
from tests.support.azure.results import CONTAINER, BlobPlace
from tests.support.month_on_files import NEXT_MONTH, read_tree, unzipped
from tests.support.published_months import Style, TornError, republish, require_complete

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.support.published_months import Files, Tally, Version

PUBLICATIONS = 50
DAG = "nytaxi_local"


class MonthInBlob:
    """A month in an emulator; each reader has a client of its own, as it has a process of its own."""

    def __init__(self, place: BlobPlace, copies: Path) -> None:
        self._place = place
        self._copies = copies
        self._tries = count(1)
        self._store = place.results().store(DAG)

    def publish(self, version: Version) -> None:
        staging = self._store.stage(MAY, f"run{next(self._tries)}.try1")
        with self._store.hold(staging) as folder:
            write(folder, version.files)
        self._store.publish(staging, version.digests)

    def styles(self) -> Sequence[Style]:
        return [
            Style("the marker, then its files", self.by_marker),
            Style("trailing summaries", self.trailing),
            Style("the page's copy", self.copy),
            Style("the page's archive", self.archive),
        ]

    def by_marker(self) -> Files:
        version = self._place.results().store(DAG).published(MAY)
        return require_complete({name: version.content(name) for name in version.names()})

    def trailing(self) -> Files:
        (summary,) = self._place.results().store(DAG).trailing_summaries(NEXT_MONTH, 3)
        return {"summary.json": json.dumps(summary).encode()}

    def copy(self) -> Files:
        return read_tree(str(self._result().folder))

    def archive(self) -> Files:
        content = archive(self._result().folder, "month")
        if content is None:
            raise TornError("there is no archive")
        return unzipped(content)

    def _result(self):
        result = PublishedBlobs(BlobCopies(self._place.folder(), self._copies)).result(DAG, MAY)
        if result is None:
            raise TornError("nothing is published")
        return result


@pytest.fixture(scope="module")
def tallies(storage, tmp_path_factory) -> dict[str, Tally]:
    with contextlib.suppress(ResourceExistsError):
        storage.client().create_container(CONTAINER)
    place = BlobPlace(storage.endpoint, "republished")
    return republish(MonthInBlob(place, tmp_path_factory.mktemp("copies")), PUBLICATIONS)


def test_every_reader_meets_whole_versions_only(tallies: dict[str, Tally]) -> None:
    found = {name: (tally.mixed, tally.faults[:3]) for name, tally in tallies.items()}
    assert found == dict.fromkeys(tallies, (0, []))


def test_readers_met_several_versions(tallies: dict[str, Tally]) -> None:
    for name, tally in tallies.items():
        assert len(tally.versions) > 1, (name, tally.readings)
