"""What the pages show, from Airflow's database (read only) and the published results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from sqlalchemy import and_, func, select

from confidential_spark.agent.protocol import TRUST_SIMULATED
from confidential_spark.core.errors import InputError
from confidential_spark.core.months import Month
from confidential_spark.core.platforms import Platform
from confidential_spark.core.stages import ENCLAVE_RUN_KEY, FAILED_CHECKS_KEY, FAILURE_KEY, VERIFICATION_KEY
from confidential_spark.jobs import JOBS
from confidential_spark.settings import get_settings
from confidential_spark.ui.calendar_view import Year, calendar, month_of
from confidential_spark.ui.report_view import (
    Line,
    ResultView,
    check_lines,
    is_whole,
    mapping,
    objects,
    result_view,
    step_lines,
    text,
)
from confidential_spark.ui.run_view import (
    PUBLISHED,
    WAITING,
    Stage,
    Task,
    Verdict,
    failed_task,
    stages,
    verdict,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime

    from sqlalchemy.orm import Session

    from confidential_spark.ui.published import Published

LAST_RUNS = 25
LAST_SINGLE_RESULTS = 12
MONTHLY_FIRST = sorted(JOBS.values(), key=lambda job: not job.monthly)
PLATFORMS = {job.dag_id(platform): platform for job in MONTHLY_FIRST for platform in Platform}
"""The DAGs of this project, by id."""
JOB_OF = {job.dag_id(platform): job for job in MONTHLY_FIRST for platform in Platform}
MONTHLY = frozenset(dag_id for dag_id, job in JOB_OF.items() if job.monthly)
MAX_FAILURE_TEXT = 4000


@dataclass(frozen=True)
class Failure:
    """Why a run failed.

    :param reason: the failed task's own diagnosis; empty when it left none.
    """

    task_id: str
    reason: str


@dataclass(frozen=True)
class RunLine:
    """One line of the list of runs.

    :param name: the month, or what else the run's result is called; empty when unknown.
    """

    dag_id: str
    run_id: str
    name: str
    started: datetime | None
    verdict: Verdict


@dataclass(frozen=True)
class DagSection:
    """One DAG's published results."""

    dag_id: str
    trust: str
    years: tuple[Year, ...]
    others: tuple[str, ...]


@dataclass(frozen=True)
class ListPage:
    """The page "Confidential runs"."""

    dags: tuple[DagSection, ...]
    runs: tuple[RunLine, ...]


@dataclass(frozen=True)
class RunPage:
    """The page of one run, or of one published result whose run Airflow has forgotten."""

    dag_id: str
    run_id: str
    name: str
    trust: str
    verdict: Verdict
    failure: Failure | None
    stages: tuple[Stage, ...]
    steps: tuple[Line, ...]
    failed_checks: tuple[Line, ...]
    result: ResultView | None


def list_page(session: Session, visible: Collection[str], published: Published) -> ListPage:
    """Return the list page.

    :param visible: ids of the DAGs that the user may see.
    """
    ours = [dag_id for dag_id in PLATFORMS if dag_id in visible]
    return ListPage(tuple(section(dag_id, published) for dag_id in ours), last_runs(session, ours))


def section(dag_id: str, published: Published) -> DagSection:
    """Return a DAG's published months, and its latest results that are not months."""
    keys = published.keys(dag_id)
    rows = {key: rows_of(published, dag_id, key) for key in keys if month_of(key)}
    others = [key for key in keys if key not in rows]
    return DagSection(
        dag_id, PLATFORMS[dag_id].trust, calendar(rows), tuple(reversed(others[-LAST_SINGLE_RESULTS:]))
    )


def rows_of(published: Published, dag_id: str, key: str) -> int | None:
    """Return how many rows a published month accepted, if its summary says so."""
    result = published.result(dag_id, key)
    rows = mapping(result.document("summary.json").get("rows")).get("accepted") if result else None
    return rows if is_whole(rows) else None


def last_runs(session: Session, dag_ids: Collection[str]) -> tuple[RunLine, ...]:
    """Return the runs of these DAGs that started last, newest first; a waiting run by when it may start."""
    started = func.coalesce(DagRun.start_date, DagRun.run_after)
    runs = session.scalars(
        select(DagRun).where(DagRun.dag_id.in_(dag_ids)).order_by(started.desc()).limit(LAST_RUNS)
    ).all()
    tasks = tasks_of(session, runs)
    return tuple(
        RunLine(
            run.dag_id,
            run.run_id,
            name_of(session, run),
            run.start_date,
            verdict(str(run.state), states(tasks[run.id])),
        )
        for run in runs
    )


def run_page(session: Session, dag_id: str, run_id: str, published: Published) -> RunPage | None:
    """Return one run's page, or None when there is no such run of a DAG of this project."""
    run = session.scalar(select(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id))
    if run is None or dag_id not in PLATFORMS:
        return None
    tasks = tasks_of(session, [run])[run.id]
    result = result_of_run(session, run, published)
    return RunPage(
        dag_id=dag_id,
        run_id=run_id,
        name=name_of(session, run),
        trust=result.trust if result else trust_without_result(dag_id),
        verdict=verdict(str(run.state), states(tasks)),
        failure=failure_of(session, run, states(tasks)),
        stages=stages(tasks),
        steps=result.steps if result else steps_of_run(session, run),
        failed_checks=() if result else failed_checks_of_run(session, run),
        result=result,
    )


def result_page(dag_id: str, key: str, published: Published) -> RunPage | None:
    """Return one published result's page, or None."""
    result = view_of(dag_id, key, published)
    if result is None:
        return None
    return RunPage(
        dag_id=dag_id,
        run_id=result.run_id,
        name=name_in(key),
        trust=result.trust,
        verdict=PUBLISHED,
        failure=None,
        stages=(),
        steps=result.steps,
        failed_checks=(),
        result=result,
    )


def trust_without_result(dag_id: str) -> str:
    """Return what may be said before anything is proven: that it is simulated, or nothing."""
    return TRUST_SIMULATED if PLATFORMS[dag_id].trust == TRUST_SIMULATED else ""


def result_of_run(session: Session, run: DagRun, published: Published) -> ResultView | None:
    """Return what this very run has published, if it still is what readers see."""
    view = view_of(run.dag_id, key_of(session, run), published)
    return view if view and view.run_id == run.run_id else None


def key_of(session: Session, run: DagRun) -> str:
    """Return what the run publishes under, e.g. ``month=2018-05``; empty before it is known."""
    return text(stored(session, run, "spark.run_spark", ENCLAVE_RUN_KEY).get("key"))


def name_of(session: Session, run: DagRun) -> str:
    """Return what a run is called: by its publication key, else by the month it was asked for; or empty."""
    return name_in(key_of(session, run)) or month_asked_for(run)


def name_in(key: str) -> str:
    """Return a publication key's part for people, e.g. ``2018-05``."""
    return key.partition("=")[2]


def month_asked_for(run: DagRun) -> str:
    """Return the month of the run's Params, else of its data interval; empty for neither, or not a month."""
    if run.dag_id not in MONTHLY:
        return ""
    start = run.data_interval_start
    asked = mapping(run.conf).get("month") or (f"{start:%Y-%m}" if start else "")
    try:
        return str(Month.parse(asked))
    except InputError:
        return ""


def failure_of(session: Session, run: DagRun, tasks: Mapping[str, str]) -> Failure | None:
    """Return which task of an ended run failed first and why, or None.

    :param tasks: state of each task by id.
    """
    task_id = failed_task(tasks)
    if str(run.state) != "failed" or not task_id:
        return None
    reason = handed_on(session, run, task_id, FAILURE_KEY)
    return Failure(task_id, reason[:MAX_FAILURE_TEXT] if isinstance(reason, str) else "")


def steps_of_run(session: Session, run: DagRun) -> tuple[Line, ...]:
    """Return the verification's steps of a run that has published nothing, if it got that far."""
    task = "validation.verify_evidence"
    return step_lines(objects(stored(session, run, task, VERIFICATION_KEY).get("steps")))


def failed_checks_of_run(session: Session, run: DagRun) -> tuple[Line, ...]:
    """Return the result checks that a run did not pass, warnings included."""
    stored_checks = stored(session, run, "validation.check_results", FAILED_CHECKS_KEY)
    return check_lines(objects(stored_checks.get("checks")))


def stored(session: Session, run: DagRun, task_id: str, key: str) -> dict[str, Any]:
    """Return the object that a task has handed on; empty when there is none."""
    return mapping(handed_on(session, run, task_id, key))


def handed_on(session: Session, run: DagRun, task_id: str, key: str) -> object:
    """Return the value that a task has handed on, or None."""
    value: object = session.scalar(
        select(XComModel.value).where(
            XComModel.dag_run_id == run.id, XComModel.task_id == task_id, XComModel.key == key
        )
    )
    return value


def view_of(dag_id: str, key: str, published: Published) -> ResultView | None:
    """Return a published result of one of this project's DAGs."""
    result = published.result(dag_id, key) if dag_id in PLATFORMS else None
    if result is None:
        return None
    return result_view(dag_id, JOB_OF[dag_id], result, get_settings().policy_path(PLATFORMS[dag_id]))


def tasks_of(session: Session, runs: Collection[DagRun]) -> dict[int, list[Task]]:
    """Return the tasks of each run, by the run's number in the database."""
    tasks: dict[int, list[Task]] = {run.id: [] for run in runs}
    same_run = and_(TaskInstance.dag_id == DagRun.dag_id, TaskInstance.run_id == DagRun.run_id)
    rows = session.execute(
        select(
            DagRun.id,
            TaskInstance.task_id,
            TaskInstance.state,
            TaskInstance.start_date,
            TaskInstance.end_date,
            TaskInstance.try_number,
        )
        .join(DagRun, same_run)
        .where(DagRun.id.in_(tasks))
    )
    for number, task_id, state, start, end, tries in rows:
        tasks[number].append(Task(task_id, state or WAITING, start, end, tries))
    return tasks


def states(tasks: Collection[Task]) -> dict[str, str]:
    """Return each task's state by id."""
    return {task.task_id: task.state for task in tasks}
