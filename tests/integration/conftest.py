"""Real runs of the real DAGs: Airflow, agent, Spark, cryptography; only the hardware is simulated."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@dataclass(frozen=True)
class Run:
    """One finished DAG run."""

    dag_id: str
    run_id: str
    state: str
    tasks: dict[str, str]
    tries: dict[str, int]
    xcoms: dict[str, Any]

    @property
    def failed(self) -> set[str]:
        return {task for task, state in self.tasks.items() if state == "failed"}


@pytest.fixture(scope="session")
def run_dag(airflow_database) -> Callable[..., Run]:
    from airflow.dag_processing.dagbag import DagBag

    def run(dag_id: str, month: str | None = None, at: datetime | None = None, **params: Any) -> Run:
        # `dag.test()` writes the run's conf into the DAG's own params, so each run gets a DAG of its own.
        dag = DagBag().get_dag(dag_id)
        conf = {**params, **({"month": month} if month else {})}
        return finished(dag.test(logical_date=at or datetime.now(UTC), run_conf=conf))

    return run


def finished(dag_run: Any) -> Run:
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        rows = session.scalars(select(XComModel).where(XComModel.run_id == dag_run.run_id)).all()
        xcoms = {row.task_id: XComModel.deserialize_value(row) for row in rows if row.key == "return_value"}
    instances = dag_run.get_task_instances()
    return Run(
        dag_run.dag_id,
        dag_run.run_id,
        str(dag_run.state),
        {ti.task_id: str(ti.state) for ti in instances},
        {ti.task_id: ti.try_number for ti in instances},
        xcoms,
    )


@pytest.fixture(scope="session")
def results_dir() -> Path:
    from confidential_spark.settings import get_settings

    return get_settings().results_dir
