"""Where results live: staged per try, published per month in one atomic step.

    {root}/{dag_id}/month=2018-05 -> .versions/month=2018-05/<attempt>     what readers see
    {root}/{dag_id}/.versions/month=2018-05/<attempt>/                     published, or replaced lately
    {root}/{dag_id}/.staging/month=2018-05/<attempt>/  and  <attempt>.lock a try at work
    {root}/{dag_id}/.refused/month=2018-05/<attempt>/                      the latest refused tries
    {root}/{dag_id}/.locks/month=2018-05.lock                              one publisher at a time
    {root}/.seen/nonce/<sha256>                                            used nonces and token ids

Whatever dies at whatever moment, `month=` is the old version or the new one, whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from confidential_spark.core.errors import ConfigurationError, InputError, ResultError, VerificationError
from confidential_spark.core.months import Month
from confidential_spark.hooks.durable_files import (
    best_effort,
    create_once,
    exclusive,
    exclusive_if_free,
    shared,
    storage_errors,
)
from confidential_spark.hooks.published_versions import GRACE, VERSIONS, Publication, PublishedVersions
from confidential_spark.verification.evidence.result_files import require_digests

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from confidential_spark.hooks.result_retention import Retention

REQUIRED_FILES = ("summary.json", "evidence.json", "report.json")
MAX_JSON_BYTES = 64 * 1024 * 1024
MONTH_PREFIX = "month="
SEEN = ".seen"
SIGNED = "envelope.json"
KEPT_REFUSED = 3
ABANDONED_AFTER = timedelta(hours=1)
LOCK_TIMEOUT_S = 300.0
# One path component, no hidden names: at most what a file name may have beside ".replaced" and the like.
SAFE_NAME = re.compile(r"(?!.*\.(lock|replaced)$)[A-Za-z0-9_][A-Za-z0-9_.=+-]{0,239}", re.ASCII)


class ResultStore:
    """Staging, publishing and reading of one DAG's results.

    Keys are ``month=YYYY-MM`` for monthly jobs and ``run=<id>`` for others. A try is known by its staging
    folder, a plain path, so it can be handed from task to task.
    """

    def __init__(self, root: Path | str, dag_id: str) -> None:
        """Name the folders; nothing is created yet.

        :raises ConfigurationError: ``results-name``.
        """
        self._root = Path(root)
        self._home = self._root / _require_safe("DAG id", dag_id)

    def stage(self, key: str, attempt_id: str, *, abandoned_after: timedelta = ABANDONED_AFTER) -> Path:
        """Return this try's private folder, made if need be, after removing dead tries of the same key.

        Dead is another try of the same run (``attempt_id`` up to its last dot), and any try that nobody held
        or touched for ``abandoned_after``. A try that somebody holds is never dead.

        :raises ConfigurationError: ``results-name``.
        :raises ResultError: ``results-unwritable``, ``disk-full``, ``results-locked``.
        """
        folder = self._folder(".staging", _require_safe("key", key))
        staging = folder / _require_safe("attempt", attempt_id)
        with storage_errors("stage results"), self._only_publisher(key):
            for lock in sorted(folder.glob("*.lock")):
                if lock != _lock_of(staging):
                    _remove_if_dead(lock, attempt_id, abandoned_after)
            folder.mkdir(parents=True, exist_ok=True)
            _lock_of(staging).touch()
            staging.mkdir(exist_ok=True)
        return staging

    @contextmanager
    def hold(self, staging: Path | str) -> Iterator[Path]:
        """Keep a try alive while its folder is worked on, however long that takes.

        :raises ResultError: ``staging-lost``: it was published, discarded or cleaned up.
        """
        staging, _, _ = self._parts(staging)
        if not staging.is_dir():
            raise _staging_lost(staging)
        with shared(_lock_of(staging)) as held:
            if not held or not staging.is_dir():
                raise _staging_lost(staging)
            os.utime(_lock_of(staging))
            yield staging

    def discard(self, staging: Path | str) -> None:
        """Remove a try's folder; one that is gone already is fine."""
        staging, _, key = self._parts(staging)
        with storage_errors("discard a try"), self._only_publisher(key):
            _remove_attempt(staging)

    def discard_run(self, key: str, run: str, *, keep_signed: bool = False) -> list[Path]:
        """Remove the unpublished tries of a run that is over; tries that somebody holds stay.

        :param run: what the run's attempt ids have before their last dot.
        :param keep_signed: move tries that the enclave has signed to ``.refused`` instead, for whoever
            wants to know why they were not published; the latest few of a key are kept.
        :returns: the tries that were kept.
        """
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
        locks = self._folder(".staging", _require_safe("key", key)).glob("*.lock")
        folders = sorted(_try_of(lock) for lock in locks)
        return [staging for staging in folders if staging.name.rpartition(".")[0] == run]

    def _keep_refused(self, staging: Path, key: str) -> Path:
        refused = self._folder(".refused", key) / staging.name
        refused.parent.mkdir(parents=True, exist_ok=True)
        staging.rename(refused)
        for oldest in self._refused(key)[:-KEPT_REFUSED]:
            shutil.rmtree(oldest)
        return refused

    def _refused(self, key: str) -> list[Path]:
        """Return the refused tries of a key, oldest first."""
        folder = self._folder(".refused", key)
        return sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime) if folder.is_dir() else []

    def publish(
        self,
        staging: Path | str,
        digests: Mapping[str, str] | None = None,
        *,
        grace: timedelta = GRACE,
        may_replace: Callable[[Path, Path], None] = lambda new, current: None,
    ) -> Publication:
        """Make a try's folder the version of its key that readers see.

        Publishing the same try again, after a crash at any point, completes it.

        :param digests: name → hex SHA-256 of every result file, as verified; compared again just before.
        :param grace: how long a replaced version is kept; older ones are removed.
        :param may_replace: raises where the first folder must not replace the second, which readers see now.
        :raises VerificationError: ``result-…``: a file is not the one that was verified.
        :raises ResultError: ``results-incomplete``, ``results-obstructed``, ``staging-lost``,
            ``attempt-published``, ``attempt-replaced``, ``disk-full``, ``results-unwritable``,
            ``results-locked``. What readers see is untouched in each case.
        """
        staging, attempt, key = self._parts(staging)
        versions = PublishedVersions(self._home, key)
        with storage_errors("publish results"), self._only_publisher(key):
            versions.require_place()
            new = staging if staging.is_dir() else versions.version(attempt)
            if not new.is_dir():
                raise _staging_lost(staging)
            if current := versions.current():
                may_replace(new, current)
            if new == staging:
                _require_complete(staging, digests)
                versions.add(staging, attempt)
            publication = versions.commit(attempt)
            _remove_attempt(staging)
            with best_effort("remove replaced versions"):
                versions.sweep(grace)
        return publication

    def published(self, key: str) -> Path:
        """Return the folder of the version that is published now.

        Its files belong together, and are kept for the grace period after it is replaced: ask once and read
        everything from it.

        :raises InputError: ``not-published``.
        """
        versions = PublishedVersions(self._home, _require_safe("key", key))
        current = versions.current()
        if current is None:
            raise InputError(
                f"Nothing is published as {key}.",
                code="not-published",
                got=f"no {versions.marker}",
                expected="a published result",
                action="run the DAG for it first",
            )
        return current

    def published_months(self) -> list[Month]:
        """Return the published months in order."""
        if not self._home.is_dir():
            return []
        names = (link.name.removeprefix(MONTH_PREFIX) for link in self._home.glob(f"{MONTH_PREFIX}*"))
        months = []
        for name in names:
            try:
                months.append(Month.parse(name))
            except InputError:
                continue
        return sorted(month for month in months if (self._home / month_key(month)).is_dir())

    def read_summary(self, key: str) -> dict[str, Any]:
        """Return a published summary.

        :raises InputError: ``not-published``.
        :raises ResultError: ``summary-unreadable``.
        """
        path = self.published(key) / "summary.json"
        try:
            return _read_object(path)
        except (OSError, ValueError) as error:
            raise ResultError(
                f"The published summary of {key} is not readable.",
                code="summary-unreadable",
                got=f"{path}: {error}",
                expected="a JSON object",
                action="run that month again",
            ) from error

    def trailing_summaries(self, month: Month, count: int) -> list[dict[str, Any]]:
        """Return the summaries of the latest ``count`` months published before ``month``, oldest first.

        Unreadable ones are left out.
        """
        earlier = [candidate for candidate in self.published_months() if candidate < month]
        summaries = []
        for candidate in earlier[-count:] if count > 0 else []:
            try:
                summaries.append(self.read_summary(month_key(candidate)))
            except (ResultError, InputError):
                continue
        return summaries

    def consume_once(self, kind: Literal["nonce", "token"], value: str, owner: str) -> None:
        """Record that ``owner`` (a run's try) used a nonce or token id; the same owner may repeat it.

        :raises VerificationError: ``nonce-replayed``, ``token-replayed``: another owner used it before.
        :raises ResultError: ``results-unwritable``, ``disk-full``.
        """
        record = self._root / SEEN / kind / hashlib.sha256(value.encode()).hexdigest()
        with storage_errors("record a used nonce"):
            record.parent.mkdir(parents=True, exist_ok=True)
            if create_once(record, owner):
                return
            first = record.read_text(encoding="utf-8")
        if first != owner:
            raise VerificationError(
                f"This {kind} was used before.",
                code=f"{kind}-replayed",
                got=f"used by {first}",
                expected=f"a fresh {kind} for {owner}",
                action="treat it as a replay: keep the evidence and find out where it came from",
            )

    def stale(self, retention: Retention) -> list[Path]:
        """Return what :meth:`sweep` would remove if nobody works on it."""
        return [path for key in self._keys() for path in self._old(key, retention)]

    def sweep(self, retention: Retention) -> list[Path]:
        """Remove what is older than it is kept, and return it.

        What somebody works on stays; what cannot be removed is logged, and stays for the next time.
        """
        removed: list[Path] = []
        for key in self._keys():
            with best_effort(f"sweep {self._home / key}"):
                if self._old(key, retention):
                    with exclusive_if_free(self._lock(key)) as free:
                        removed += self._remove_old(key, retention) if free else []
        return removed

    def _keys(self) -> list[str]:
        folders = [self._home / name for name in (VERSIONS, ".staging", ".refused")]
        return sorted({path.name for folder in folders if folder.is_dir() for path in folder.iterdir()})

    def _old(self, key: str, retention: Retention) -> list[Path]:
        tries = [_try_of(lock) for lock in self._folder(".staging", key).glob("*.lock")]
        return [
            *PublishedVersions(self._home, key).stale(retention.replaced),
            *(path for path in tries if _idle_s(_lock_of(path)) > retention.tries.total_seconds()),
            *(path for path in self._refused(key) if _idle_s(path) > retention.refused.total_seconds()),
        ]

    def _remove_old(self, key: str, retention: Retention) -> list[Path]:
        old = self._old(key, retention)
        PublishedVersions(self._home, key).sweep(retention.replaced)
        for path in old:
            if path.parent == self._folder(".staging", key):
                _remove_if_dead(_lock_of(path), "", retention.tries)
            elif path.parent == self._folder(".refused", key):
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

    def _parts(self, staging: Path | str) -> tuple[Path, str, str]:
        """Return a staging folder with its attempt and key.

        :raises ConfigurationError: ``results-name`` for a folder that is not this store's.
        """
        path = Path(staging)
        if path.parent.parent != self._home / ".staging":
            raise _bad_name("staging folder", str(path), f"a folder that {self._home} staged")
        return path, _require_safe("attempt", path.name), _require_safe("key", path.parent.name)


def month_key(month: Month) -> str:
    """Return the key that a month's results are published under."""
    return f"{MONTH_PREFIX}{month}"


def _lock_of(staging: Path) -> Path:
    return staging.with_name(f"{staging.name}.lock")


def _try_of(lock: Path) -> Path:
    return lock.with_name(lock.name.removesuffix(".lock"))


def _idle_s(path: Path) -> float:
    return time.time() - path.stat().st_mtime


def _remove_if_dead(lock: Path, attempt_id: str, abandoned_after: timedelta) -> None:
    staging = _try_of(lock)
    same_run = staging.name.rpartition(".")[0] == attempt_id.rpartition(".")[0] != ""
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


def _require_complete(staging: Path, digests: Mapping[str, str] | None) -> None:
    for name in REQUIRED_FILES:
        try:
            _read_object(staging / name)
        except (OSError, ValueError) as error:
            raise ResultError(
                "The results are not complete, so they are not published.",
                code="results-incomplete",
                got=f"{name}: {error}",
                expected=f"{', '.join(REQUIRED_FILES)}, each a JSON object",
                action="look at the task that should have written it",
            ) from error
    if digests is not None:
        require_digests(digests, staging)


def _read_object(path: Path) -> dict[str, Any]:
    """Return a JSON file's object.

    :raises OSError: it cannot be read, or is not a plain file.
    :raises ValueError: it is not a JSON object, or too large.
    """
    if not path.is_file() or path.is_symlink():
        raise FileNotFoundError(f"no plain file {path}")
    if path.stat().st_size > MAX_JSON_BYTES:
        raise ValueError(f"more than {MAX_JSON_BYTES} bytes")
    try:
        value = json.loads(path.read_bytes())
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def _require_safe(what: str, name: str) -> str:
    if SAFE_NAME.fullmatch(name) is None:
        raise _bad_name(
            what, name, "letters, digits and . _ = + -, at most 240, not hidden, no *.lock or *.replaced"
        )
    return name


def _bad_name(what: str, got: str, expected: str) -> ConfigurationError:
    return ConfigurationError(
        f"That {what} cannot name results.",
        code="results-name",
        got=got,
        expected=expected,
        action="use the names that this project makes",
    )


def _staging_lost(staging: Path) -> ResultError:
    return ResultError(
        "This try's files are gone.",
        code="staging-lost",
        got=f"no {staging}",
        expected="the folder that this try staged",
        action="run again as a new try; somebody cleaned up, or another try replaced this one",
    )
