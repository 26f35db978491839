"""The index of results where several writers share nothing but the storage: in a folder and in Blob."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from confidential_spark.hooks.index.entry import IndexEntry
from confidential_spark.hooks.index.index import FILE, note_publication, read_index
from confidential_spark.hooks.index.places import BlobIndex, FolderIndex
from confidential_spark.hooks.results.blob_copies import BlobCopies
from confidential_spark.ui.results.published_blobs import PublishedBlobs

from tests.azure.results.conftest import MAY, FolderPlace, staged

DAG_ID = "nytaxi_local"


@pytest.fixture
def open_index(place):
    """Open the index as one more process would."""

    def open_index():
        if isinstance(place, FolderPlace):
            return FolderIndex(place.root, DAG_ID)
        return BlobIndex(place.folder(), DAG_ID)

    return open_index


def test_versions_are_those_that_the_markers_name(store, open_index) -> None:
    for attempt, key in (("a.1", "run=manual-1"), ("b.1", "month=2018-06"), ("c.1", MAY), ("c.2", MAY)):
        store.publish(staged(store, attempt, key))
    assert open_index().versions() == {"run=manual-1": "a.1", "month=2018-06": "b.1", MAY: "c.2"}


def test_an_index_is_replaced_only_as_it_was_read(open_index) -> None:
    one, other = open_index(), open_index()
    assert one.read() is None
    assert one.replace(b"first", "")
    assert not other.replace(b"second", ""), "there is one already"
    _, state = other.read()
    assert one.replace(b"third", state)
    assert not other.replace(b"fourth", state), "it is no longer the one that was read"
    assert other.read()[0] == b"third"


def test_many_workers_publish_at_once_and_none_is_forgotten(open_index) -> None:
    keys = [f"month=2018-{number:02d}" for number in range(1, 9)]
    start = threading.Barrier(len(keys))

    def note(key: str) -> None:
        file = open_index()
        start.wait()
        note_publication(file, key, IndexEntry(version="one"))

    with ThreadPoolExecutor(len(keys)) as workers:
        list(workers.map(note, keys))
    assert sorted(read_index(open_index()).entries) == keys


def test_an_index_that_is_too_large_is_made_anew(place, open_index) -> None:
    place.write(f"{DAG_ID}/{FILE}", b" " * (16 * 1024 * 1024 + 1))
    assert read_index(open_index()).entries == {}
    note_publication(open_index(), MAY, IndexEntry(version="one"))
    assert set(read_index(open_index()).entries) == {MAY}


def test_a_page_lists_versions_in_blob_and_copies_one_when_it_is_verified(blobs, tmp_path) -> None:
    store = blobs.results().store(DAG_ID)
    for attempt, key in (("a.1", "month=2018-06"), ("b.1", MAY), ("b.2", MAY)):
        store.publish(staged(store, attempt, key))
    results = PublishedBlobs(BlobCopies(blobs.folder(), tmp_path / "copies"))
    listed = results.listed(DAG_ID)
    assert {key: result.version for key, result in listed.items()} == {MAY: "b.2", "month=2018-06": "a.1"}
    assert results.count(DAG_ID) == 2
    assert not any(result.folder.exists() for result in listed.values())

    results.provide(DAG_ID, listed[MAY])
    assert listed[MAY].document("summary.json") == {"attempt": "b.2"}
    note_publication(results.index(DAG_ID), MAY, IndexEntry(version="b.2"))
    assert read_index(BlobIndex(blobs.folder(), DAG_ID)).entry(MAY, "b.2") is not None
