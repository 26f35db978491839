"""Make the index anew from what is published, or only what it lacks."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from confidential_spark.core.errors import ConfidentialSparkError
from confidential_spark.core.platforms import Platform
from confidential_spark.hooks.index.entry import IndexEntry, index_entry
from confidential_spark.hooks.index.index import change_index, note_publication, read_index
from confidential_spark.hooks.index.places import index_file
from confidential_spark.hooks.results.location import result_store
from confidential_spark.jobs import JOBS
from confidential_spark.jobs.rollup.rollup import ROLLUP_OF

if TYPE_CHECKING:
    from collections.abc import Iterator

    from confidential_spark.hooks.index.index import Index, IndexFile
    from confidential_spark.hooks.results.store import Location, ResultStore, VersionFiles
    from confidential_spark.jobs.job import SparkJob

log = logging.getLogger(__name__)
JOB_OF = {job.dag_id(platform): job for job in JOBS.values() for platform in Platform}
JOB_OF |= {dag_id: rollup.job for dag_id, rollup in ROLLUP_OF.items()}
MAX_DOCUMENT_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class Rebuilt:
    """What a rebuilding found in one DAG's results.

    :param added: keys that the index did not have, or had for another version or with other content.
    :param dropped: keys of the index that are no longer published, or not as that version.
    :param unreadable: keys whose version could not be read; they are published all the same.
    """

    dag_id: str
    published: int
    added: tuple[str, ...]
    dropped: tuple[str, ...]
    unreadable: tuple[str, ...]


def rebuild_index(location: Location, dag_id: str, *, trust_entries: bool = False) -> Rebuilt:
    """Write the index of a DAG from its published versions.

    :param location: the deployment's ``results_dir``.
    :param trust_entries: keep entries of the versions that are published, and read only the others.
    :raises ResultError: what the storage refuses, ``results-busy``.
    :raises ConfigurationError: ``results-name``, and as :func:`.results_at`.
    """
    file, store = index_file(location, dag_id), result_store(location, dag_id)
    before, versions = read_index(file), file.versions()
    wanted = {key for key, version in versions.items() if not (trust_entries and before.entry(key, version))}
    found = dict(_entries(store, dag_id, sorted(wanted)))
    read = {key: entry for key, entry in found.items() if entry is not None}

    def change(index: Index) -> Index:
        # What was published meanwhile is in the index already, and versions never change.
        now = file.versions()
        return index.with_entries({key: e for key, e in read.items() if now.get(key) == e.version}).only(now)

    if versions or before.entries:
        change_index(file, change)
    return Rebuilt(
        dag_id,
        len(versions),
        added=tuple(key for key, entry in read.items() if before.entries.get(key) != entry),
        dropped=tuple(key for key in before.entries if key not in versions),
        unreadable=tuple(key for key, entry in found.items() if entry is None),
    )


def entry_of(files: VersionFiles, dag_id: str) -> IndexEntry:
    """Return the index's entry for a version, as its files say.

    :raises ResultError: ``results-altered``, and what the storage refuses.
    """
    return index_entry(
        files.name,
        _document(files, "report.json"),
        _document(files, "summary.json"),
        _evidence(files),
        job_of(dag_id),
    )


def note_version(location: Location, dag_id: str, key: str, version: VersionFiles) -> None:
    """Put a publication into the index that pages are drawn from; nothing depends on that."""
    try:
        note_publication(index_file(location, dag_id), key, entry_of(version, dag_id))
    except (ConfidentialSparkError, OSError, ValueError) as error:
        log.warning("%s is published and not in the index yet: %s", key, error)


def job_of(dag_id: str) -> SparkJob | None:
    """Return the job whose months or runs a DAG of this project publishes, or whose years; else None."""
    return JOB_OF.get(dag_id)


def is_usable(file: IndexFile) -> bool:
    """Whether the index has exactly the versions that are published."""
    index = read_index(file)
    return {key: entry.version for key, entry in index.entries.items()} == file.versions()


def _entries(store: ResultStore, dag_id: str, keys: list[str]) -> Iterator[tuple[str, IndexEntry | None]]:
    for key in keys:
        try:
            files = store.current(key)
            if files is not None:
                yield key, entry_of(files, dag_id)
        except ConfidentialSparkError as error:
            if error.retryable:
                raise
            yield key, None


def _document(files: VersionFiles, name: str) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        return files.json_object(name)
    return {}


def _evidence(files: VersionFiles) -> bytes | None:
    with suppress(OSError, ValueError):
        return files.content("evidence.json", MAX_DOCUMENT_BYTES)
    return None
