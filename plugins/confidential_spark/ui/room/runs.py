"""What Airflow's database says of many months at once: columns only, because a page has 100 ms for it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow.models.dag import DagModel
from airflow.models.dagrun import DagRun
from airflow.models.hitl import HITLDetail
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from sqlalchemy import case, func, select

from confidential_spark.core.error_parts import parts_of
from confidential_spark.core.stages import ENCLAVE_RUN_KEY, FAILURE_KEY
from confidential_spark.operators.platform_check import REPORT_KEY
from confidential_spark.ui import airflow_runs as runs_of
from confidential_spark.ui.airflow_runs import MAX_RUNS, STARTED, MonthRun, cell_state
from confidential_spark.ui.views.calendar_view import month_of
from confidential_spark.ui.views.report_view import mapping, text
from confidential_spark.ui.views.run_view import ACTIVE_RUNS, PASSED, WAITING, Task, verdict

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from sqlalchemy.orm import Session

    from confidential_spark.core.months import Month

PLATFORM_CHECK = "platform_check"
MAX_ACTIVE_SHOWN = 50
MAX_UNNAMED = 200
COLUMNS = (
    DagRun.id,
    DagRun.dag_id,
    DagRun.run_id,
    DagRun.state,
    DagRun.conf,
    DagRun.data_interval_start,
    DagRun.start_date,
    DagRun.end_date,
)


class Run(NamedTuple):
    """One run's columns."""

    id: int
    dag_id: str
    run_id: str
    state: str
    conf: Any
    data_interval_start: datetime | None
    start_date: datetime | None
    end_date: datetime | None

    @property
    def month(self) -> Month | None:
        """The month that it was asked for, if any."""
        start = self.data_interval_start
        asked = mapping(self.conf).get("month") or (f"{start:%Y-%m}" if start else "")
        return month_of(f"month={asked}") if isinstance(asked, str) else None


@dataclass(frozen=True)
class ActiveRun:
    """A run that is queued or at work.

    :param name: the month, or the run's own name.
    :param tasks: state of each task by id.
    """

    dag_id: str
    run_id: str
    name: str
    state: str
    started: datetime | None
    tasks: tuple[Task, ...]


@dataclass(frozen=True)
class DagFacts:
    """What Airflow says of one DAG."""

    is_paused: bool = False
    max_active_runs: int = 1
    is_there: bool = True


@dataclass(frozen=True)
class Waiting:
    """Something that waits for a person's answer."""

    dag_id: str
    run_id: str
    task_id: str
    subject: str
    since: datetime | None


def newest_runs(session: Session, dag_id: str, published: Collection[Month]) -> dict[Month, MonthRun]:
    """Return the newest run of each month of a DAG; one that is queued or running is newer than any other.

    :param published: months whose newest run needs no look at its tasks when it ended well.
    """
    newest: dict[Month, Run] = {}
    runs = all_runs(session, [dag_id])
    names = _unnamed(session, [run for run in runs if run.month is None][:MAX_UNNAMED])
    for run in runs:
        if month := run.month or names.get(run.id):
            newest.setdefault(month, run)
    looked_at = [run for month, run in newest.items() if run.state != "success" or month not in published]
    tasks = tasks_of(session, looked_at)
    return {month: _month_run(run, tasks.get(run.id)) for month, run in newest.items()}


def all_runs(session: Session, dag_ids: Collection[str]) -> list[Run]:
    """Return the runs of these DAGs: the active ones first, then the latest first."""
    active = case((DagRun.state.in_(ACTIVE_RUNS), 1), else_=0)
    chosen = select(*COLUMNS).where(DagRun.dag_id.in_(dag_ids)).order_by(active.desc(), STARTED.desc())
    return [_run(row) for row in session.execute(chosen.limit(MAX_RUNS))]


def active_runs(session: Session, dag_ids: Collection[str]) -> tuple[ActiveRun, ...]:
    """Return the runs of these DAGs that are queued or at work, those at work first."""
    at_work = case((DagRun.state == "running", 1), else_=0)
    chosen = select(*COLUMNS).where(DagRun.dag_id.in_(dag_ids), DagRun.state.in_(ACTIVE_RUNS))
    ordered = chosen.order_by(at_work.desc(), DagRun.run_after).limit(MAX_ACTIVE_SHOWN)
    runs = [_run(row) for row in session.execute(ordered)]
    tasks = tasks_of(session, [run for run in runs if run.state != "queued"])
    return tuple(
        ActiveRun(
            run.dag_id,
            run.run_id,
            str(run.month) if run.month and run.dag_id in runs_of.MONTHLY else run.run_id,
            run.state,
            run.start_date,
            tuple(tasks.get(run.id, ())),
        )
        for run in runs
    )


def tasks_of(session: Session, runs: Iterable[Run]) -> dict[int, list[Task]]:
    """Return the tasks of each of these runs, by the run's number in the database."""
    tasks: dict[int, list[Task]] = {run.id: [] for run in runs}
    if not tasks:
        return {}
    columns = (TaskInstance.task_id, TaskInstance.state, TaskInstance.start_date, TaskInstance.end_date)
    same_run = (TaskInstance.dag_id == DagRun.dag_id) & (TaskInstance.run_id == DagRun.run_id)
    chosen = select(DagRun.id, *columns, TaskInstance.try_number).join(DagRun, same_run)
    for row in session.execute(chosen.where(DagRun.id.in_(tasks))):
        number, task_id, state, start, end, tries = row._tuple()
        tasks[number].append(Task(task_id, state or WAITING, start, end, tries))
    return tasks


def dag_facts(session: Session, dag_ids: Collection[str]) -> dict[str, DagFacts]:
    """Return what Airflow says of these DAGs; those that it does not know are left out."""
    columns = (DagModel.dag_id, DagModel.is_paused, DagModel.max_active_runs, DagModel.is_stale)
    rows = session.execute(select(*columns).where(DagModel.dag_id.in_(dag_ids)))
    return {
        dag_id: DagFacts(bool(paused), at_once or 1, not stale) for dag_id, paused, at_once, stale in rows
    }


def waiting_answers(session: Session, dag_ids: Collection[str]) -> tuple[Waiting, ...]:
    """Return what waits for a person's answer in these DAGs, the oldest first."""
    chosen = (
        select(
            TaskInstance.dag_id,
            TaskInstance.run_id,
            TaskInstance.task_id,
            HITLDetail.subject,
            HITLDetail.created_at,
        )
        .join(TaskInstance, TaskInstance.id == HITLDetail.ti_id)
        .where(HITLDetail.responded_at.is_(None), TaskInstance.dag_id.in_(dag_ids))
        .where(TaskInstance.state.in_(("deferred", "running", "awaiting_input")))
        .order_by(HITLDetail.created_at)
        .limit(10)
    )
    return tuple(Waiting(*row) for row in session.execute(chosen))


def platform_reports(session: Session) -> dict[str, Mapping[str, Any]]:
    """Return the latest report of each platform that the DAG `platform_check` has left, by platform."""
    tasks = select(XComModel.task_id, func.max(XComModel.dag_run_id).label("newest"))
    of_check = (XComModel.dag_id == PLATFORM_CHECK) & (XComModel.key == REPORT_KEY)
    latest = tasks.where(of_check).group_by(XComModel.task_id).subquery()
    same = (XComModel.task_id == latest.c.task_id) & (XComModel.dag_run_id == latest.c.newest)
    values = session.scalars(select(XComModel.value).join(latest, same).where(of_check))
    return {text(report.get("platform")): report for value in values if (report := mapping(value))}


def failure_codes(session: Session, dag_id: str, run_ids: Collection[str]) -> dict[str, str]:
    """Return the code with which a task of each of these runs has failed, where it left one."""
    if not run_ids:
        return {}
    chosen = select(XComModel.run_id, XComModel.value).where(
        XComModel.dag_id == dag_id, XComModel.run_id.in_(run_ids), XComModel.key == FAILURE_KEY
    )
    rows = session.execute(chosen.order_by(XComModel.timestamp.desc()))
    return {run_id: parts_of(text(value)).get("code", "") for run_id, value in rows}


def _run(row: Any) -> Run:
    return Run(row[0], row[1], row[2], str(row[3]), *(row[4:]))


def _unnamed(session: Session, runs: Collection[Run]) -> dict[int, Month]:
    """Return the months of runs that were not asked for one, as their results are filed."""
    if not runs:
        return {}
    chosen = select(XComModel.dag_run_id, XComModel.value).where(
        XComModel.dag_run_id.in_([run.id for run in runs]),
        XComModel.task_id == "spark.run_spark",
        XComModel.key == ENCLAVE_RUN_KEY,
    )
    found = ((number, month_of(text(mapping(value).get("key")))) for number, value in session.execute(chosen))
    return {number: month for number, month in found if month}


def _month_run(run: Run, tasks: Collection[Task] | None) -> MonthRun:
    found = PASSED if tasks is None else verdict(run.state, runs_of.states(tasks))
    return MonthRun(run.run_id, cell_state(found), run.start_date, found.sentence)


def utc_now() -> datetime:
    """Return the present time."""
    return datetime.now(UTC)
