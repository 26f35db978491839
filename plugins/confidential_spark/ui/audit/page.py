"""What the page Audit says of a range: a verdict for each month, and how far a new verification is."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from confidential_spark.agent.protocol import TRUST_SIMULATED
from confidential_spark.audit.manifest import bundle_stem
from confidential_spark.audit.months import MAX_MONTHS, whole_years
from confidential_spark.ui.airflow_runs import JOB_OF, MONTHLY, PLATFORMS
from confidential_spark.ui.room.matrix import AT_WORK, last_month_over
from confidential_spark.ui.room.needs import Link, result_link, run_link
from confidential_spark.ui.room.page import Choice, known_of, years_of
from confidential_spark.ui.room.runs import newest_runs
from confidential_spark.ui.views.calendar_view import CellState, month_of
from confidential_spark.ui.views.month_lines import month_line
from confidential_spark.verification import Outcome

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from sqlalchemy.orm import Session

    from confidential_spark.core.months import Month
    from confidential_spark.ui.airflow_runs import MonthRun
    from confidential_spark.ui.audit.rechecks import Recheck, Rechecks
    from confidential_spark.ui.results.published import PublishedResults
    from confidential_spark.ui.results.years.line import YearLine
    from confidential_spark.ui.room.known_results import KnownResult
    from confidential_spark.ui.room.verifier import Verifier

TONES = {Outcome.VERIFIED: "good", Outcome.REFUSED: "bad", Outcome.NOT_CHECKED: "warn"}
# Of a month of which nothing is published: what a bundle says of it, in the form of a code.
REASONS = {
    CellState.FAILED: "last-run-failed",
    CellState.REFUSED: "last-run-refused",
    CellState.RUNNING: "run-at-work",
    CellState.QUEUED: "run-queued",
}


@dataclass(frozen=True)
class AuditMonth:
    """One line of the table.

    :param word: the verdict.
    :param link: to what is published, or to the run that came to nothing.
    :param reason: how the last run of a missing month ended, as a code.
    """

    month: Month
    word: str
    tone: str
    detail: str
    link: Link | None = None
    reason: str = ""


@dataclass(frozen=True)
class AuditPage:
    """The page.

    :param proven: trust levels that were verified.
    :param years: of which all months are in the range, as far as the reader may see them.
    """

    dag_id: str
    job: str
    choices: tuple[Choice, ...]
    first: Month
    last: Month
    months: tuple[AuditMonth, ...]
    proven: frozenset[str]
    recheck: Recheck | None
    years: tuple[YearLine, ...] = ()

    @property
    def counts(self) -> tuple[tuple[str, str], ...]:
        """How many months have each verdict."""
        tones = {each.word: each.tone for each in self.months}
        count = Counter(each.word for each in self.months)
        return tuple(
            (f"{count[word]} {word}", tones[word]) for word in sorted(count, key=lambda w: -count[w])
        )

    @property
    def is_simulated(self) -> bool:
        """Whether nothing here can be more than simulated, or something is not."""
        return PLATFORMS[self.dag_id].trust == TRUST_SIMULATED or TRUST_SIMULATED in self.proven

    @property
    def published(self) -> int:
        """How many months of the range are published."""
        return sum(each.word != "MISSING" for each in self.months)

    @property
    def missing(self) -> dict[str, str]:
        """How the last run of each missing month ended, where it is known."""
        return {str(each.month): each.reason for each in self.months if each.reason}

    @property
    def bundle_name(self) -> str:
        """File name of the bundle."""
        return f"{bundle_stem(self.dag_id, self.first, self.last)}.zip"


def audit_page(
    session: Session,
    dag_id: str,
    visible: Collection[str],
    published: PublishedResults,
    verifier: Verifier,
    rechecks: Rechecks,
    *,
    first: Month | None,
    last: Month | None,
) -> AuditPage | None:
    """Return the page, or None for a DAG without months.

    :param visible: ids of the DAGs that the user may see.
    :param first: None: the first month that anything is known of.
    :param last: None: the last month that is over.
    """
    if dag_id not in MONTHLY:
        return None
    there = known_of(dag_id, published, verifier)
    years, known = years_of(session, dag_id, visible, published, verifier, there), there.results
    results = {month: each for key, each in known.items() if (month := month_of(key))}
    runs = newest_runs(session, dag_id, set(results))
    end = last or last_month_over()
    begin = first or min([*results, *runs], default=end)
    months = list(islice(months_from(begin, end), MAX_MONTHS))
    judged = [each.judgement for month in months if (each := results.get(month)) and each.judgement]
    return AuditPage(
        dag_id=dag_id,
        job=JOB_OF[dag_id].name,
        choices=tuple(
            Choice(f"{JOB_OF[each].title} on {PLATFORMS[each]}", each, each == dag_id)
            for each in PLATFORMS
            if each in MONTHLY and each in visible
        ),
        first=begin,
        last=end,
        months=tuple(audit_month(dag_id, month, results.get(month), runs.get(month)) for month in months),
        proven=frozenset(str(each.report.trust) for each in judged if each.report.trust),
        recheck=rechecks.latest(dag_id),
        years=tuple(years.line(int(year)) for year in whole_years(map(str, months))) if years else (),
    )


def months_from(first: Month, last: Month) -> Iterator[Month]:
    """Yield the months of a range; none where the first is after the last."""
    while first <= last:
        yield first
        first = first.shift(1)


def audit_month(dag_id: str, month: Month, known: KnownResult | None, run: MonthRun | None) -> AuditMonth:
    """Return what is said of one month: of what is published, else of its last run."""
    if known is None:
        line = month_line(None, run)
        link = run_link(dag_id, line.run_id, str(month)) if line.run_id else None
        words = f"{line.state.word}: {line.words}" if run else "no run is known"
        if line.state in AT_WORK:
            words = f"a run is {line.state.word}"
        return AuditMonth(month, "MISSING", "idle", words, link, REASONS.get(line.state, ""))
    link = result_link(dag_id, known.key, str(month))
    if known.judgement is None:
        return AuditMonth(month, "NOT VERIFIED YET", "idle", "it will be, soon", link)
    report, at = known.judgement.report, f"{known.judgement.checked_at:%Y-%m-%d %H:%M:%S} UTC"
    word, tone = report.outcome.word, TONES[report.outcome]
    failed = report.failure
    if failed:
        return AuditMonth(
            month, word, tone, f"step {failed.number}, {failed.code}: {failed.detail} ({at})", link
        )
    trust = "SIMULATED" if report.trust == TRUST_SIMULATED else str(report.trust)
    return AuditMonth(month, word, tone, f"{known.judgement.counts} at {at}, {trust}", link)
