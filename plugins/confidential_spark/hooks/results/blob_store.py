"""Results below a prefix in Azure Blob Storage, shared by workers that share nothing else.

    {prefix}/{dag_id}/month=2018-05.json                          the commit marker: what readers see
    {prefix}/{dag_id}/.versions/month=2018-05/<attempt>/…         published, or replaced lately
    {prefix}/{dag_id}/.staging/…, .refused/…                      see :mod:`.blob_tries`
    {prefix}/.seen/nonce/<sha256>                                 used nonces and token ids

No lock on a key is needed. A publisher reads the marker, writes all blobs of its version, and commits on the
condition that the marker is still the one it read; else it begins again. A sweep that removes a version which
no marker names reads the marker, lists the blobs, rewrites the marker on the same condition, and deletes each
blob only if it is still the listed one. So no commit names what was deleted: where the publisher read the
marker before the rewriting, its commit fails; where it read it afterwards, it has written its blobs anew.

Where a key has no marker, a sweep takes the try's lease first, which a publisher needs for its commit; a try
that is gone has no publisher. A process that was stopped before its commit looks at its lease afterwards.
"""

from __future__ import annotations

import hashlib
import logging
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from uuid import uuid4

from confidential_spark.core.errors import ConfidentialSparkError, ResultError
from confidential_spark.hooks.results.blob_folder import NOTHING
from confidential_spark.hooks.results.blob_marker import (
    ENDING,
    MAX_MARKER_BYTES,
    BlobFiles,
    FileDigest,
    Marker,
)
from confidential_spark.hooks.results.blob_tries import BlobTries, digests_of, newest_of
from confidential_spark.hooks.results.published_versions import FolderFiles
from confidential_spark.hooks.results.store import (
    ABANDONED_AFTER,
    GRACE,
    MONTH_PREFIX,
    REFUSED,
    SAFE_NAME,
    SEEN,
    STAGING,
    STAGING_LOST,
    VERSIONS,
    Location,
    Publication,
    Results,
    ResultStore,
    VersionFiles,
    attempt_published,
    attempt_replaced,
    bad_name,
    months_of,
    replayed,
    require_complete,
    require_safe,
    run_of,
    staging_lost,
)
from confidential_spark.verification.evidence.result_files import require_digests

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import timedelta
    from pathlib import Path

    from confidential_spark.core.months import Month
    from confidential_spark.hooks.results.blob_folder import BlobFolder, Entry
    from confidential_spark.hooks.results.blob_lease import Lease
    from confidential_spark.hooks.results.retention import Retention

log = logging.getLogger(__name__)
MAX_COMMITS = 20
MAX_RECORD_BYTES = 4096
DEPLOYMENT = ".deployment"


@dataclass(frozen=True)
class _Try:
    """A try as its publisher has it.

    :param local: folder with a private copy of its files.
    """

    key: str
    attempt: str
    local: Path
    files: Mapping[str, FileDigest]


@dataclass(frozen=True)
class _StaleVersions:
    """Versions to remove, and what was read before they were found.

    :param marker: None: the key was never published.
    :param etag: of the marker.
    :param listed: the blobs of all versions.
    :param over: those that were replaced long ago.
    :param dead: those that no marker ever named.
    """

    marker: Marker | None
    etag: str
    listed: Sequence[Entry]
    over: list[str]
    dead: list[str]

    @property
    def names(self) -> list[str]:
        """All of them."""
        return [*self.over, *self.dead]


class BlobStore(ResultStore):
    """One DAG's results in Blob; a try is known by the address of its prefix."""

    def __init__(self, folder: BlobFolder, dag_id: str) -> None:
        """Name the places; nothing is asked yet.

        :raises ConfigurationError: ``results-name``.
        """
        self._folder = folder
        self._dag_id = require_safe("DAG id", dag_id)
        self._tries = BlobTries(folder, dag_id)

    def stage(self, key: str, attempt_id: str, *, abandoned_after: timedelta = ABANDONED_AFTER) -> str:
        """Make the try's lock; its files come when it is held."""
        require_safe("key", key)
        require_safe("attempt", attempt_id)
        for attempt, lock in list(self._tries.locks(key)):
            same_run = run_of(attempt) == run_of(attempt_id) != ""
            if attempt != attempt_id and (same_run or self._tries.is_idle(lock, abandoned_after)):
                self._tries.remove_if_free(key, attempt)
        self._tries.make(key, attempt_id)
        return self._tries.url(key, attempt_id)

    def is_staged(self, staging: Location) -> bool:
        """Whether it is a try that this store staged and that is still there."""
        if not str(staging).startswith(f"{self._folder.url}/{self._dag_id}/{STAGING}/"):
            return False
        return self._tries.is_there(*self._parts(staging))

    @contextmanager
    def hold(self, staging: Location) -> Iterator[Path]:
        """Keep a try leased while a private copy of its files is worked on; changes are uploaded at the end.

        :raises ResultError: ``results-locked``, ``results-lease-lost``: nothing of the block was kept.
        """
        key, attempt = self._parts(staging)
        with self._tries.copy(key, attempt) as (local, lease):
            before = digests_of(local)
            try:
                yield local
            except Exception:
                # Whatever ended the block, which goes on its way.
                self._tries.keep_if_possible(key, attempt, local, before, lease)
                raise
            self._tries.keep(key, attempt, local, before, lease)

    def discard(self, staging: Location) -> None:
        """Remove a try, unless somebody holds it."""
        self._tries.remove_if_free(*self._parts(staging))

    def discard_run(self, key: str, run: str, *, keep_signed: bool = False) -> list[str]:
        """Remove a run's unpublished tries, or copy signed ones to ``.refused`` first."""
        require_safe("key", key)
        kept = [
            self._tries.remove_if_free(key, attempt, keep_signed=keep_signed)
            for attempt in self._tries.of_run(key, run)
        ]
        return [place for place in kept if place]

    def tries(self, key: str, run: str) -> list[str]:
        """Return the unpublished tries of a run."""
        require_safe("key", key)
        return [self._tries.url(key, attempt) for attempt in self._tries.of_run(key, run)]

    def refused_tries(self, key: str) -> int:
        """Return how many prefixes are below ``.refused``."""
        return len(self._tries.refused(require_safe("key", key)))

    def publish(
        self,
        staging: Location,
        digests: Mapping[str, str] | None = None,
        *,
        grace: timedelta = GRACE,
        may_replace: Callable[[VersionFiles, VersionFiles], None] = lambda new, current: None,
    ) -> Publication:
        """Write a try's files as a version, and commit it by one conditional write of the marker.

        :raises ResultError: also ``results-locked``, ``results-lease-lost``, ``results-busy``.
        """
        key, attempt = self._parts(staging)
        try:
            with self._tries.copy(key, attempt) as (local, lease):
                found = _Try(key, attempt, local, digests_of(local))
                marker = self._commit(found, digests, may_replace, lease)
                self._tries.remove(key, attempt, lease)
        except ResultError as error:
            if error.code != STAGING_LOST:
                raise
            # Also where another process had the lease, and has published the try meanwhile.
            marker = self._already_published(key, attempt)
        with _best_effort(f"remove replaced versions of {key}"):
            self._sweep_versions(key, grace)
        version = BlobFiles(self._folder, self._dag_id, marker)
        return Publication(version.location, version)

    def current(self, key: str) -> BlobFiles | None:
        """Return the version that the marker names now, or None."""
        marker, _ = self._marker(require_safe("key", key))
        return BlobFiles(self._folder, self._dag_id, marker) if marker else None

    def published_months(self) -> list[Month]:
        """Return the months that have a marker, in order."""
        listed = self._folder.entries(f"{self._dag_id}/{MONTH_PREFIX}")
        names = (entry.name.removeprefix(f"{self._dag_id}/") for entry in listed)
        return months_of(name.removesuffix(ENDING) for name in names if name.endswith(ENDING))

    def consume_once(self, kind: Literal["nonce", "token"], value: str, owner: str) -> None:
        """Create a blob that only one of many can create."""
        name = f"{SEEN}/{kind}/{hashlib.sha256(value.encode()).hexdigest()}"
        if self._folder.write(name, owner.encode(), replaces=NOTHING):
            return
        # Also where the answer to our own request was lost, and the client asked again.
        record = self._folder.read(name, MAX_RECORD_BYTES)
        first = record[0].decode(errors="replace") if record else "another try, whose record is gone"
        if first != owner:
            raise replayed(kind, first, owner)

    def stale(self, retention: Retention) -> list[str]:
        """Return what :meth:`sweep` would remove if nobody works on it."""
        stale: list[str] = []
        for key in self._keys():
            with _best_effort(f"look at {self._folder.url}/{self._dag_id}/{key}"):
                if versions := self._stale_versions(key, retention.replaced):
                    stale += [f"{self._folder.url}/{self._version(key, name)}" for name in versions.names]
                tries = self._stale_tries(key, retention)
                stale += [self._tries.url(key, attempt, kind) for kind, attempt in tries]
        return stale

    def sweep(self, retention: Retention) -> list[str]:
        """Remove what is older than it is kept, and return it."""
        removed: list[str] = []
        for key in self._keys():
            with _best_effort(f"sweep {self._folder.url}/{self._dag_id}/{key}"):
                removed += self._sweep_versions(key, retention.replaced)
                removed += self._sweep_tries(key, retention)
        return removed

    def _already_published(self, key: str, attempt: str) -> Marker:
        """Return the marker where readers see a try that is gone: its publisher died at the very end."""
        marker, _ = self._marker(key)
        if marker is not None and marker.version == attempt:
            return marker
        if marker is not None and marker.was_replaced(attempt):
            raise attempt_replaced(attempt, f"{self._marker_url(key)} names {marker.version}")
        raise staging_lost(self._tries.url(key, attempt))

    def _commit(
        self,
        new: _Try,
        digests: Mapping[str, str] | None,
        may_replace: Callable[[VersionFiles, VersionFiles], None],
        lease: Lease,
    ) -> Marker:
        for _ in range(MAX_COMMITS):
            marker, etag = self._marker(new.key)
            if marker is not None and self._is_committed(marker, new):
                return marker
            if marker is not None:
                may_replace(FolderFiles(new.local), BlobFiles(self._folder, self._dag_id, marker))
            require_complete(FolderFiles(new.local))
            if digests is not None:
                require_digests(digests, new.local)
            self._write_version(new)
            lease.require()
            following = self._following(marker, new)
            if self._write_marker(following, etag):
                if marker is None and not lease.is_ours():
                    # This process was stopped for so long that a sweep may have taken its blobs.
                    self._write_version(new)
                return following
        raise ResultError(
            "Others publish the same results all the time.",
            code="results-busy",
            got=f"{MAX_COMMITS} publications of {new.key} meanwhile",
            expected="a moment without another publication",
            action="run fewer runs of the same month at once; then run again",
            retryable=True,
        )

    def _is_committed(self, marker: Marker, new: _Try) -> bool:
        """Whether readers see this try already: its publisher died before it had removed all of the try.

        :raises ResultError: ``attempt-published``, ``attempt-replaced``.
        """
        if marker.was_replaced(new.attempt):
            raise attempt_replaced(new.attempt, f"{self._marker_url(new.key)} names {marker.version}")
        if marker.version == new.attempt and not marker.holds(new.files):
            raise attempt_published(BlobFiles(self._folder, self._dag_id, marker).location)
        return marker.version == new.attempt

    def _write_version(self, new: _Try) -> None:
        for name in new.files:
            self._folder.write(f"{self._version(new.key, new.attempt)}/{name}", new.local / name)

    def _following(self, marker: Marker | None, new: _Try) -> Marker:
        now = self._folder.now
        if marker is not None:
            return marker.followed_by(new.attempt, new.files, now)
        return Marker(key=new.key, version=new.attempt, published_at=now, files=dict(new.files))

    def _stale_versions(self, key: str, grace: timedelta) -> _StaleVersions | None:
        """Return the versions that were replaced longer ago, and what killed publishers left, if any."""
        marker, etag = self._marker(key)
        listed = list(self._folder.entries(self._version(key, "")))
        now = self._folder.now
        written = [(name, newest.modified) for name, newest in newest_of(listed)]
        known = {marker.version, *(each.version for each in marker.replaced)} if marker else set()
        # Without a marker that names it, it was never what readers saw: its publisher died before the commit.
        dead = [name for name, at in written if name not in known and at < now - grace]
        over = marker.over(grace, now) if marker else []
        stale = _StaleVersions(marker, etag, listed, over, dead)
        return stale if stale.names else None

    def _sweep_versions(self, key: str, grace: timedelta) -> list[str]:
        """Remove stale versions, and return them; nothing if somebody commits at the same time."""
        stale = self._stale_versions(key, grace)
        if stale is None:
            return []
        if stale.marker is None:
            return [name for version in stale.dead for name in self._sweep_unpublished(key, version, stale)]
        if not self._write_marker(stale.marker.without(stale.over), stale.etag):
            return []
        removed = [self._remove_version(key, version, stale) for version in stale.names]
        for version in stale.over:
            # What a publisher left that died right after its commit must not be published once more.
            self._tries.remove_if_free(key, version)
        return removed

    def _sweep_unpublished(self, key: str, version: str, stale: _StaleVersions) -> list[str]:
        """Remove a version of a key without a marker, unless a publisher is at work on it or just was."""
        with self._tries.unless_held(key, version) as is_dead:
            if is_dead and self._marker(key)[0] is None:
                return [self._remove_version(key, version, stale)]
        return []

    def _remove_version(self, key: str, version: str, stale: _StaleVersions) -> str:
        for entry in reversed(stale.listed):
            if entry.name.startswith(f"{self._version(key, version)}/"):
                self._folder.delete(entry.name, etag=entry.etag)
        return f"{self._folder.url}/{self._version(key, version)}"

    def _stale_tries(self, key: str, retention: Retention) -> list[tuple[str, str]]:
        """Return the tries that nobody touched for long, and the refused ones: kind and attempt."""
        idle = [
            (STAGING, attempt)
            for attempt, lock in self._tries.locks(key)
            if self._tries.is_idle(lock, retention.tries)
        ]
        refused = [
            (REFUSED, attempt)
            for attempt, newest in self._tries.refused(key)
            if self._tries.is_idle(newest, retention.refused)
        ]
        return [*idle, *refused]

    def _sweep_tries(self, key: str, retention: Retention) -> list[str]:
        removed = []
        for kind, attempt in self._stale_tries(key, retention):
            if kind == REFUSED:
                self._tries.remove_refused(key, attempt)
            else:
                self._tries.remove_if_free(key, attempt)
            if kind == REFUSED or not self._tries.is_there(key, attempt):
                removed.append(self._tries.url(key, attempt, kind))
        return removed

    def _keys(self) -> list[str]:
        kinds = (VERSIONS, STAGING, REFUSED)
        names = (entry.name.split("/") for entry in self._folder.entries(f"{self._dag_id}/."))
        return sorted({parts[2] for parts in names if len(parts) > 3 and parts[1] in kinds})

    def _version(self, key: str, version: str) -> str:
        return f"{self._dag_id}/{VERSIONS}/{key}/{version}"

    def _marker_url(self, key: str) -> str:
        return f"{self._folder.url}/{self._dag_id}/{key}{ENDING}"

    def _marker(self, key: str) -> tuple[Marker | None, str]:
        """Return the marker and its ETag; None and nothing where there is none.

        :raises ResultError: ``results-obstructed``.
        """
        try:
            found = self._folder.read(f"{self._dag_id}/{key}{ENDING}", MAX_MARKER_BYTES)
        except ValueError:
            found = b"", NOTHING
        if found is None:
            return None, NOTHING
        return Marker.parse(found[0], self._marker_url(key)), found[1]

    def _write_marker(self, marker: Marker, replaces: str) -> bool:
        name, metadata = f"{self._dag_id}/{marker.key}{ENDING}", {"version": marker.version}
        return self._folder.write(name, marker.to_bytes(), replaces=replaces, metadata=metadata)

    def _parts(self, staging: Location) -> tuple[str, str]:
        """Return a try's key and attempt.

        :raises ConfigurationError: ``results-name`` for an address that is not this store's.
        """
        home = f"{self._folder.url}/{self._dag_id}/{STAGING}/"
        key, _, attempt = str(staging).removeprefix(home).partition("/")
        if not str(staging).startswith(home):
            raise bad_name("staging address", str(staging), f"an address below {home}")
        return require_safe("key", key), require_safe("attempt", attempt)


class BlobResults(Results):
    """A deployment's results in Blob."""

    def __init__(self, folder: BlobFolder) -> None:
        """Keep the place."""
        self._folder = folder
        self.location = folder.url

    def store(self, dag_id: str) -> BlobStore:
        """Return a DAG's store."""
        return BlobStore(self._folder, dag_id)

    def deployment_id(self) -> str:
        """Return the deployment's id."""
        if (found := self._folder.read(DEPLOYMENT, MAX_RECORD_BYTES)) is None:
            self._folder.write(DEPLOYMENT, uuid4().hex.encode(), replaces=NOTHING)
            found = self._folder.read(DEPLOYMENT, MAX_RECORD_BYTES)
        return found[0].decode().strip() if found else ""

    def write_documents(self, folder: str, documents: Mapping[str, str]) -> None:
        """Replace small files."""
        for name, text in documents.items():
            self._folder.write(f"{folder}/{name}", text.encode())

    def stale(self, retention: Retention) -> Sequence[str]:
        """Return what :meth:`sweep` would remove if nobody works on it."""
        stale: list[str] = []
        with _best_effort(f"look at {self.location}"):
            for store in self._stores():
                stale += store.stale(retention)
            stale += [f"{self.location}/{record.name}" for record in self._stale_seen(retention)]
        return stale

    def sweep(self, retention: Retention) -> Sequence[str]:
        """Remove what is older than it is kept, of every DAG, and return it."""
        removed: list[str] = []
        with _best_effort(f"sweep {self.location}"):
            for store in self._stores():
                removed += store.sweep(retention)
            for record in self._stale_seen(retention):
                self._folder.delete(record.name, etag=record.etag)
                removed.append(f"{self.location}/{record.name}")
        return removed

    def size_of(self, location: Location) -> int:
        """Return the bytes of the blobs there."""
        name = str(location).removeprefix(f"{self.location}/")
        blobs = self._folder.entries(name)
        return sum(blob.size for blob in blobs if blob.name == name or blob.name.startswith(f"{name}/"))

    def _stores(self) -> list[BlobStore]:
        return [self.store(name) for name in self._folder.folders() if SAFE_NAME.fullmatch(name)]

    def _stale_seen(self, retention: Retention) -> list[Entry]:
        records = list(self._folder.entries(f"{SEEN}/"))
        return [record for record in records if self._folder.now - record.modified > retention.seen]


@contextmanager
def _best_effort(what: str) -> Iterator[None]:
    """Log the storage's refusal of work that the next run repeats."""
    try:
        yield
    except ConfidentialSparkError as error:
        log.warning("Could not %s: %s", what, error)
