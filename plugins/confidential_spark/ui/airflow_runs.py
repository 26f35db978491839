"""What Airflow's database knows of this project's runs; read only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from airflow.utils.types import DagRunTriggeredByType
from sqlalchemy import and_, case, func, select

from confidential_spark.core.errors import InputError
from confidential_spark.core.months import Month
from confidential_spark.core.platforms import Platform
from confidential_spark.core.stages import ENCLAVE_RUN_KEY, FAILED_CHECKS_KEY, VERIFICATION_KEY
from confidential_spark.jobs import JOBS
from confidential_spark.ui.views.calendar_view import CellState, month_of
from confidential_spark.ui.views.report_view import Line, check_lines, mapping, objects, step_lines, text
from confidential_spark.ui.views.run_view import (
    ACTIVE_RUNS,
    PASSED,
    QUEUED,
    STOPPED,
    WAITING,
    Task,
    Verdict,
    verdict,
)
from confidential_spark.ui.views.timeline import timeline

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from datetime import datetime

    from sqlalchemy.orm import Session

    from confidential_spark.ui.views.timeline import Timeline

MONTHLY_FIRST = sorted(JOBS.values(), key=lambda job: not job.monthly)
PLATFORMS = {job.dag_id(platform): platform for job in MONTHLY_FIRST for platform in Platform}
"""The DAGs of this project, by id."""
JOB_OF = {job.dag_id(platform): job for job in MONTHLY_FIRST for platform in Platform}
MONTHLY = frozenset(dag_id for dag_id, job in JOB_OF.items() if job.monthly)
# A list looks no further back; a DAG of 200 months has room for 10 runs of each.
MAX_RUNS = 2000
VERIFY, CHECK, PUBLISH = "validation.verify_evidence", "validation.check_results", "validation.publish"
# What Airflow calls the component that started a run, in words.
TRIGGERED = {
    "cli": "on the command line",
    "operator": "another DAG",
    "rest_api": "by the API",
    "ui": "by hand",
    "test": "on the command line, without a scheduler",
    "timetable": "the schedule",
    "asset": "other results that were published",
    "backfill": "a back-fill",
}
STARTED = func.coalesce(DagRun.start_date, DagRun.run_after)


@dataclass(frozen=True)
class MonthRun:
    """The newest run of a month, as a cell shows it."""

    run_id: str
    state: CellState
    started: datetime | None
    sentence: str


def last_runs(session: Session, dag_ids: Collection[str], limit: int) -> list[DagRun]:
    """Return the runs of these DAGs that started last, newest first; a waiting run by when it may start."""
    found = select(DagRun).where(DagRun.dag_id.in_(dag_ids)).order_by(STARTED.desc()).limit(limit)
    return list(session.scalars(found))


def month_runs(session: Session, dag_id: str) -> dict[Month, MonthRun]:
    """Return the newest run of each month of a DAG; one that is queued or running is newer than any other."""
    active = case((DagRun.state.in_(ACTIVE_RUNS), 1), else_=0)
    runs = session.scalars(
        select(DagRun).where(DagRun.dag_id == dag_id).order_by(active.desc(), STARTED.desc()).limit(MAX_RUNS)
    ).all()
    newest: dict[Month, DagRun] = {}
    keys = handed_on(
        session, [run for run in runs if not month_asked_for(run)], "spark.run_spark", ENCLAVE_RUN_KEY
    )
    for run in runs:
        month = month_of(f"month={month_asked_for(run)}") or month_of(
            text(mapping(keys.get(run.id)).get("key"))
        )
        if month:
            newest.setdefault(month, run)
    tasks = tasks_of(session, newest.values())
    return {month: month_run(run, states(tasks[run.id])) for month, run in newest.items()}


def month_run(run: DagRun, tasks: Mapping[str, str]) -> MonthRun:
    """Return a run as its month's cell shows it."""
    found = verdict(str(run.state), tasks)
    return MonthRun(run.run_id, cell_state(found), run.start_date, found.sentence)


def cell_state(found: Verdict) -> CellState:
    """Return the state of a month whose newest run came to this."""
    if found is PASSED:
        return CellState.PASSED
    if found is STOPPED:
        return CellState.MISSING
    if found is QUEUED:
        return CellState.QUEUED
    if found.tone == "busy":
        return CellState.RUNNING
    return CellState.REFUSED if found.word == "REFUSED" else CellState.FAILED


def named_runs(session: Session, runs: Collection[DagRun]) -> dict[int, str]:
    """Return what each run's result is filed under, e.g. ``month=2018-05``; empty before it is known."""
    keys = handed_on(session, runs, "spark.run_spark", ENCLAVE_RUN_KEY)
    return {run.id: text(mapping(keys.get(run.id)).get("key")) for run in runs}


def name_of(run: DagRun, key: str) -> str:
    """Return what a run is called: by its publication key, else by the month it was asked for; or empty."""
    return key.partition("=")[2] or month_asked_for(run)


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


def triggered_by(session: Session, dag_id: str, run_id: str) -> str:
    """Return who or what started a run, e.g. ``ann, by hand``; empty when Airflow does not know the run."""
    columns = select(DagRun.run_type, DagRun.triggered_by, DagRun.triggering_user_name)
    row = session.execute(columns.where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)).first()
    if row is None:
        return ""
    kind, component, user = row
    if component is DagRunTriggeredByType.TEST:
        # Airflow names no user of its own there.
        user = None
    how = TRIGGERED.get(getattr(component, "value", ""), text(kind))
    return f"{text(user)}, {how}" if user else how


def timeline_of(session: Session, dag_id: str, run_id: str) -> Timeline | None:
    """Return when the tasks of a run worked, or None when Airflow does not know the run."""
    run = session.scalar(select(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id))
    return timeline(dag_id, run_id, tasks_of(session, [run])[run.id]) if run else None


def steps_of_run(session: Session, run: DagRun, tasks: Mapping[str, str]) -> tuple[Line, ...]:
    """Return the steps that the pipeline's verification took in the run's present try, if it got that far."""
    if tasks.get(VERIFY) not in ("success", "failed"):
        return ()
    return step_lines(objects(handed_object(session, run, VERIFY, VERIFICATION_KEY).get("steps")))


def failed_checks_of_run(session: Session, run: DagRun, tasks: Mapping[str, str]) -> tuple[Line, ...]:
    """Return the result checks that the run's present try did not pass, warnings included."""
    if tasks.get(CHECK) not in ("success", "failed"):
        return ()
    return check_lines(objects(handed_object(session, run, CHECK, FAILED_CHECKS_KEY).get("checks")))


def failed_checks(session: Session, runs: Collection[DagRun]) -> dict[int, tuple[Line, ...]]:
    """Return the result checks that each of these runs did not pass."""
    found = handed_on(session, runs, CHECK, FAILED_CHECKS_KEY)
    return {number: check_lines(objects(mapping(value).get("checks"))) for number, value in found.items()}


def handed_object(session: Session, run: DagRun, task_id: str, key: str) -> dict[str, Any]:
    """Return the object that a run's task has handed on; empty when there is none."""
    return mapping(handed_on(session, [run], task_id, key).get(run.id))


def handed_on(session: Session, runs: Iterable[DagRun], task_id: str, key: str) -> dict[int, object]:
    """Return the value that a task of each run has handed on, by the run's number in the database."""
    numbers = [run.id for run in runs]
    of_task = and_(XComModel.task_id == task_id, XComModel.key == key)
    rows = session.execute(
        select(XComModel.dag_run_id, XComModel.value).where(XComModel.dag_run_id.in_(numbers), of_task)
    )
    return dict(row._tuple() for row in rows)


def tasks_of(session: Session, runs: Iterable[DagRun]) -> dict[int, list[Task]]:
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
