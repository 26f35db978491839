"""Result checks of every job: run all of them, report each, raise for none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from confidential_spark.core.errors import ConfigurationError, ResultError
from confidential_spark.jobs.checks.limits import Limits, NytaxiLimits, load_limits
from confidential_spark.jobs.checks.result import CheckResult, Severity, summarise
from confidential_spark.jobs.nytaxi import checks as nytaxi_checks
from confidential_spark.jobs.sparkpi import checks as sparkpi_checks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from confidential_spark.core.months import Month
    from confidential_spark.jobs.input.manifest import InputTotals

__all__ = ["CheckResult", "Severity", "load_limits", "require_passed", "run_checks", "summarise"]

Subject = TypeVar("Subject")


def run_checks(
    results_dir: Path,
    *,
    limits: Limits,
    predicate: Mapping[str, Any],
    month: Month | None = None,
    recorded_input: InputTotals | None = None,
    trailing: Sequence[Mapping[str, Any]] = (),
) -> list[CheckResult]:
    """Check a run's results; a missing or garbled file is a failed check, never an exception.

    :param limits: what :func:`load_limits` read; decides which job's checks are made.
    :param predicate: the predicate of the run's statement, already verified.
    :param recorded_input: what `resolve_input` recorded; needed for monthly jobs, as is ``month``.
    :param trailing: summaries of months published before, oldest first.
    :raises ConfigurationError: ``checks-month-missing``.
    """
    if not isinstance(limits, NytaxiLimits):
        return _run(sparkpi_checks.CHECKS, sparkpi_checks.PiUnderCheck(results_dir, predicate, limits))
    if month is None or recorded_input is None:
        raise ConfigurationError(
            "A monthly job's results need a month and its input.",
            code="checks-month-missing",
            got=f"month {month}, input {recorded_input}",
            expected="both",
            action="check a monthly job with its own limits file",
        )
    subject = nytaxi_checks.MonthUnderCheck(results_dir, month, recorded_input, predicate, trailing, limits)
    return _run(nytaxi_checks.CHECKS, subject)


def _run(
    checks: Mapping[str, Callable[[Subject], Iterator[CheckResult]]], subject: Subject
) -> list[CheckResult]:
    results: list[CheckResult] = []
    for name, check in checks.items():
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
