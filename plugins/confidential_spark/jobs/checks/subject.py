"""What a check looks at: one run's results, and everything they must agree with."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote, urlsplit

from confidential_spark.core.errors import ConfidentialSparkError
from confidential_spark.jobs.checks.result import CheckResult, Severity
from confidential_spark.jobs.input.manifest import InputManifest, InputTotals, read_again

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from confidential_spark.core.months import Month
    from confidential_spark.jobs.checks.files import JobSummary
    from confidential_spark.jobs.checks.limits import JobLimits
    from confidential_spark.jobs.input.contract import InputContract


@dataclass(frozen=True)
class PublishedMonth:
    """What another job has published for the same month.

    :param files_sha256: digest of the list of its input files, as in :class:`InputTotals`.
    :param input_uri: where they were.
    :param synthetic: whether they were made up.
    """

    summary: Mapping[str, Any]
    files_sha256: str
    input_uri: str = ""
    synthetic: bool = False


class PublishedResults(Protocol):
    """Read access to what is published on the run's platform."""

    def earlier(self, months: int) -> Sequence[Mapping[str, Any]]:
        """Return this job's summaries of the latest ``months`` months before the run's, oldest first."""
        ...

    def same_month(self, job: str) -> PublishedMonth | None:
        """Return what a job, this one or another, has published for the run's month, or None.

        :raises ConfidentialSparkError: it cannot be read.
        """
        ...


@dataclass(frozen=True)
class RunUnderCheck:
    """One run's results; a job's checks get its own subclass.

    :param predicate: the verified statement's predicate.
    :param limits: the job's limits.
    :param recorded_input: what was recorded before the enclave was started; None for jobs without input.
    :param contract: the job's input contract; None for jobs without input.
    :param read_input: reads the input as it is now, where it is no files.
    """

    results_dir: Path
    predicate: Mapping[str, Any]
    limits: JobLimits
    month: Month | None
    recorded_input: InputTotals | None
    contract: InputContract | None
    published: PublishedResults
    read_input: Callable[[], InputManifest] | None = None

    @cached_property
    def summary(self) -> JobSummary:
        """The summary, read by the job's own model.

        :raises ResultError: it is missing or malformed.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class MonthUnderCheck(RunUnderCheck):
    """One month's results of a job with input."""

    month: Month
    recorded_input: InputTotals
    contract: InputContract

    @cached_property
    def manifest(self) -> InputManifest:
        """The input as it is now.

        :raises InputError: it is no longer usable.
        """
        if self.read_input is not None:
            return self.read_input()
        return read_again(self.recorded_input.uri, self.month, self.contract)

    @property
    def input_files(self) -> list[Path]:
        """The files of the input as it is now."""
        return self.manifest.paths


def check_rows(subject: RunUnderCheck) -> Iterator[CheckResult]:
    """Does the summary have its shape, and count every row once?"""
    summary = subject.summary
    yield CheckResult.compare("summary_schema", summary.v, 1, "summary.json, every member and type")
    rows = summary.rows
    yield CheckResult.compare(
        "rows_accounted", rows.accepted + rows.rejected, rows.input, "accepted + rejected = input"
    )


def check_statement(subject: RunUnderCheck, arguments: Sequence[str]) -> Iterator[CheckResult]:
    """Does the verified statement say the same as the results?

    :param arguments: the arguments that follow from the options in the summary.
    """
    predicate = subject.predicate
    if subject.month is not None:
        yield CheckResult.compare("statement_month", predicate["month"], str(subject.month))
    rows = subject.summary.rows.model_dump()
    yield CheckResult.compare("statement_rows", dict(predicate["rows"]), rows)
    stated = list(predicate["job"]["arguments"])
    yield CheckResult.compare("statement_arguments", stated, list(arguments), "the options in the summary")


def check_input(subject: MonthUnderCheck) -> Iterator[CheckResult]:
    """Is the input still what was recorded before, and what the enclave says it read?"""
    manifest, recorded = subject.manifest, subject.recorded_input
    yield CheckResult.compare(
        "input_unchanged",
        manifest.totals().files_sha256,
        recorded.files_sha256,
        "the list of files with SHA-256",
    )
    stated = sorted(
        (_file_name(item["uri"]), item["bytes"], item["sha256"]) for item in subject.predicate["inputs"]
    )
    present = sorted((file.name, file.bytes, file.sha256) for file in manifest.files)
    yield CheckResult.compare("input_as_stated", stated, present, "name, bytes and SHA-256 of every file")
    yield CheckResult.compare(
        "input_rows", subject.summary.rows.input, manifest.rows, "rows read = rows in the footers"
    )
    version = subject.summary.input_version
    yield CheckResult.compare("input_version", version, manifest.version, "in the enclave = by the footers")
    yield _check_source(subject)


def _check_source(subject: MonthUnderCheck) -> CheckResult:
    """Are these the files that the month was published from before? A warning: sources do correct months."""
    expected = "the files of the published month"
    try:
        published = subject.published.same_month(subject.summary.job)
    except ConfidentialSparkError as error:
        got, passed = f"the published month cannot be read ({error.code})", False
    else:
        change = source_change(published, subject.recorded_input)
        got, passed = change or "no change", change is None
    return CheckResult("input_as_published", Severity.WARN, passed, got, expected, "size and SHA-256 of each")


def source_change(published: PublishedMonth | None, now: InputTotals) -> str | None:
    """Return how a month's files differ from those that it was published from; None where they do not.

    Real rows in place of made-up ones are no change of the source.
    """
    if published is None or published.synthetic or published.files_sha256 == now.files_sha256:
        return None
    return f"other files ({now.files_sha256[:16]}…) than published ({published.files_sha256[:16]}…)" + (
        f" from {published.input_uri}" if published.input_uri != now.uri else ", at the same place"
    )


def _file_name(uri: str) -> str:
    return unquote(PurePosixPath(urlsplit(uri).path).name)
