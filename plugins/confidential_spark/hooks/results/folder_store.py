"""Results in a local folder, or a POSIX file system that every worker mounts.

{root}/{dag_id}/month=2018-05 -> .versions/month=2018-05/<attempt>     what readers see
{root}/{dag_id}/.versions/month=2018-05/<attempt>/                     published, or replaced lately
{root}/{dag_id}/.staging/month=2018-05/<attempt>/  and  <attempt>.lock a try at work
{root}/{dag_id}/.refused/month=2018-05/<attempt>/                      the latest refused tries
{root}/{dag_id}/.locks/month=2018-05.lock                              one publisher at a time
{root}/.seen/nonce/<sha256>                                            used nonces and token ids
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from uuid import uuid4

from confidential_spark.hooks.durable_files import (
    best_effort,
    create_once,
    exclusive,
    exclusive_if_free,
    shared,
    size_of,
    storage_errors,
    sync,
)
from confidential_spark.hooks.results.published_versions import FolderFiles, PublishedVersions
from confidential_spark.hooks.results.store import (
    ABANDONED_AFTER,
    GRACE,
    KEPT_REFUSED,
    LOCK_TIMEOUT_S,
    MONTH_PREFIX,
    REFUSED,
    SAFE_NAME,
    SEEN,
    SIGNED,
    STAGING,
    VERSIONS,
    Location,
    Publication,
    Results,
    ResultStore,
    VersionFiles,
    bad_name,
    month_key,
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

    from confidential_spark.core.months import Month
    from confidential_spark.hooks.results.retention import Retention

DEPLOYMENT = ".deployment"


class FolderStore(ResultStore):
    """One DAG's results in a local folder; a try is known by its staging folder."""

    def __init__(self, root: Path | str, dag_id: str) -> None:
        """Name the folders; nothing is created yet.

        :raises ConfigurationError: ``results-name``.
        """
        self._root = Path(root)
        self._home = self._root / require_safe("DAG id", dag_id)

    def stage(self, key: str, attempt_id: str, *, abandoned_after: timedelta = ABANDONED_AFTER) -> Path:
        """Return this try's private folder, made if need be.

        :raises ResultError: ``results-unwritable``, ``disk-full``, ``results-locked``.
        """
        folder = self._folder(STAGING, require_safe("key", key))
        staging = folder / require_safe("attempt", attempt_id)
        with storage_errors("stage results"), self._only_publisher(key):
            for lock in sorted(folder.glob("*.lock")):
                if lock != _lock_of(staging):
                    _remove_if_dead(lock, attempt_id, abandoned_after)
            folder.mkdir(parents=True, exist_ok=True)
            _lock_of(staging).touch()
            staging.mkdir(exist_ok=True)
        return staging

    @contextmanager
    def hold(self, staging: Location) -> Iterator[Path]:
        """Keep a try alive while its folder is worked on."""
        staging, _, _ = self._parts(staging)
        if not staging.is_dir():
            raise staging_lost(staging)
        with shared(_lock_of(staging)) as held:
            if not held or not staging.is_dir():
                raise staging_lost(staging)
            os.utime(_lock_of(staging))
            yield staging

    def is_staged(self, staging: Location) -> bool:
        """Whether it is a folder that this store staged and that is still there."""
        path = Path(staging)
        return path.parent.parent == self._home / STAGING and path.is_dir()

    def discard(self, staging: Location) -> None:
        """Remove a try's folder; one that is gone already is fine."""
        staging, _, key = self._parts(staging)
        with storage_errors("discard a try"), self._only_publisher(key):
            _remove_attempt(staging)

    def discard_run(self, key: str, run: str, *, keep_signed: bool = False) -> list[Path]:
        """Remove a run's unpublished tries, or move signed ones to ``.refused``."""
        kept: list[Path] = []
        with storage_errors("discard a run's tries"), self._only_publisher(key):
            for staging in self.tries(key, run):
                with exclusive_if_free(_lock_of(staging)) as free:
                    if free and keep_signed and (staging / SIGNED).is_file():
                        kept.append(self._keep_refused(staging, key))
                    if free:
                        _remove_attempt(staging)
        return kept

    def tries(self, key: str, run: str) -> list[Path]:
        """Return the unpublished tries of a run."""
        locks = self._folder(STAGING, require_safe("key", key)).glob("*.lock")
        folders = sorted(_try_of(lock) for lock in locks)
        return [staging for staging in folders if run_of(staging.name) == run]

    def refused_tries(self, key: str) -> int:
        """Return how many folders are below ``.refused``."""
        return len(self._refused(require_safe("key", key)))

    def _keep_refused(self, staging: Path, key: str) -> Path:
        refused = self._folder(REFUSED, key) / staging.name
        refused.parent.mkdir(parents=True, exist_ok=True)
        staging.rename(refused)
        for oldest in self._refused(key)[:-KEPT_REFUSED]:
            shutil.rmtree(oldest)
        return refused

    def _refused(self, key: str) -> list[Path]:
        """Return the refused tries of a key, oldest first."""
        folder = self._folder(REFUSED, key)
        return sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime) if folder.is_dir() else []

    def publish(
        self,
        staging: Location,
        digests: Mapping[str, str] | None = None,
        *,
        grace: timedelta = GRACE,
        may_replace: Callable[[VersionFiles, VersionFiles], None] = lambda new, current: None,
    ) -> Publication:
        """Rename a try's folder to where its version stays, and switch the link to it.

        :raises ResultError: also ``disk-full``, ``results-unwritable``, ``results-locked``.
        """
        staging, attempt, key = self._parts(staging)
        versions = PublishedVersions(self._home, key)
        with storage_errors("publish results"), self._only_publisher(key):
            versions.require_place()
            new = staging if staging.is_dir() else versions.version(attempt)
            if not new.is_dir():
                raise staging_lost(staging)
            if current := versions.current():
                may_replace(FolderFiles(new), FolderFiles(current))
            if new == staging:
                _require_verified(staging, digests)
                versions.add(staging, attempt)
            publication = versions.commit(attempt)
            _remove_attempt(staging)
            with best_effort("remove replaced versions"):
                versions.sweep(grace)
        return publication

    def current(self, key: str) -> FolderFiles | None:
        """Return the folder that the link leads to now, or None."""
        folder = PublishedVersions(self._home, require_safe("key", key)).current()
        return FolderFiles(folder) if folder else None

    def published_months(self) -> list[Month]:
        """Return the published months in order."""
        if not self._home.is_dir():
            return []
        months = months_of(link.name for link in self._home.glob(f"{MONTH_PREFIX}*"))
        return [month for month in months if (self._home / month_key(month)).is_dir()]

    def consume_once(self, kind: Literal["nonce", "token"], value: str, owner: str) -> None:
        """Create a file that only one of many can create.

        :raises ResultError: ``results-unwritable``, ``disk-full``.
        """
        record = self._root / SEEN / kind / hashlib.sha256(value.encode()).hexdigest()
        with storage_errors("record a used nonce"):
            record.parent.mkdir(parents=True, exist_ok=True)
            if create_once(record, owner):
                return
            first = record.read_text(encoding="utf-8")
        if first != owner:
            raise replayed(kind, first, owner)

    def stale(self, retention: Retention) -> list[Path]:
        """Return what :meth:`sweep` would remove if nobody works on it."""
        return [path for key in self._keys() for path in self._old(key, retention)]

    def sweep(self, retention: Retention) -> list[Path]:
        """Remove what is older than it is kept, and return it."""
        removed: list[Path] = []
        for key in self._keys():
            with best_effort(f"sweep {self._home / key}"):
                if self._old(key, retention):
                    with exclusive_if_free(self._lock(key)) as free:
                        removed += self._remove_old(key, retention) if free else []
        return removed

    def _keys(self) -> list[str]:
        folders = [self._home / name for name in (VERSIONS, STAGING, REFUSED)]
        return sorted({path.name for folder in folders if folder.is_dir() for path in folder.iterdir()})

    def _old(self, key: str, retention: Retention) -> list[Path]:
        tries = [_try_of(lock) for lock in self._folder(STAGING, key).glob("*.lock")]
        return [
            *PublishedVersions(self._home, key).stale(retention.replaced),
            *(path for path in tries if _idle_s(_lock_of(path)) > retention.tries.total_seconds()),
            *(path for path in self._refused(key) if _idle_s(path) > retention.refused.total_seconds()),
        ]

    def _remove_old(self, key: str, retention: Retention) -> list[Path]:
        old = self._old(key, retention)
        PublishedVersions(self._home, key).sweep(retention.replaced)
        for path in old:
            if path.parent == self._folder(STAGING, key):
                _remove_if_dead(_lock_of(path), "", retention.tries)
            elif path.parent == self._folder(REFUSED, key):
                shutil.rmtree(path)
                _remove_if_empty(path.parent)
        return [path for path in old if not path.exists()]

    def _folder(self, kind: str, key: str) -> Path:
        return self._home / kind / key

    @contextmanager
    def _only_publisher(self, key: str) -> Iterator[None]:
        """Hold the key's lock."""
        with exclusive(self._lock(key), LOCK_TIMEOUT_S):
            yield

    def _lock(self, key: str) -> Path:
        """Return the key's lock; keys of single runs share one, for they never end."""
        locks = self._home / ".locks"
        locks.mkdir(parents=True, exist_ok=True)
        return locks / f"{key if key.startswith(MONTH_PREFIX) else 'runs'}.lock"

    def _parts(self, staging: Location) -> tuple[Path, str, str]:
        """Return a staging folder with its attempt and key.

        :raises ConfigurationError: ``results-name`` for a folder that is not this store's.
        """
        path = Path(staging)
        if path.parent.parent != self._home / STAGING:
            raise bad_name("staging folder", str(path), f"a folder that {self._home} staged")
        return path, require_safe("attempt", path.name), require_safe("key", path.parent.name)


@dataclass(frozen=True)
class FolderResults(Results):
    """A deployment's results in a local folder."""

    location: Path

    def store(self, dag_id: str) -> FolderStore:
        """Return a DAG's store."""
        return FolderStore(self.location, dag_id)

    def deployment_id(self) -> str:
        """Return the deployment's id.

        :raises ResultError: ``results-unwritable``, ``disk-full``.
        """
        path = self.location / DEPLOYMENT
        with storage_errors("name the deployment"):
            self.location.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                create_once(path, uuid4().hex)
            return path.read_text(encoding="utf-8").strip()

    def write_documents(self, folder: str, documents: Mapping[str, str]) -> None:
        """Replace small files.

        :raises ResultError: ``results-unwritable``, ``disk-full``.
        """
        place = self.location / folder
        with storage_errors("keep the platform's report"):
            place.mkdir(parents=True, exist_ok=True)
            for name, text in documents.items():
                draft = place / f".{name}.new"
                draft.write_text(text, encoding="utf-8")
                sync(draft)
                draft.replace(place / name)

    def stale(self, retention: Retention) -> Sequence[Path]:
        """Return what :meth:`sweep` would remove if nobody works on it."""
        stale: list[Path] = []
        with best_effort(f"look at {self.location}"):
            for store in self._stores():
                stale += store.stale(retention)
            stale += _stale_seen(self.location / SEEN, retention)
        return stale

    def sweep(self, retention: Retention) -> Sequence[Path]:
        """Remove what is older than it is kept, of every DAG, and return it."""
        removed: list[Path] = []
        with best_effort(f"sweep {self.location}"):
            for store in self._stores():
                removed += store.sweep(retention)
        with best_effort(f"sweep {self.location / SEEN}"):
            for record in _stale_seen(self.location / SEEN, retention):
                record.unlink(missing_ok=True)
                removed.append(record)
        return removed

    def size_of(self, location: Location) -> int:
        """Return the bytes of what is there."""
        return size_of(Path(location))

    def _stores(self) -> list[FolderStore]:
        homes = [home for home in sorted(self.location.iterdir()) if home.is_dir()]
        return [self.store(home.name) for home in homes if SAFE_NAME.fullmatch(home.name)]


def _stale_seen(seen: Path, retention: Retention) -> Iterator[Path]:
    now = time.time()
    for record in sorted(seen.glob("*/*")):
        # A hidden one is the draft of a process that was killed.
        kept = ABANDONED_AFTER if record.name.startswith(".") else retention.seen
        if record.lstat().st_mtime < now - kept.total_seconds():
            yield record


def _lock_of(staging: Path) -> Path:
    return staging.with_name(f"{staging.name}.lock")


def _try_of(lock: Path) -> Path:
    return lock.with_name(lock.name.removesuffix(".lock"))


def _idle_s(path: Path) -> float:
    return time.time() - path.stat().st_mtime


def _remove_if_dead(lock: Path, attempt_id: str, abandoned_after: timedelta) -> None:
    staging = _try_of(lock)
    same_run = run_of(staging.name) == run_of(attempt_id) != ""
    with exclusive_if_free(lock) as free:
        if free and (same_run or _idle_s(lock) > abandoned_after.total_seconds()):
            _remove_attempt(staging)


def _remove_attempt(staging: Path) -> None:
    """Remove a try: its files first, its lock last, so that no files are ever left without a lock."""
    if staging.is_dir():
        shutil.rmtree(staging)
    _lock_of(staging).unlink(missing_ok=True)
    _remove_if_empty(staging.parent)


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def _require_verified(staging: Path, digests: Mapping[str, str] | None) -> None:
    require_complete(FolderFiles(staging))
    if digests is not None:
        require_digests(digests, staging)
