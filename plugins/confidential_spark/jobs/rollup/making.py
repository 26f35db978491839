"""Make a year in a folder that has its months: summary, statement and report."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from confidential_spark.years.months import verify_month
from confidential_spark.years.statement import (
    MONTHS,
    REPORT,
    STATEMENT,
    SUMMARY,
    Making,
    digest_of,
    make_statement,
    to_bytes,
)
from confidential_spark.years.sums import add_up, months_of_year
from confidential_spark.years.verify import require_one_kind, year_report

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from confidential_spark.years.months import Acceptance


@dataclass(frozen=True)
class Made:
    """What was written.

    :param statement: the statement's predicate.
    :param files: name → hex SHA-256 of every file that the statement lists.
    """

    summary: Mapping[str, Any]
    statement: Mapping[str, Any]
    files: Mapping[str, str]


def make_year(
    folder: Path, year: str, job: str, accept: Acceptance, *, run_id: str, versions: Mapping[str, str]
) -> Made:
    """Verify the months below ``months/`` and write what they add up to.

    :param versions: ``YYYY-MM`` → name that the month was published under.
    :raises VerificationError: ``year-month-refused``, ``year-months-differ``.
    :raises ResultError: ``summary-schema``.
    """
    months = [verify_month(folder / MONTHS / name, name, job, accept) for name in months_of_year(year)]
    require_one_kind(months)
    summary = add_up(job, year, {month.month: month.summary for month in months})
    (folder / SUMMARY).write_bytes(to_bytes(summary))
    files = _digests(folder)
    made_at = datetime.now(UTC).isoformat(timespec="seconds")
    making = Making(run_id, made_at, dict(versions))
    statement = make_statement(year, job, accept.policy.trust, months, files, making)
    content = to_bytes(statement)
    (folder / STATEMENT).write_bytes(content)
    (folder / REPORT).write_bytes(to_bytes(year_report(statement, content)))
    return Made(summary, statement["predicate"], files)


def _digests(folder: Path) -> dict[str, str]:
    """Return name → digest of the year's files, but not of an earlier statement or report."""
    paths = [folder / SUMMARY, *(path for path in (folder / MONTHS).rglob("*") if path.is_file())]
    return {path.relative_to(folder).as_posix(): digest_of(path.read_bytes()) for path in paths}
