"""The tries of one DAG in Blob: staged files below a lock blob, worked on in a private local copy.

{dag_id}/.staging/{key}/{attempt}/…     the files
{dag_id}/.staging/{key}/{attempt}.lock  there for as long as the try is; leased while somebody works on it
{dag_id}/.refused/{key}/{attempt}/…     the latest refused tries
"""

from __future__ import annotations

import errno
import hashlib
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

from confidential_spark.core.errors import ConfidentialSparkError, ResultError
from confidential_spark.hooks.durable_files import storage_errors
from confidential_spark.hooks.results.blob_folder import NOTHING
from confidential_spark.hooks.results.blob_lease import Lease, leased, leased_if_free
from confidential_spark.hooks.results.blob_marker import FileDigest
from confidential_spark.hooks.results.store import (
    KEPT_REFUSED,
    REFUSED,
    SIGNED,
    STAGING,
    require_file_name,
    run_of,
    staging_lost,
)
from confidential_spark.hooks.task_folder import task_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import timedelta
    from pathlib import Path

    from confidential_spark.hooks.results.blob_folder import BlobFolder, Entry

log = logging.getLogger(__name__)
LOCK = ".lock"
OF_NAMES = (errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.EINVAL)
MAX_FILES = 10_000
MAX_BYTES = 64 * 1024**3
_CHUNK = 1024 * 1024


class BlobTries:
    """The tries of one DAG.

    :param folder: the deployment's results.
    :param dag_id: a safe name.
    """

    def __init__(self, folder: BlobFolder, dag_id: str) -> None:
        """Name the places; nothing is asked yet."""
        self._folder = folder
        self._dag_id = dag_id

    def place(self, key: str, attempt: str, kind: str = STAGING) -> str:
        """Return the name of a try, which its files' names begin with."""
        return f"{self._dag_id}/{kind}/{key}/{attempt}"

    def url(self, key: str, attempt: str, kind: str = STAGING) -> str:
        """Return the address of a try, without credentials."""
        return f"{self._folder.url}/{self.place(key, attempt, kind)}"

    def make(self, key: str, attempt: str) -> None:
        """Make the try's lock unless it is there."""
        self._folder.write(f"{self.place(key, attempt)}{LOCK}", b"", replaces=NOTHING)

    def is_there(self, key: str, attempt: str) -> bool:
        """Whether the try is still there."""
        return self._folder.exists(f"{self.place(key, attempt)}{LOCK}")

    def locks(self, key: str) -> Iterator[tuple[str, Entry]]:
        """Return the key's attempts, each with its lock."""
        below = f"{self._dag_id}/{STAGING}/{key}/"
        for entry in self._folder.entries(below):
            name = entry.name.removeprefix(below)
            if "/" not in name and name.endswith(LOCK):
                yield name.removesuffix(LOCK), entry

    def of_run(self, key: str, run: str) -> list[str]:
        """Return the attempts of a run."""
        return sorted(attempt for attempt, _ in self.locks(key) if run_of(attempt) == run)

    def is_idle(self, lock: Entry, longer_than: timedelta) -> bool:
        """Whether nobody has touched a try for so long."""
        return self._folder.now - lock.modified > longer_than

    @contextmanager
    def copy(self, key: str, attempt: str) -> Iterator[tuple[Path, Lease]]:
        """Hold a try while a private local copy of its files is used.

        :raises ResultError: ``staging-lost``, ``results-locked``.
        """
        place = self.place(key, attempt)
        with leased(self._folder, f"{place}{LOCK}") as lease:
            if lease is None:
                raise staging_lost(self.url(key, attempt))
            self._folder.touch(lease.name, lease.id)
            with task_folder("try") as private:
                local = private / attempt
                local.mkdir()
                self._download(f"{place}/", local)
                yield local, lease

    def keep(
        self, key: str, attempt: str, local: Path, before: Mapping[str, FileDigest], lease: Lease
    ) -> None:
        """Upload what changed in the local copy, and delete what went; the enclave's signature comes last.

        :param before: the files as they were downloaded.
        """
        lease.require()
        place, now = self.place(key, attempt), digests_of(local)
        for name in sorted(before.keys() - now.keys()):
            self._folder.delete(f"{place}/{name}")
        changed = [name for name, digest in now.items() if before.get(name) != digest]
        for name in sorted(changed, key=lambda name: (name == SIGNED, name)):
            self._folder.write(f"{place}/{name}", local / name)

    def keep_if_possible(
        self, key: str, attempt: str, local: Path, before: Mapping[str, FileDigest], lease: Lease
    ) -> None:
        """Keep what a failed task leaves, for inspection; a failure to do so must not hide the task's own."""
        try:
            self.keep(key, attempt, local, before, lease)
        except ConfidentialSparkError as error:
            log.warning("What the failed task has left is not kept: %s", error)

    def remove(self, key: str, attempt: str, lease: Lease) -> None:
        """Remove a held try: its lock last, so that no files are ever left without one."""
        self._folder.delete_all(f"{self.place(key, attempt)}/")
        self._folder.delete(lease.name, lease=lease.id)

    def remove_if_free(self, key: str, attempt: str, *, keep_signed: bool = False) -> str | None:
        """Remove a try unless somebody holds it.

        :param keep_signed: keep its files below ``.refused`` if the enclave has signed them.
        :returns: where its files are kept, if they are.
        """
        kept = None
        with leased_if_free(self._folder, f"{self.place(key, attempt)}{LOCK}") as lease:
            if lease is not None:
                if keep_signed and self._folder.exists(f"{self.place(key, attempt)}/{SIGNED}"):
                    kept = self._keep_refused(key, attempt)
                self.remove(key, attempt, lease)
        return kept

    @contextmanager
    def unless_held(self, key: str, attempt: str) -> Iterator[bool]:
        """Keep publishers from a try; yield False where one is at work on it. A try that is gone has none."""
        lease = Lease(self._folder, f"{self.place(key, attempt)}{LOCK}")
        held = lease.acquire()
        try:
            yield held is not False
        finally:
            if held:
                lease.release()

    def refused(self, key: str) -> list[tuple[str, Entry]]:
        """Return the refused tries of a key, oldest first, each with its newest blob."""
        return newest_of(self._folder.entries(f"{self._dag_id}/{REFUSED}/{key}/"))

    def remove_refused(self, key: str, attempt: str) -> None:
        """Remove a refused try."""
        self._folder.delete_all(f"{self.place(key, attempt, REFUSED)}/")

    def _keep_refused(self, key: str, attempt: str) -> str:
        with task_folder("refused") as local:
            self._download(f"{self.place(key, attempt)}/", local)
            for name in sorted(digests_of(local), key=lambda name: (name == SIGNED, name)):
                self._folder.write(f"{self.place(key, attempt, REFUSED)}/{name}", local / name)
        for oldest, _ in self.refused(key)[:-KEPT_REFUSED]:
            self.remove_refused(key, oldest)
        return self.url(key, attempt, REFUSED)

    def _download(self, below: str, local: Path) -> None:
        with storage_errors("copy a try to this machine"):
            download(self._folder, below, self._folder.entries(below), local)


def download(folder: BlobFolder, below: str, entries: Iterable[Entry], local: Path) -> None:
    """Write listed blobs into an empty folder.

    :param below: what the blobs' names begin with.
    :raises ResultError: ``results-unusable``: a name that no file can have, too many, or changed meanwhile.
    """
    count = size = 0
    for entry in entries:
        count, size = count + 1, size + entry.size
        name = entry.name.removeprefix(below)
        path = local / _safe(name)
        if count > MAX_FILES or size > MAX_BYTES:
            bound = f"more than {MAX_FILES} files or {MAX_BYTES} bytes"
            raise _unusable(f"{folder.url}/{below}", bound)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            kept = folder.download(entry, path)
        except OSError as error:
            if error.errno in OF_NAMES:
                raise _unusable(f"{folder.url}/{below}{name}", str(error)) from error
            raise
        if not kept:
            raise _unusable(f"{folder.url}/{entry.name}", "it changed while it was read")


def newest_of(entries: Iterable[Entry]) -> list[tuple[str, Entry]]:
    """Return the attempts of a listing, each with its newest blob, the oldest first."""
    newest: dict[str, Entry] = {}
    for entry in entries:
        parts = entry.name.split("/")
        if len(parts) > 4 and (parts[3] not in newest or newest[parts[3]].modified < entry.modified):
            newest[parts[3]] = entry
    return sorted(newest.items(), key=lambda item: (item[1].modified, item[0]))


def digests_of(folder: Path) -> dict[str, FileDigest]:
    """Return size and SHA-256 of every file below a folder.

    :raises ResultError: ``results-unusable``: something is no plain file.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise _unusable(path.relative_to(folder).as_posix(), "no plain file")
        if path.is_file():
            digest = hashlib.sha256()
            with path.open("rb") as file:
                while piece := file.read(_CHUNK):
                    digest.update(piece)
            size = path.stat().st_size
            name = path.relative_to(folder).as_posix()
            found[name] = FileDigest(size=size, sha256=digest.hexdigest())
    return found


def _safe(name: str) -> str:
    try:
        return require_file_name(name)
    except ValueError as error:
        raise _unusable(name, str(error)) from error


def _unusable(where: str, got: str) -> ResultError:
    return ResultError(
        "A try's files cannot be used.",
        code="results-unusable",
        got=f"{where}: {got}",
        expected="plain files, written by this project alone",
        action="find out what else writes below the results; then run again as a new try",
    )
