"""Run the result checks of a job: all of them, each reported, none raised."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from confidential_spark.core.errors import ConfigurationError, ResultError
from confidential_spark.jobs.checks.result import CheckResult
from confidential_spark.jobs.checks.subject import RunUnderCheck

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from confidential_spark.core.months import Month
    from confidential_spark.jobs.checks.limits import JobLimits
    from confidential_spark.jobs.checks.subject import PublishedResults
    from confidential_spark.jobs.figures import ComparedFigure
    from confidential_spark.jobs.input.contract import InputContract
    from confidential_spark.jobs.input.manifest import InputManifest, InputTotals

SubjectT = TypeVar("SubjectT", bound=RunUnderCheck)


@dataclass(frozen=True)
class JobRules(Generic[SubjectT]):
    """When a job's results are right.

    :param limits: model of the job's file in `include/checks/`.
    :param subject: what its checks look at.
    :param checks: name → check; a check yields results, and may raise where it cannot look.
    :param input: what its monthly input must look like; None for jobs without input.
    :param history: check → the figure that it compares with those of earlier months.
    """

    limits: type[JobLimits]
    subject: type[SubjectT]
    checks: Mapping[str, Callable[[SubjectT], Iterator[CheckResult]]]
    input: InputContract | None = None
    history: Mapping[str, ComparedFigure] = field(default_factory=dict)


def run_checks(
    rules: JobRules[Any],
    results_dir: Path,
    *,
    limits: JobLimits,
    predicate: Mapping[str, Any],
    published: PublishedResults,
    month: Month | None = None,
    recorded_input: InputTotals | None = None,
    read_input: Callable[[], InputManifest] | None = None,
) -> list[CheckResult]:
    """Check a run's results; a missing or garbled file is a failed check, never an exception.

    :param limits: what `load_limits` read.
    :param predicate: the predicate of the run's statement, already verified.
    :param recorded_input: what `resolve_input` recorded; needed for jobs with input, as is ``month``.
    :param read_input: reads the input as it is now; None where it is files, which are read in their place.
    :raises ConfigurationError: ``checks-month-missing``.
    """
    if rules.input is not None and (month is None or recorded_input is None):
        raise ConfigurationError(
            "The results of a job with input need a month and that input.",
            code="checks-month-missing",
            got=f"month {month}, input {recorded_input}",
            expected="both",
            action="check the job with its own limits file",
        )
    subject = rules.subject(results_dir, predicate, limits, month, recorded_input, rules.input, published)
    if read_input is not None:
        subject = replace(subject, read_input=read_input)
    results: list[CheckResult] = []
    for name, check in rules.checks.items():
        try:
            results.extend(check(subject))
        except Exception as error:
            results.append(CheckResult.impossible(f"{name}_checkable", error))
    return results


def require_passed(results: Sequence[CheckResult]) -> None:
    """Do nothing when nothing forbids publishing.

    :raises ResultError: ``checks-failed``, with the failed checks.
    """
    failed = [result for result in results if result.blocks]
    if failed or not results:
        raise ResultError(
            f"{len(failed)} of {len(results)} result checks failed: {', '.join(r.name for r in failed[:10])}",
            code="checks-failed",
            got=failed[0].got if failed else "no check at all",
            expected=failed[0].expected if failed else "at least one check",
            action="read the FAIL lines in the log; docs/runbooks/validation.check_results.md",
        )
