"""The checks of a SparkPi run: is the estimate what its own counts say, and near π?"""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from confidential_spark.jobs.checks.files import Count, JobSummary, Real, read_summary
from confidential_spark.jobs.checks.limits import JobLimits, Positive
from confidential_spark.jobs.checks.result import CheckResult
from confidential_spark.jobs.checks.run import JobRules
from confidential_spark.jobs.checks.subject import RunUnderCheck, check_statement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

SAMPLES_PER_PARTITION = 200_000


class SparkPiLimits(JobLimits):
    """Limits of `sparkpi.yaml`: the estimate's error × √samples."""

    job: Literal["sparkpi"]
    max_error_times_root: Positive


class Summary(JobSummary):
    """`summary.json` of job sparkpi."""

    job: Literal["sparkpi"]
    pi: Real
    samples: Annotated[int, Field(strict=True, gt=0)]
    inside: Count


class PiUnderCheck(RunUnderCheck):
    """One estimate and what it must agree with."""

    limits: SparkPiLimits

    @cached_property
    def summary(self) -> Summary:
        """The summary.

        :raises ResultError: it is missing or malformed.
        """
        return read_summary(self.results_dir / "summary.json", Summary)


def check_summary(subject: PiUnderCheck) -> Iterator[CheckResult]:
    """Does the summary have its shape, and follow from its own counts?"""
    summary = subject.summary
    yield CheckResult.compare("summary_schema", summary.v, 1, "summary.json, every member and type")
    rows = {"input": summary.samples, "accepted": summary.samples, "rejected": 0}
    yield CheckResult.compare("rows_accounted", summary.rows.model_dump(), rows, "every sample is a row")
    yield CheckResult.compare(
        "pi_follows", summary.pi, 4 * summary.inside / summary.samples, "4 × inside / samples"
    )


def check_estimate(subject: PiUnderCheck) -> Iterator[CheckResult]:
    """Is the estimate as near to π as its number of samples allows?"""
    summary = subject.summary
    limit = subject.limits.max_error_times_root / math.sqrt(summary.samples)
    yield CheckResult.at_most("pi_error", abs(summary.pi - math.pi), limit, f"{summary.samples:,} samples")


def check_signed_statement(subject: PiUnderCheck) -> Iterator[CheckResult]:
    """Does the verified statement say the same as the results?"""
    partitions = f"{subject.summary.samples / SAMPLES_PER_PARTITION:g}"
    yield from check_statement(subject, ["--partitions", partitions])


CHECKS: Mapping[str, Callable[[PiUnderCheck], Iterator[CheckResult]]] = {
    "summary": check_summary,
    "estimate": check_estimate,
    "statement": check_signed_statement,
}
RULES = JobRules(limits=SparkPiLimits, subject=PiUnderCheck, checks=CHECKS)
