"""The pages' contents, from Airflow's database (read only) and the published results, verified now."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from airflow.models.dagrun import DagRun
from sqlalchemy import select

from confidential_spark.agent.protocol import TRUST_SIMULATED
from confidential_spark.core.error_parts import parts_of
from confidential_spark.core.stages import FAILURE_KEY
from confidential_spark.operators.outcomes.links import PLACE_KEY
from confidential_spark.settings import get_settings
from confidential_spark.ui import airflow_runs as runs_of
from confidential_spark.ui.airflow_runs import JOB_OF, PLATFORMS
from confidential_spark.ui.results.live_verification import KEPT, MAX_BYTES_IN_LIST, Judge
from confidential_spark.ui.results.published_state import PublishedState, published_state
from confidential_spark.ui.views.calendar_view import CellState, Year, calendar, month_of
from confidential_spark.ui.views.month_lines import month_lines
from confidential_spark.ui.views.report_view import (
    Line,
    ResultView,
    live_verdict,
    remarks,
    result_view,
    run_of,
    text,
)
from confidential_spark.ui.views.run_view import PASSED, Stage, Verdict, failed_task, stages, verdict
from confidential_spark.ui.views.timeline import timeline

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime

    from sqlalchemy.orm import Session

    from confidential_spark.ui.results.live_verification import Claim, KeptJudgements
    from confidential_spark.ui.results.published import (
        PublishedResult,
        PublishedResults,
        ReplacedVersion,
    )
    from confidential_spark.ui.views.timeline import Timeline

LAST_RUNS = 25
LAST_SINGLE_RESULTS = 12
# A list verifies for so long; the rest is "not verified yet", until the list is loaded again.
LIST_SECONDS = 1.0
MAX_FAILURE_TEXT = 4000
RUN_SPARK = "spark.run_spark"


@dataclass(frozen=True)
class Failure:
    """Why a run failed.

    :param parts: the failed task's own diagnosis, ``what``, ``got``, ``expected`` and ``do``; empty when it
        left none.
    :param code: the failure's name, or empty.
    """

    task_id: str
    parts: Mapping[str, str]
    code: str

    @property
    def runbook(self) -> str:
        """What a page about runbooks knows the failure by."""
        return self.code or self.task_id


@dataclass(frozen=True)
class RunLine:
    """One line of the list of runs.

    :param name: the month, or what else the run's result is called; empty when unknown.
    :param published: what it published, when that is still what readers see.
    """

    dag_id: str
    run_id: str
    name: str
    started: datetime | None
    verdict: Verdict
    published: PublishedState | None


@dataclass(frozen=True)
class DagSection:
    """One DAG's published results.

    :param counts: how many published results came to what, as tag and tone.
    :param is_complete: whether everything was verified that a list can verify.
    """

    dag_id: str
    counts: tuple[tuple[str, str], ...]
    years: tuple[Year, ...]
    others: tuple[PublishedState, ...]
    published: tuple[PublishedState, ...]
    is_complete: bool


@dataclass(frozen=True)
class ListPage:
    """The page "Confidential runs"."""

    dags: tuple[DagSection, ...]
    runs: tuple[RunLine, ...]

    @property
    def is_complete(self) -> bool:
        """Whether loading the page again would verify nothing more."""
        return all(dag.is_complete for dag in self.dags)


@dataclass(frozen=True)
class OtherRun:
    """Another run of the same month, or another try of this one.

    :param run_id: empty for a run that Airflow has forgotten.
    :param key: what the page of its result is called; empty for none.
    """

    sentence: str
    run_id: str = ""
    key: str = ""


@dataclass(frozen=True)
class EnclavePlace:
    """Which container or pod a run's enclave has, or had; the platform's word, as the task kept it.

    :param commands: how to look at it while it is there.
    """

    kind: str
    name: str
    where: str
    commands: tuple[str, ...]


@dataclass(frozen=True)
class RunPage:
    """The page of one run, or of one published result.

    :param steps: of this page's own verification, else of the pipeline's at the time.
    :param timeline: when the tasks worked; None when Airflow does not know the run.
    :param replaced: the versions that this result replaced and that are still kept, the latest first.
    """

    dag_id: str
    run_id: str
    name: str
    trust: str
    verdict: Verdict
    failure: Failure | None
    place: EnclavePlace | None
    stages: tuple[Stage, ...]
    steps: tuple[Line, ...]
    failed_checks: tuple[Line, ...]
    result: ResultView | None
    proof: Verdict | None
    other: OtherRun | None
    timeline: Timeline | None = None
    replaced: tuple[ReplacedVersion, ...] = ()


def judge_of(dag_id: str, kept: KeptJudgements = KEPT) -> Judge:
    """Return who verifies what one of this project's DAGs has published.

    :param kept: the verdicts that it remembers.
    """
    settings = get_settings()
    return Judge(dag_id, JOB_OF[dag_id], settings.policy_path(PLATFORMS[dag_id]), settings.jobs_dir, kept)


def list_page(session: Session, visible: Collection[str], published: PublishedResults) -> ListPage:
    """Return the list page.

    :param visible: ids of the DAGs that the user may see.
    """
    deadline = time.monotonic() + LIST_SECONDS
    ours = [dag_id for dag_id in PLATFORMS if dag_id in visible]
    sections = tuple(section(session, dag_id, published, deadline) for dag_id in ours)
    states = {(dag.dag_id, state.key): state for dag in sections for state in dag.published}
    return ListPage(sections, last_runs(session, ours, states))


def section(session: Session, dag_id: str, published: PublishedResults, deadline: float) -> DagSection:
    """Return a DAG's months, and its latest results that are not months.

    :param deadline: until when to verify, by the monotonic clock.
    """
    keys = published.keys(dag_id)
    singles = [key for key in keys if not month_of(key)][-LAST_SINGLE_RESULTS:]
    shown = [key for key in keys if month_of(key)] + singles
    results = [result for key in shown if (result := published.result(dag_id, key))]
    judge = judge_of(dag_id) if results else None
    states = tuple(state_of(judge, result, deadline) for result in results) if judge else ()
    lines = month_lines(states, runs_of.month_runs(session, dag_id) if dag_id in runs_of.MONTHLY else {})
    return DagSection(
        dag_id,
        counts_of(states),
        calendar(lines),
        tuple(state for state in reversed(states) if state.key in singles),
        states,
        is_complete=time.monotonic() < deadline,
    )


def state_of(judge: Judge, result: PublishedResult, deadline: float) -> PublishedState:
    """Return what a list says of a version: verified now, or earlier and unchanged since, or not yet."""
    judgement = judge.known(result)
    if judgement is None and time.monotonic() < deadline:
        judgement = judge.judge(result, limit=MAX_BYTES_IN_LIST)
    return published_state(judge.dag_id, result, judgement)


def counts_of(states: Collection[PublishedState]) -> tuple[tuple[str, str], ...]:
    """Return how many published results prove what, as text and tone of a tag."""
    proven = [state for state in states if state.trust]
    hardware = sum(state.proof == "hardware" for state in proven)
    rows = (
        (hardware, "hardware", "good"),
        (len(proven) - hardware, "SIMULATED", "warn"),
        (sum(state.state is CellState.REFUSED for state in states), "refused", "bad"),
        (sum(state.state is CellState.UNVERIFIED for state in states), "not verified", "idle"),
        (sum(state.state is CellState.WARNED for state in states), "with warnings", "warn"),
    )
    return tuple((f"{count} {word}", tone) for count, word, tone in rows if count)


def last_runs(
    session: Session, dag_ids: Collection[str], states: Mapping[tuple[str, str], PublishedState]
) -> tuple[RunLine, ...]:
    """Return the runs of these DAGs that started last, newest first.

    :param states: what is published, by DAG and key.
    """
    runs = runs_of.last_runs(session, dag_ids, LAST_RUNS)
    tasks, keys = runs_of.tasks_of(session, runs), runs_of.named_runs(session, runs)
    checks = runs_of.failed_checks(session, runs)
    lines = []
    for run in runs:
        found = verdict(str(run.state), runs_of.states(tasks[run.id]))
        state = states.get((run.dag_id, keys[run.id]))
        own = state if state and found is PASSED and state.run_id == run.run_id else None
        lines.append(
            RunLine(
                run.dag_id,
                run.run_id,
                runs_of.name_of(run, keys[run.id]),
                run.start_date,
                with_remarks(found, checks.get(run.id, ())),
                own,
            )
        )
    return tuple(lines)


def with_remarks(found: Verdict, checks: Collection[Line]) -> Verdict:
    """Return a passed run's verdict with the warnings that it passed with; any other as it is."""
    note, tone = remarks(tuple(checks))
    return replace(found, word=f"{found.word}{note}", tone=tone) if found is PASSED and note else found


def run_page(session: Session, dag_id: str, run_id: str, published: PublishedResults) -> RunPage | None:
    """Return one run's page, or None when there is no such run of a DAG of this project."""
    run = session.scalar(select(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id))
    if run is None or dag_id not in PLATFORMS:
        return None
    tasks = runs_of.tasks_of(session, [run])[run.id]
    states = runs_of.states(tasks)
    key = runs_of.named_runs(session, [run])[run.id] or asked_key(run)
    result, other = result_of_run(session, run, key, states, published)
    found = verdict(str(run.state), states)
    checks = () if result else runs_of.failed_checks_of_run(session, run, states)
    proof = live_verdict(result.judgement, result.checks) if result else None
    claimed = proof if proof and found is PASSED else with_remarks(found, checks)
    return RunPage(
        dag_id=dag_id,
        run_id=run_id,
        name=runs_of.name_of(run, key),
        trust=shown_trust(dag_id, result),
        verdict=claimed,
        failure=failure_of(session, run, states),
        place=place_of(session, run),
        stages=stages(tasks),
        steps=result.steps if result else runs_of.steps_of_run(session, run, states),
        failed_checks=checks,
        result=result,
        proof=None if claimed is proof else proof,
        other=other,
        timeline=timeline(dag_id, run_id, tasks),
    )


def asked_key(run: DagRun) -> str:
    """Return what a run will be filed under, before it has said so itself; empty when it has no month."""
    month = runs_of.month_asked_for(run)
    return f"month={month}" if month else ""


def result_of_run(
    session: Session, run: DagRun, key: str, tasks: Mapping[str, str], published: PublishedResults
) -> tuple[ResultView | None, OtherRun | None]:
    """Return what this run's present try has published while readers see it, else what they see instead."""
    result = published.result(run.dag_id, key)
    if result is None:
        return None, None
    judge = judge_of(run.dag_id)
    publisher = run_of(run.dag_id, judge.claim(result), result.document("report.json"))
    if publisher != run.run_id:
        return None, other_run(session, run.dag_id, publisher)
    if tasks.get(runs_of.PUBLISH) != "success":
        return None, OtherRun("What an earlier try of this run made is still published.", key=key)
    return with_trigger(session, run.dag_id, result_view(judge, result, run.run_id)), None


def with_trigger(session: Session, dag_id: str, result: ResultView) -> ResultView:
    """Return a result's view with who started its run, where its provenance is proven."""
    if result.provenance is None:
        return result
    triggered = runs_of.triggered_by(session, dag_id, result.run_id) if result.run_id else ""
    return replace(result, provenance=replace(result.provenance, triggered=triggered))


def other_run(session: Session, dag_id: str, run_id: str) -> OtherRun:
    """Return what a run's page says when another run's result is published."""
    known = session.scalar(select(DagRun.id).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id))
    return OtherRun("What is published now is of another run.", run_id if known else "")


def result_page(session: Session, dag_id: str, key: str, published: PublishedResults) -> RunPage | None:
    """Return one published result's page, or None."""
    found = published.result(dag_id, key) if dag_id in PLATFORMS else None
    if found is None:
        return None
    result = with_trigger(session, dag_id, result_view(judge_of(dag_id), found))
    return RunPage(
        dag_id=dag_id,
        run_id=result.run_id,
        name=key.partition("=")[2],
        trust=shown_trust(dag_id, result),
        verdict=live_verdict(result.judgement, result.checks),
        failure=None,
        place=None,
        stages=(),
        steps=result.steps,
        failed_checks=(),
        result=result,
        proof=None,
        other=newer_run(session, dag_id, key, result),
        timeline=runs_of.timeline_of(session, dag_id, result.run_id) if result.run_id else None,
        replaced=published.replaced(dag_id, key),
    )


def newer_run(session: Session, dag_id: str, key: str, result: ResultView) -> OtherRun | None:
    """Return the month's newest run where it is at work, or has failed, since this result was signed."""
    month = month_of(key)
    run = runs_of.month_runs(session, dag_id).get(month) if month and dag_id in runs_of.MONTHLY else None
    if run is None or not is_newer(run, result.judgement.claim):
        return None
    return OtherRun(
        f"Newest run of this month: {run.state.word}. This result was made before it.", run.run_id
    )


def is_newer(run: runs_of.MonthRun, claim: Claim) -> bool:
    """Whether a run is at work, or came to nothing after the claimed version was signed."""
    if run.state in (CellState.QUEUED, CellState.RUNNING):
        return True
    failed = run.state in (CellState.FAILED, CellState.REFUSED)
    return failed and run.started is not None and bool(claim.at) and run.started > claim.moment


def shown_trust(dag_id: str, result: ResultView | None) -> str:
    """Return what was proven; before anything is, no more than that it can only be simulated."""
    if result and result.trust:
        return result.trust
    return TRUST_SIMULATED if PLATFORMS[dag_id].trust == TRUST_SIMULATED else ""


def place_of(session: Session, run: DagRun) -> EnclavePlace | None:
    """Return where the run's enclave is or was, or None on a platform where it is a process of the worker."""
    told = runs_of.handed_object(session, run, RUN_SPARK, PLACE_KEY)
    kind, name, where = (text(told.get(part)) for part in ("kind", "name", "where"))
    commands = told.get("commands")
    texts = tuple(filter(None, map(text, commands))) if isinstance(commands, list) else ()
    return EnclavePlace(kind, name, where, texts) if kind and name else None


def failure_of(session: Session, run: DagRun, tasks: Mapping[str, str]) -> Failure | None:
    """Return which task of an ended run failed first and why, or None.

    :param tasks: state of each task by id.
    """
    task_id = failed_task(tasks)
    if str(run.state) != "failed" or not task_id:
        return None
    reason = runs_of.handed_on(session, [run], task_id, FAILURE_KEY).get(run.id)
    parts = parts_of(reason[:MAX_FAILURE_TEXT]) if isinstance(reason, str) else {}
    return Failure(task_id, parts, parts.pop("code", ""))
