"""What every store of results promises, in a local folder or in Blob.

A *try* is staged, worked on and published or discarded. A *version* is a published try: whole, never changed,
and kept for a grace period after it is replaced. One commit marker for each key names the version that
readers see. Whatever dies at whatever moment, readers see the old version or the new one, whole.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from confidential_spark.core.errors import ConfigurationError, InputError, ResultError, VerificationError
from confidential_spark.core.months import Month

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from confidential_spark.hooks.results.retention import Retention
    from confidential_spark.jobs.report import RunReport

REQUIRED_FILES = ("summary.json", "evidence.json", "report.json")
MAX_JSON_BYTES = 64 * 1024 * 1024
MONTH_PREFIX = "month="
YEAR_PREFIX = "year="
KEY_PREFIXES = (MONTH_PREFIX, YEAR_PREFIX, "run=")
VERSIONS, STAGING, REFUSED, SEEN = ".versions", ".staging", ".refused", ".seen"
SIGNED = "envelope.json"
STAGING_LOST = "staging-lost"
KEPT_REFUSED = 3
GRACE = timedelta(days=1)
ABANDONED_AFTER = timedelta(hours=1)
LOCK_TIMEOUT_S = 300.0
# One path component, no hidden names: at most what a file name may have beside ".replaced" and the like.
SAFE_NAME = re.compile(r"(?!.*\.(lock|replaced)$)[A-Za-z0-9_][A-Za-z0-9_.=+-]{0,239}", re.ASCII)
# Controls and back slashes, which some systems take for a separator.
FORBIDDEN = re.compile(r"[\x00-\x1f\x7f\\]")

Location = Path | str
"""A folder, or the address of a blob prefix, never with credentials. Tasks hand it on as text."""


class VersionFiles(ABC):
    """The files of one version, or of one try: they belong together while the month is replaced.

    :ivar location: where they are.
    """

    location: Location

    @property
    def name(self) -> str:
        """Name of the version, which is the attempt that made it."""
        return str(self.location).rpartition("/")[2]

    @abstractmethod
    def names(self) -> list[str]:
        """Return the names of its files, in order."""

    @abstractmethod
    def content(self, name: str, limit: int = MAX_JSON_BYTES) -> bytes:
        """Return a plain file's content.

        :raises OSError: it is absent, unreadable or no plain file.
        :raises ValueError: it has more than ``limit`` bytes.
        """

    def copy_to(self, folder: Path, limit: int) -> None:
        """Copy all files to a new folder.

        :param limit: bytes of the largest file.
        :raises OSError: the folder exists, or cannot be written.
        :raises ValueError: a file is larger.
        :raises ResultError: what the storage refuses.
        """
        folder.mkdir(parents=True)
        for name in self.names():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.content(name, limit))

    def json_object(self, name: str) -> dict[str, Any]:
        """Return a JSON file's object.

        :raises OSError: see :meth:`content`.
        :raises ValueError: it is not a JSON object, or too large.
        """
        try:
            value = json.loads(self.content(name))
        except RecursionError as error:
            raise ValueError("nested too deeply") from error
        if not isinstance(value, dict):
            raise ValueError("not a JSON object")
        return value

    def summary(self) -> dict[str, Any]:
        """Return the summary.

        :raises ResultError: ``summary-unreadable``.
        """
        try:
            return self.json_object("summary.json")
        except (OSError, ValueError) as error:
            raise ResultError(
                "The published summary is not readable.",
                code="summary-unreadable",
                got=f"{self.location}/summary.json: {error}",
                expected="a JSON object",
                action="run that month again",
            ) from error

    def report(self) -> RunReport:
        """Return the report.

        :raises ResultError: ``report-unreadable``.
        """
        # Imported late: DAG files import this module, and need no pydantic models of reports to be parsed.
        from confidential_spark.jobs.report import REPORT, RunReport

        return RunReport.parse(lambda limit: self.content(REPORT, limit), f"{self.location}/{REPORT}")


@dataclass(frozen=True)
class Publication:
    """What a publication made.

    :param place: what readers go through; later publications change where it leads.
    :param version: the files of this publication; they are removed some time after it is replaced.
    """

    place: Location
    version: VersionFiles


class ResultStore(ABC):
    """Staging, publishing and reading of one DAG's results.

    Keys are ``month=YYYY-MM`` for monthly jobs, ``year=YYYY`` for their sums, and ``run=<id>`` for others.
    """

    @abstractmethod
    def stage(self, key: str, attempt_id: str, *, abandoned_after: timedelta = ABANDONED_AFTER) -> Location:
        """Return where this try's files go, after removing dead tries of the same key.

        Dead is another try of the same run (``attempt_id`` up to its last dot), and any try that nobody held
        or touched for ``abandoned_after``. A try that somebody holds is never dead.

        :raises ConfigurationError: ``results-name``.
        """

    @abstractmethod
    def is_staged(self, staging: Location) -> bool:
        """Whether it is a try that this store staged and that is still there."""

    @abstractmethod
    def hold(self, staging: Location) -> AbstractContextManager[Path]:
        """Keep a try alive while a local folder with its files is worked on, however long that takes.

        What changed in the folder is kept at the end of the block, also where the block fails.

        :raises ResultError: ``staging-lost``: it was published, discarded or cleaned up.
        """

    @abstractmethod
    def discard(self, staging: Location) -> None:
        """Remove a try; one that is gone already is fine."""

    @abstractmethod
    def discard_run(self, key: str, run: str, *, keep_signed: bool = False) -> Sequence[Location]:
        """Remove the unpublished tries of a run that is over; tries that somebody holds stay.

        :param run: what the run's attempt ids have before their last dot.
        :param keep_signed: keep tries that the enclave has signed apart instead, for inspection; the latest
            few of a key are kept.
        :returns: the tries that were kept.
        """

    @abstractmethod
    def tries(self, key: str, run: str) -> Sequence[Location]:
        """Return the unpublished tries of a run."""

    @abstractmethod
    def refused_tries(self, key: str) -> int:
        """Return how many refused tries of a key are kept for inspection.

        :raises ConfigurationError: ``results-name``.
        """

    @abstractmethod
    def publish(
        self,
        staging: Location,
        digests: Mapping[str, str] | None = None,
        *,
        grace: timedelta = GRACE,
        may_replace: Callable[[VersionFiles, VersionFiles], None] = lambda new, current: None,
    ) -> Publication:
        """Make a try the version of its key that readers see.

        Publishing the same try again, after a crash at any point, completes it.

        :param digests: name → hex SHA-256 of every result file, as verified; compared again just before.
        :param grace: how long a replaced version is kept; older ones are removed.
        :param may_replace: raises where the first files must not replace the second, which readers see now.
        :raises VerificationError: ``result-…``: a file is not the one that was verified.
        :raises ResultError: ``results-incomplete``, ``results-obstructed``, ``staging-lost``,
            ``attempt-published``, ``attempt-replaced`` and what the storage refuses. What readers see is
            untouched in each case.
        """

    @abstractmethod
    def current(self, key: str) -> VersionFiles | None:
        """Return the version that readers see now, or None."""

    @abstractmethod
    def published_months(self) -> list[Month]:
        """Return the published months in order."""

    @abstractmethod
    def consume_once(self, kind: Literal["nonce", "token"], value: str, owner: str) -> None:
        """Record that ``owner`` (a run's try) used a nonce or token id; the same owner may repeat it.

        :raises VerificationError: ``nonce-replayed``, ``token-replayed``: another owner used it before.
        """

    @abstractmethod
    def stale(self, retention: Retention) -> Sequence[Location]:
        """Return what :meth:`sweep` would remove if nobody works on it."""

    @abstractmethod
    def sweep(self, retention: Retention) -> Sequence[Location]:
        """Remove what is older than it is kept, and return it.

        What somebody works on stays; what cannot be removed is logged, and stays for the next time.
        """

    def published(self, key: str) -> VersionFiles:
        """Return the version that is published now.

        Its files belong together, and are kept for the grace period after it is replaced: ask once and read
        everything from it.

        :raises InputError: ``not-published``.
        """
        current = self.current(require_safe("key", key))
        if current is None:
            raise InputError(
                f"Nothing is published as {key}.",
                code="not-published",
                expected="a published result",
                action="run the DAG for it first, or correct the name or the location",
            )
        return current

    def read_summary(self, key: str) -> dict[str, Any]:
        """Return a published summary.

        :raises InputError: ``not-published``.
        :raises ResultError: ``summary-unreadable``.
        """
        return self.published(key).summary()

    def trailing_summaries(self, month: Month, count: int) -> list[dict[str, Any]]:
        """Return the summaries of the latest ``count`` months published before ``month``, oldest first.

        Unreadable ones are left out.
        """
        earlier = [candidate for candidate in self.published_months() if candidate < month]
        summaries = []
        for candidate in earlier[-count:] if count > 0 else []:
            try:
                summaries.append(self.read_summary(month_key(candidate)))
            except (ResultError, InputError) as error:
                if error.retryable:
                    raise
        return summaries


class Results(ABC):
    """All results of one deployment: one store for each DAG, and what belongs to all of them."""

    location: Location

    @abstractmethod
    def store(self, dag_id: str) -> ResultStore:
        """Return a DAG's store; nothing is created yet.

        :raises ConfigurationError: ``results-name``.
        """

    @abstractmethod
    def deployment_id(self) -> str:
        """Return the id of the deployment whose results these are; made when it is first asked for."""

    @abstractmethod
    def write_documents(self, folder: str, documents: Mapping[str, str]) -> None:
        """Replace small files that are no results, each in one step.

        :param documents: name → text.
        """

    @abstractmethod
    def stale(self, retention: Retention) -> Sequence[Location]:
        """Return what :meth:`sweep` would remove if nobody works on it."""

    @abstractmethod
    def sweep(self, retention: Retention) -> Sequence[Location]:
        """Remove what is older than it is kept, of every DAG, and return it.

        What cannot be removed is logged, and stays for the next time.
        """

    @abstractmethod
    def size_of(self, location: Location) -> int:
        """Return the bytes of what :meth:`stale` names; what goes meanwhile counts nothing."""


def month_key(month: Month) -> str:
    """Return the key that a month's results are published under."""
    return f"{MONTH_PREFIX}{month}"


def year_key(year: str) -> str:
    """Return the key that the sum of a year's months is published under."""
    return f"{YEAR_PREFIX}{year}"


def months_of(keys: Iterable[str]) -> list[Month]:
    """Return the months among some keys, in order."""
    months = []
    for key in keys:
        if key.startswith(MONTH_PREFIX):
            with suppress(InputError):
                months.append(Month.parse(key.removeprefix(MONTH_PREFIX)))
    return sorted(months)


def run_of(attempt: str) -> str:
    """Return which run an attempt belongs to; empty when it does not say."""
    return attempt.rpartition(".")[0]


def require_complete(files: VersionFiles) -> None:
    """Accept a try that has every file that a reader needs.

    :raises ResultError: ``results-incomplete``.
    """
    for name in REQUIRED_FILES:
        try:
            files.json_object(name)
        except (OSError, ValueError) as error:
            raise ResultError(
                "The results are not complete, so they are not published.",
                code="results-incomplete",
                got=f"{name}: {error}",
                expected=f"{', '.join(REQUIRED_FILES)}, each a JSON object",
                action="look at the task that should have written it",
            ) from error


def require_safe(what: str, name: str) -> str:
    """Return a name that is one component of a path.

    :raises ConfigurationError: ``results-name``.
    """
    if SAFE_NAME.fullmatch(name) is None:
        raise bad_name(
            what, name, "letters, digits and . _ = + -, at most 240, not hidden, no *.lock or *.replaced"
        )
    return name


def bad_name(what: str, got: str, expected: str) -> ConfigurationError:
    """Return the error for a name that cannot name results."""
    return ConfigurationError(
        f"That {what} cannot name results.",
        code="results-name",
        got=got,
        expected=expected,
        action="use the names that this project makes",
    )


def staging_lost(staging: Location) -> ResultError:
    """Return the error for a try whose files are gone."""
    return ResultError(
        "This try's files are gone.",
        code=STAGING_LOST,
        got=f"no {staging}",
        expected="the files that this try staged",
        action="run again as a new try; somebody cleaned up, or another try replaced this one",
    )


def attempt_published(version: Location) -> ResultError:
    """Return the error for a try that was published with other files."""
    return ResultError(
        "This try was published before.",
        code="attempt-published",
        got=version,
        expected="a new attempt id for each try",
        action="run again as a new try",
    )


def attempt_replaced(name: str, current: str) -> ResultError:
    """Return the error for a try whose version readers saw, and no longer see."""
    return ResultError(
        "A later run has replaced what this try published.",
        code="attempt-replaced",
        got=current,
        expected=f"the version {name}, or one that was there before it",
        action="nothing if the later one should stay; else run again as a new try",
    )


def replayed(kind: str, first: str, owner: str) -> VerificationError:
    """Return the error for a nonce or token id that another try used before."""
    return VerificationError(
        f"This {kind} was used before.",
        code=f"{kind}-replayed",
        got=f"used by {first}",
        expected=f"a fresh {kind} for {owner}",
        action="treat it as a replay: keep the evidence and find out where it came from",
    )


def require_file_name(name: str) -> str:
    """Return a relative name of a file that stays below its folder.

    :raises ValueError: it does not.
    """
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts) or FORBIDDEN.search(name):
        raise ValueError(f"unsafe name of a file: {name!a}")
    return name
