"""Mark local runs that died with their process as failed; a scheduler would take them for its own and go on.

Only runs without a scheduler (`dag_run`) are meant. The caller holds the lock that allows one of them at a
time, so whichever is still "running" has no process any more.
"""

from __future__ import annotations

from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState, State, TaskInstanceState
from airflow.utils.types import DagRunTriggeredByType
from sqlalchemy import select


def fail_interrupted_runs() -> list[str]:
    """Mark them and their unfinished tasks as failed, and return their ids."""
    with create_session() as session:
        runs = session.scalars(
            select(DagRun).where(
                DagRun.triggered_by == DagRunTriggeredByType.TEST, DagRun.state == DagRunState.RUNNING
            )
        ).all()
        for run in runs:
            run.state = DagRunState.FAILED
            for task in session.scalars(
                select(TaskInstance).where(
                    TaskInstance.dag_id == run.dag_id, TaskInstance.run_id == run.run_id
                )
            ):
                if task.state not in State.finished:
                    task.state = TaskInstanceState.FAILED
        return [run.run_id for run in runs]


if __name__ == "__main__":
    for run_id in fail_interrupted_runs():
        print(f"marked as failed: {run_id}, which was interrupted")
