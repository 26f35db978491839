"""The control room's page of one job on one platform."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from confidential_spark.agent.protocol import TRUST_SIMULATED
from confidential_spark.core.platforms import Platform
from confidential_spark.jobs import JOBS
from confidential_spark.jobs.rollup.rollup import ROLLUPS
from confidential_spark.ui.airflow_runs import JOB_OF, MONTHLY, PLATFORMS
from confidential_spark.ui.measurements.faults import faults
from confidential_spark.ui.queries import LAST_SINGLE_RESULTS, counts_of, judge_of
from confidential_spark.ui.results.years.judge import known_years, year_judge_of
from confidential_spark.ui.results.years.line import year_line
from confidential_spark.ui.results.years.runs import newest_year_runs
from confidential_spark.ui.room.known_results import INDEXES, KnownResult, known_results, verify
from confidential_spark.ui.room.known_state import known_state
from confidential_spark.ui.room.live import Live, live, typical_duration
from confidential_spark.ui.room.matrix import Matrix, Shade, matrix
from confidential_spark.ui.room.needs import (
    IMAGE_DAG,
    MAX_OF_A_KIND,
    Need,
    failed_cells,
    is_unready,
    needs,
)
from confidential_spark.ui.room.runs import (
    PLATFORM_CHECK,
    active_runs,
    dag_facts,
    failure_codes,
    newest_runs,
    platform_reports,
    waiting_answers,
)
from confidential_spark.ui.views.calendar_view import month_of
from confidential_spark.ui.views.month_lines import month_lines

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sqlalchemy.orm import Session

    from confidential_spark.core.months import Month
    from confidential_spark.hooks.index.entry import IndexEntry
    from confidential_spark.ui.results.live_verification import Judge
    from confidential_spark.ui.results.published import PublishedResults
    from confidential_spark.ui.results.published_state import PublishedState
    from confidential_spark.ui.results.years.judge import KnownYear
    from confidential_spark.ui.results.years.line import YearLine
    from confidential_spark.ui.results.years.runs import YearRun
    from confidential_spark.ui.room.verifier import Verifier

# A page verifies a few versions itself, so that a small deployment sees verdicts at once; others come later.
INLINE_S = 0.04


@dataclass(frozen=True)
class Choice:
    """One way to switch the page.

    :param note: how many results are published there; says nothing of what they prove.
    """

    label: str
    dag_id: str
    is_chosen: bool
    note: str = ""


@dataclass(frozen=True)
class PlatformHealth:
    """What the latest check of a platform found."""

    platform: str
    tone: str
    word: str
    sentence: str


@dataclass(frozen=True)
class Proof:
    """What this server has verified of what is published."""

    published: int
    verified: int
    counts: tuple[tuple[str, str], ...]
    waiting: int
    oldest: str


@dataclass(frozen=True)
class RoomPage:
    """The control room.

    :param singles: results that are no months, latest first.
    """

    dag_id: str
    job: str
    platform: str
    title: str
    jobs: tuple[Choice, ...]
    platforms: tuple[Choice, ...]
    shade: Shade
    needs: tuple[Need, ...]
    matrix: Matrix | None
    singles: tuple[PublishedState, ...]
    proof: Proof
    live: Live
    health: tuple[PlatformHealth, ...]
    is_from_2009: bool

    @property
    def has_years(self) -> bool:
        """Whether the rows say what their years came to."""
        return self.matrix is not None and any(row.line for row in self.matrix.years)

    @property
    def is_simulated(self) -> bool:
        """Whether nothing here can be more than simulated, or all that is proven is no more."""
        counts = {text.partition(" ")[2] for text, _ in self.proof.counts}
        best = PLATFORMS[self.dag_id].trust
        return best == TRUST_SIMULATED or ("SIMULATED" in counts and "hardware" not in counts)


@dataclass(frozen=True)
class Known:
    """A DAG's published versions as the page shows them."""

    judge: Judge | None
    results: Mapping[str, KnownResult]

    @property
    def entries(self) -> dict[str, IndexEntry]:
        """What the versions say of themselves, by key."""
        return {key: known.entry for key, known in self.results.items() if known.entry}

    @property
    def months(self) -> dict[Month, IndexEntry]:
        """What the months among them say of themselves."""
        return {month: entry for key, entry in self.entries.items() if (month := month_of(key))}


def room_page(
    session: Session,
    visible: Collection[str],
    published: PublishedResults,
    verifier: Verifier,
    *,
    dag_id: str = "",
    shade: str = "",
    first: Month | None = None,
) -> RoomPage | None:
    """Return the control room, or None where the user may see no DAG of this project, or not the one named.

    :param visible: ids of the DAGs that the user may see.
    :param dag_id: the DAG whose months are shown; empty for the first that has any.
    """
    ours = [each for each in PLATFORMS if each in visible]
    shown = dag_id or (ours[0] if ours else "")
    if shown not in ours:
        return None
    known = known_of(shown, published, verifier)
    states = {key: known_state(shown, each) for key, each in known.results.items()}
    grid = None
    if shown in MONTHLY:
        years = years_of(session, shown, visible, published, verifier, known)
        grid = matrix_of(session, shown, known, states, shade=Shade.named(shade), first=first, years=years)
    facts = dag_facts(session, [shown]).get(shown)
    reports = platform_reports(session) if PLATFORM_CHECK in visible else {}
    questions = waiting_answers(session, [each for each in (*ours, IMAGE_DAG) if each in visible])
    failed = [cell.line.run_id for cell in failed_cells(grid)[:MAX_OF_A_KIND]]
    codes = failure_codes(session, shown, failed)
    entries = known.entries.values()
    return RoomPage(
        dag_id=shown,
        job=JOB_OF[shown].name,
        platform=PLATFORMS[shown],
        title=JOB_OF[shown].title,
        jobs=_jobs(shown, ours, published),
        platforms=_platforms(shown, ours, published),
        shade=Shade.named(shade),
        needs=needs(shown, grid, questions, reports, facts, faults=faults(), codes=codes),
        matrix=grid,
        singles=tuple(states[key] for key in sorted(states, reverse=True) if not month_of(key))[
            :LAST_SINGLE_RESULTS
        ],
        proof=_proof(known, states),
        live=live(active_runs(session, ours), typical_duration(entries), shown),
        health=tuple(_health(reports.get(platform), platform) for platform in Platform) if reports else (),
        is_from_2009=first is not None,
    )


def known_of(dag_id: str, published: PublishedResults, verifier: Verifier) -> Known:
    """Return what is known of a DAG's published versions; what is not verified yet will be, soon."""
    results = published.listed(dag_id)
    if not results:
        return Known(None, {})
    judge = judge_of(dag_id)
    known = known_results(judge, results, INDEXES.get(published.index(dag_id)))
    unknown = [each for each in known.values() if each.judgement is None]
    until = time.monotonic() + INLINE_S
    while unknown and time.monotonic() < until and unknown[-1].result.folder.is_dir():
        each = unknown.pop()
        known[each.key] = verify(judge, each.result)
    waiting = [each.result for each in reversed(unknown)]
    verifier.want(dag_id, published, waiting, lambda result: verify(judge, result).entry)
    return Known(judge, known)


def known_near(dag_id: str, key: str, published: PublishedResults, verifier: Verifier) -> Known:
    """Return what is known of a DAG's versions; a month and its neighbours are verified now."""
    known = known_of(dag_id, published, verifier)
    month = month_of(key)
    if known.judge is None or month is None:
        return known
    near = [known.results.get(f"month={month.shift(by)}") for by in (0, -1, 1, -12)]
    now = {
        each.key: verify(known.judge, each.result)
        for each in near
        if each and each.judgement is None and each.result.folder.is_dir()
    }
    return Known(known.judge, {**known.results, **now})


def matrix_of(
    session: Session,
    dag_id: str,
    known: Known,
    states: Mapping[str, PublishedState],
    *,
    shade: Shade = Shade.PROOF,
    first: Month | None = None,
    years: Years | None = None,
) -> Matrix:
    """Return all months of a DAG.

    :param states: what is said of each published version, by key.
    :param first: the first month that is expected; without one, the first that anything is known of.
    :param years: None where the months are not added up, or the reader may not see their sums.
    """
    months = {month for key in states if (month := month_of(key))}
    lines = month_lines(tuple(states.values()), newest_runs(session, dag_id, months))
    return matrix(
        lines,
        known.months,
        shade=shade,
        first=first,
        year_line=years.line if years else None,
        published_years=[int(year) for year in years.known] if years else (),
    )


@dataclass(frozen=True)
class Years:
    """The years of a DAG's months.

    :param months: what is known of the published months, by key.
    """

    dag_id: str
    known: Mapping[str, KnownYear]
    months: Mapping[str, KnownResult]
    runs: Mapping[str, YearRun]

    def line(self, year: int) -> YearLine:
        """Return what is said of a year as a whole."""
        name = str(year)
        return year_line(self.dag_id, name, self.known.get(name), self.months, self.runs.get(name))


def years_of(
    session: Session,
    dag_id: str,
    visible: Collection[str],
    published: PublishedResults,
    verifier: Verifier,
    months: Known,
) -> Years | None:
    """Return the years of a DAG's months; what is not verified yet will be, soon.

    None where the job has none, or the user may not see their DAG.
    """
    rollup = ROLLUPS.get(JOB_OF[dag_id].name)
    years_dag = rollup.dag_id(PLATFORMS[dag_id]) if rollup else ""
    if not rollup or years_dag not in visible:
        return None
    judge, results = year_judge_of(years_dag), published.listed(years_dag)
    known = known_years(judge, results, INDEXES.get(published.index(years_dag))) if results else {}
    unknown = [each.result for _, each in sorted(known.items(), reverse=True) if each.judgement is None]
    verifier.want(years_dag, published, unknown, judge.look)
    return Years(years_dag, known, months.results, newest_year_runs(session, years_dag))


def _jobs(shown: str, ours: Sequence[str], published: PublishedResults) -> tuple[Choice, ...]:
    platform = PLATFORMS[shown]
    choices = []
    for job in JOBS.values():
        dags = [job.dag_id(each) for each in (platform, *Platform) if job.dag_id(each) in ours]
        if dags:
            choices.append(Choice(job.title, dags[0], job is JOB_OF[shown]))
    return tuple(choices)


def _platforms(shown: str, ours: Sequence[str], published: PublishedResults) -> tuple[Choice, ...]:
    dags = [(platform, JOB_OF[shown].dag_id(platform)) for platform in Platform]
    return tuple(
        Choice(platform, dag_id, dag_id == shown, f"{published.count(dag_id):,} published")
        for platform, dag_id in dags
        if dag_id in ours
    )


def _proof(known: Known, states: Mapping[str, PublishedState]) -> Proof:
    checked = [
        each.judgement.checked_at for each in known.results.values() if each.judgement and each.is_verified
    ]
    proven = sum(bool(state.trust) for state in states.values())
    return Proof(
        published=len(states),
        verified=proven,
        counts=counts_of(tuple(states.values())),
        waiting=sum(each.judgement is None for each in known.results.values()),
        oldest=f"{min(checked):%Y-%m-%d %H:%M:%S} UTC" if checked else "",
    )


def _health(report: Mapping[str, Any] | None, platform: Platform) -> PlatformHealth:
    if report is None:
        return PlatformHealth(platform, "idle", "not checked", "DAG platform_check has left no report of it.")
    when, verdict = str(report.get("checked_at", ""))[:40], str(report.get("verdict", ""))[:300]
    if report.get("ready") is True:
        tone = "warn" if report.get("trust") == "simulated" else "good"
        word = "ready, SIMULATED" if tone == "warn" else "ready"
    elif is_unready(report):
        tone, word = "bad", "not ready"
    else:
        tone, word = "idle", "not here"
    return PlatformHealth(platform, tone, word, f"{verdict} · checked {when}")
