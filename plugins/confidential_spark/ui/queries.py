"""What the pages show, from Airflow's database (read only) and the published results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from sqlalchemy import select

from confidential_spark.core.jobs import JOBS
from confidential_spark.core.platforms import Platform
from confidential_spark.operators.enclave_run import XCOM_KEY
from confidential_spark.settings import get_settings
from confidential_spark.ui.calendar_view import Year, calendar, month_of
from confidential_spark.ui.report_view import ResultView, is_whole, mapping, result_view
from confidential_spark.ui.run_view import WAITING, Stage, Task, Verdict, stages, verdict

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from sqlalchemy.orm import Session

    from confidential_spark.ui.published import Published

LAST_RUNS = 25
LAST_SINGLE_RESULTS = 12
PLATFORMS = {f"{job}_{platform}": platform for job in JOBS for platform in Platform}
"""The DAGs of this project, by id."""


@dataclass(frozen=True)
class RunLine:
    """One line of the list of runs."""

    dag_id: str
    run_id: str
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
    trust: str
    verdict: Verdict
    stages: tuple[Stage, ...]
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
    trips = {key: trips_of(published, dag_id, key) for key in keys if month_of(key)}
    others = [key for key in keys if key not in trips]
    return DagSection(
        dag_id, PLATFORMS[dag_id].trust, calendar(trips), tuple(reversed(others[-LAST_SINGLE_RESULTS:]))
    )


def trips_of(published: Published, dag_id: str, key: str) -> int | None:
    """Return a published month's number of trips, if its summary has one."""
    result = published.result(dag_id, key)
    trips = mapping(result.document("summary.json").get("totals")).get("trips") if result else None
    return trips if is_whole(trips) else None


def last_runs(session: Session, dag_ids: Collection[str]) -> tuple[RunLine, ...]:
    """Return the latest runs of these DAGs, newest first."""
    runs = session.scalars(
        select(DagRun).where(DagRun.dag_id.in_(dag_ids)).order_by(DagRun.run_after.desc()).limit(LAST_RUNS)
    ).all()
    return tuple(
        RunLine(
            run.dag_id, run.run_id, run.start_date, verdict(str(run.state), states(tasks_of(session, run)))
        )
        for run in runs
    )


def run_page(session: Session, dag_id: str, run_id: str, published: Published) -> RunPage | None:
    """Return one run's page, or None when there is no such run of a DAG of this project."""
    run = session.scalar(select(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id))
    if run is None or dag_id not in PLATFORMS:
        return None
    tasks = tasks_of(session, run)
    result = result_of_run(session, run, published)
    return RunPage(
        dag_id=dag_id,
        run_id=run_id,
        trust=(result.trust if result else "") or PLATFORMS[dag_id].trust,
        verdict=verdict(str(run.state), states(tasks)),
        stages=stages(tasks),
        result=result,
    )


def result_page(dag_id: str, key: str, published: Published) -> RunPage | None:
    """Return one published result's page, or None."""
    view = view_of(dag_id, key, published)
    if view is None:
        return None
    published_verdict = Verdict(
        "PUBLISHED", "good", "The pipeline verified this evidence before it published it."
    )
    return RunPage(dag_id, view.run_id, view.trust or PLATFORMS[dag_id].trust, published_verdict, (), view)


def result_of_run(session: Session, run: DagRun, published: Published) -> ResultView | None:
    """Return what this very run has published, if it still is what readers see."""
    stored = session.scalar(
        select(XComModel.value).where(
            XComModel.dag_id == run.dag_id,
            XComModel.run_id == run.run_id,
            XComModel.task_id == "spark.run_spark",
            XComModel.key == XCOM_KEY,
        )
    )
    key = mapping(stored).get("key")
    view = view_of(run.dag_id, key, published) if isinstance(key, str) else None
    return view if view and view.run_id == run.run_id else None


def view_of(dag_id: str, key: str, published: Published) -> ResultView | None:
    """Return a published result of one of this project's DAGs."""
    result = published.result(dag_id, key) if dag_id in PLATFORMS else None
    return result_view(dag_id, result, get_settings().policy_path(PLATFORMS[dag_id])) if result else None


def tasks_of(session: Session, run: DagRun) -> list[Task]:
    """Return the run's tasks, as Airflow knows them."""
    rows = session.execute(
        select(
            TaskInstance.task_id,
            TaskInstance.state,
            TaskInstance.start_date,
            TaskInstance.end_date,
            TaskInstance.try_number,
        ).where(TaskInstance.dag_id == run.dag_id, TaskInstance.run_id == run.run_id)
    )
    return [Task(task_id, state or WAITING, start, end, tries) for task_id, state, start, end, tries in rows]


def states(tasks: Collection[Task]) -> dict[str, str]:
    """Return each task's state by id."""
    return {task.task_id: task.state for task in tasks}
