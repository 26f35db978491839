"""What a killed Airflow left behind in its database, set right before a scheduler or another run starts.

Two kinds: runs without a scheduler (`make run`), whose processes are gone and which a scheduler would take
for its own; and the tasks of a dead scheduler, which would run again only after minutes, one try poorer.
"""

from __future__ import annotations

import argparse

from airflow.jobs.job import Job, JobState
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.sdk.timezone import utcnow
from airflow.utils.net import get_hostname
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState, State, TaskInstanceState
from airflow.utils.types import DagRunTriggeredByType
from sqlalchemy import select

AT_WORK = (TaskInstanceState.QUEUED, TaskInstanceState.RUNNING, TaskInstanceState.RESTARTING)


def fail_interrupted_runs() -> list[str]:
    """Mark them and their unfinished tasks as failed, and return their ids.

    The caller holds the lock that allows one run without a scheduler at a time, so whichever is still
    "running" no longer has a process.
    """
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


def release_scheduled_tasks() -> int:
    """Tell the next scheduler that its predecessor here is dead, and return how many tasks it will run again.

    The caller knows that no scheduler of this machine is running. Each task gets the interrupted try back,
    and each run the time in which nobody worked on it, which would otherwise count towards its timeout.
    """
    with create_session() as session:
        jobs = session.scalars(
            select(Job).where(
                Job.job_type == "SchedulerJob",
                Job.state == JobState.RUNNING,
                Job.hostname == get_hostname(),
            )
        ).all()
        if not jobs:
            return 0
        stopped = max(job.latest_heartbeat for job in jobs if job.latest_heartbeat)
        for job in jobs:
            job.state = JobState.FAILED
        tasks = session.scalars(
            select(TaskInstance).where(
                TaskInstance.queued_by_job_id.in_([job.id for job in jobs]), TaskInstance.state.in_(AT_WORK)
            )
        ).all()
        for task in tasks:
            task.max_tries += 1
        for run in session.scalars(select(DagRun).where(DagRun.state == DagRunState.RUNNING)):
            if run.triggered_by != DagRunTriggeredByType.TEST and run.start_date:
                run.start_date += utcnow() - max(stopped, run.start_date)
        return len(tasks)


def main() -> None:
    """Set right the named kinds, and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", choices=["local", "scheduled"], nargs="+")
    kinds = parser.parse_args().kinds
    if "local" in kinds:
        for run_id in fail_interrupted_runs():
            print(f"marked as failed: {run_id}, which was interrupted", flush=True)
    if "scheduled" in kinds and (count := release_scheduled_tasks()):
        print(f"{count} tasks that were interrupted will run again", flush=True)


if __name__ == "__main__":
    main()
