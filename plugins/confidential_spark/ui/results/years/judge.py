"""The verification of a published year, and what this process knows of it.

It depends on the year's own files and on policy and program of its months, like the verification of a month.
Whether its months are still the published ones is compared anew whenever a page is shown.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from confidential_spark.core.errors import ConfidentialSparkError
from confidential_spark.core.platforms import Platform
from confidential_spark.hooks.index.entry import index_entry
from confidential_spark.jobs.rollup.rollup import ROLLUP_OF
from confidential_spark.ui.queries import judge_of
from confidential_spark.ui.results.live_verification import (
    EVIDENCE,
    MAX_BYTES_ON_PAGE,
    Kept,
    YearJudgement,
    size_of,
    too_large,
    unreadable,
)
from confidential_spark.ui.views.report_view import mapping, text
from confidential_spark.verification import VerificationReport
from confidential_spark.years.months import Acceptance
from confidential_spark.years.statement import MAX_STATEMENT_BYTES, read_statement
from confidential_spark.years.sums import YEAR_PATTERN
from confidential_spark.years.verify import YearReport, verify_year

if TYPE_CHECKING:
    from collections.abc import Mapping

    from confidential_spark.hooks.index.entry import IndexEntry
    from confidential_spark.hooks.index.index import Index
    from confidential_spark.ui.results.live_verification import Judge, VersionState
    from confidential_spark.ui.results.published import PublishedResult


class KeptYears(Kept[YearJudgement]):
    """Of years."""


KEPT_YEARS = KeptYears()


@dataclass(frozen=True)
class KnownYear:
    """One published year, and what is known of it.

    :param entry: of the index, which nobody has checked.
    :param judgement: of this process, about the files as they are.
    """

    result: PublishedResult
    entry: IndexEntry | None
    judgement: YearJudgement | None

    @property
    def year(self) -> str:
        """``YYYY``, as it is filed."""
        return self.result.key.partition("=")[2]


@dataclass(frozen=True)
class YearJudge:
    """Verifies what a DAG of years has published.

    :param months: who verifies the months: by the same policy and program.
    """

    dag_id: str
    months: Judge
    kept: KeptYears = KEPT_YEARS

    def state(self, result: PublishedResult) -> VersionState:
        """Return the state of everything that a judgement depends on."""
        return self.months.state(result)

    def known(self, result: PublishedResult) -> YearJudgement | None:
        """Return what was found when nothing has changed since; this opens none of the year's files."""
        return self.kept.get((result.folder, result.key), self.state(result))

    def judge(self, result: PublishedResult) -> YearJudgement:
        """Verify the year now, unless that takes so long that an earlier judgement must do."""

        def judge(state: VersionState) -> YearJudgement:
            said = predicate_of(result)
            return YearJudgement(
                report=self._verify(result, size_of(state[0])),
                made_at=moment_of(said.get("made_at")),
                run_id=text(said.get("run_id")),
                synthetic=said.get("synthetic") is not False,
                checked_at=datetime.now(UTC),
            )

        return self.kept.judged((result.folder, result.key), lambda: self.state(result), judge)

    def look(self, result: PublishedResult) -> IndexEntry:
        """Verify the year, and return what its files say of it."""
        self.judge(result)
        report, summary = result.document("report.json"), result.document("summary.json")
        evidence = result.content(EVIDENCE, MAX_STATEMENT_BYTES)
        return index_entry(result.version, report, summary, evidence, self.months.job)

    def _verify(self, result: PublishedResult, size: int) -> YearReport:
        year, basis = result.key.partition("=")[2], self.months
        fault = basis.fault or (too_large(size, MAX_BYTES_ON_PAGE) if size > MAX_BYTES_ON_PAGE else None)
        if fault or basis.policy is None:
            label = basis.policy_path.name
            steps = VerificationReport.not_checked(label, fault or unreadable("nothing")).steps
            return YearReport(label, year, steps)
        accept = Acceptance(basis.policy, job_file_sha256=basis.program)
        return verify_year(result.folder, accept, expected=(basis.job.name, year))


def year_judge_of(dag_id: str) -> YearJudge:
    """Return who verifies what one of this project's DAGs of years has published."""
    return YearJudge(dag_id, judge_of(months_dag(dag_id)))


def platform_of(dag_id: str) -> Platform:
    """Return where a DAG of years takes its months from."""
    return next(platform for platform in Platform if ROLLUP_OF[dag_id].dag_id(platform) == dag_id)


def months_dag(dag_id: str) -> str:
    """Return the DAG of the months that a DAG of years adds up."""
    return ROLLUP_OF[dag_id].job.dag_id(platform_of(dag_id))


def known_years(
    judge: YearJudge, results: Mapping[str, PublishedResult], index: Index
) -> dict[str, KnownYear]:
    """Return what is known of the published years, by year, without reading a file of them.

    :param results: the versions that are published now, by key.
    """
    known = (
        KnownYear(result, index.entry(result.key, result.version), judge.known(result))
        for key, result in results.items()
        if re.fullmatch(YEAR_PATTERN, key.partition("=")[2], re.ASCII)
    )
    return {each.year: each for each in known}


def predicate_of(result: PublishedResult) -> Mapping[str, Any]:
    """Return what a year's statement says, of which nothing is believed; empty where it is none."""
    with suppress(ConfidentialSparkError):
        return mapping(read_statement(result.content(EVIDENCE, MAX_STATEMENT_BYTES) or b"").get("predicate"))
    return {}


def moment_of(value: object) -> datetime | None:
    """Return a time of the statement; None for anything else."""
    with suppress(ValueError):
        found = datetime.fromisoformat(text(value))
        return found if found.utcoffset() is not None else None
    return None
