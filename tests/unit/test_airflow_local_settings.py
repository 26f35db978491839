"""SQLite beside a scheduler: what reads and then writes is not refused because somebody wrote in between."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import Session

from scripts.local_airflow import environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path}/airflow.db"
    with create_engine(url).begin() as connection:
        connection.execute(text("PRAGMA journal_mode=WAL"))
        connection.execute(text("CREATE TABLE runs (id INTEGER)"))
    return url


def insert(url: str) -> None:
    with create_engine(url, connect_args={"timeout": 60}).begin() as connection:
        connection.execute(text("INSERT INTO runs VALUES (2)"))


def test_airflow_loads_it(airflow_database) -> None:
    import airflow_local_settings
    from airflow import settings
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    assert event.contains(Engine, "savepoint", airflow_local_settings.lock_before_reading)
    assert event.contains(Engine, "do_connect", airflow_local_settings.wait_for_other_writers)
    assert event.contains(Session, "before_commit", airflow_local_settings.keep_event_loop_free)
    assert not hasattr(settings, "lock_before_reading")


def test_a_savepoint_that_reads_may_write_although_another_process_wants_to(airflow_database, url) -> None:
    other = threading.Thread(target=insert, args=(url,))
    with Session(create_engine(url)) as session:
        with session.begin_nested():
            session.execute(text("SELECT * FROM runs")).all()
            other.start()
            other.join(0.5)
            session.execute(text("INSERT INTO runs VALUES (1)"))
        session.commit()
    other.join(60)
    with create_engine(url).connect() as connection:
        assert connection.execute(text("SELECT id FROM runs ORDER BY id")).all() == [(1,), (2,)]


def busy_timeout_ms(url: str, **options: Any) -> int:
    with create_engine(url, **options).connect() as connection:
        return int(connection.execute(text("PRAGMA busy_timeout")).scalar_one())


async def busy_timeout_of_async_ms(url: str) -> int:
    engine = create_async_engine(url.replace("sqlite:", "sqlite+aiosqlite:"))
    async with engine.connect() as connection:
        found = (await connection.execute(text("PRAGMA busy_timeout"))).scalar_one()
    await engine.dispose()
    return int(found)


def test_writers_wait_for_each_other_longer_than_a_burst_takes(airflow_database, url) -> None:
    from airflow import settings
    from airflow_local_settings import WAIT_SECONDS

    with settings.engine.connect() as connection:
        assert connection.execute(text("PRAGMA busy_timeout")).scalar_one() == WAIT_SECONDS * 1000
    assert asyncio.run(busy_timeout_of_async_ms(url)) == WAIT_SECONDS * 1000
    assert busy_timeout_ms(url, connect_args={"timeout": 7}) == 7000
    # A client that gave up first would send again what is carried out.
    assert float(environment(Path("/"))["AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT"]) > WAIT_SECONDS


@pytest.fixture
def audit_log(airflow_database) -> Iterator[Callable[[], int]]:
    """Count the entries that this test wrote, after those that wait to be written."""
    from airflow import settings
    from airflow_local_settings import audit_log_writer

    def count() -> int:
        audit_log_writer().submit(lambda: None).result(60)
        with settings.engine.connect() as connection:
            found = connection.execute(text("SELECT count(*) FROM log WHERE event = 'test'"))
            return int(found.scalar_one())

    yield count
    with settings.engine.begin() as connection:
        connection.execute(text("DELETE FROM log WHERE event = 'test'"))


async def log_action() -> None:
    """As Airflow's API server does before each action."""
    from airflow import settings
    from airflow.models.log import Log

    with settings.NonScopedSession() as session:
        session.add(Log(event="test"))
        session.commit()


@pytest.mark.timeout(50)
def test_an_event_loop_does_not_wait_for_a_writer_that_needs_it(audit_log) -> None:
    from airflow import settings

    async def serve() -> None:
        # Another request has written, and commits when the event loop lets it.
        with settings.engine.begin() as other:
            other.execute(text("UPDATE log SET event = event"))
            await log_action()

    asyncio.run(serve())
    assert audit_log() == 1


def test_whatever_else_is_committed_in_an_event_loop_is_written_by_it(audit_log) -> None:
    from airflow import settings
    from airflow.models.variable import Variable

    async def serve() -> None:
        with settings.NonScopedSession() as session:
            session.add(Variable(key="written-by-the-loop", val="1"))
            session.commit()
            assert session.query(Variable).filter_by(key="written-by-the-loop").delete() == 1
            session.commit()

    asyncio.run(serve())
    assert audit_log() == 0


def test_an_entry_that_cannot_be_written_is_named(url, caplog) -> None:
    from airflow.models.log import Log
    from airflow_local_settings import write_entry

    write_entry(create_engine(url), Log(event="test"))
    assert "An entry of the audit log was not written" in caplog.text
    assert "no such table: log" in caplog.text


@pytest.fixture
def running(airflow_database) -> Iterator[set[str]]:
    """The ids of three runs of one DAG, each with a scheduled task."""
    from airflow.models.dag import DagModel
    from airflow.models.dagbundle import DagBundleModel
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.sdk.timezone import datetime
    from airflow.utils.session import create_session
    from airflow.utils.types import DagRunTriggeredByType
    from sqlalchemy import delete, insert

    triggers = DagRunTriggeredByType
    kinds = {"clicked": (triggers.UI, 0), "make-run": (triggers.TEST, 0), "cleared": (triggers.TEST, 1)}
    with create_session() as session:
        session.merge(DagBundleModel(name="tests"))
        session.flush()
        session.merge(DagModel(dag_id="three_runs", bundle_name="tests", is_paused=False, is_stale=False))
        session.flush()
        at = {"run_type": "manual", "state": "running", "run_after": datetime(2018, 6, 1)}
        for kind, (triggered_by, cleared) in kinds.items():
            run = DagRun(dag_id="three_runs", run_id=kind, triggered_by=triggered_by, **at)
            run.clear_number = cleared
            session.add(run)
            session.flush()
            task = {
                "task_id": "work",
                "dag_id": "three_runs",
                "run_id": kind,
                "map_index": -1,
                "pool": "default_pool",
            }
            session.execute(insert(TaskInstance).values(state="scheduled", **task))
    yield set(kinds)
    with create_session() as session:
        for model in (TaskInstance, DagRun, DagModel):
            session.execute(delete(model).where(model.dag_id == "three_runs"))


def runs_of_a_scheduler() -> tuple[set[str], set[str]]:
    """The running runs that a scheduler finds, and the runs of the tasks that it finds."""
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        runs = {run.run_id for run in DagRun.get_running_dag_runs_to_examine(session=session)}
        # As `SchedulerJobRunner` finds what it sends to workers.
        tasks = select(TaskInstance).join(TaskInstance.dag_run).where(TaskInstance.state == "scheduled")
        return runs, {task.run_id for task in session.scalars(tasks)}


def test_a_scheduler_leaves_runs_without_a_scheduler_alone(running) -> None:
    from airflow_local_settings import hide_runs_without_a_scheduler
    from sqlalchemy import event

    for found in runs_of_a_scheduler():
        assert found >= running
    event.listen(Session, "do_orm_execute", hide_runs_without_a_scheduler)
    try:
        for found in runs_of_a_scheduler():
            assert found & running == {"clicked", "cleared"}
    finally:
        event.remove(Session, "do_orm_execute", hide_runs_without_a_scheduler)


@pytest.mark.parametrize(("part", "hides"), [("scheduler", True), ("api-server", False), ("dags", False)])
def test_only_schedulers_do_not_see_them(part, hides) -> None:
    program = (
        "import airflow_local_settings as own; from sqlalchemy import event; "
        "from sqlalchemy.orm import Session; "
        "print(event.contains(Session, 'do_orm_execute', own.hide_runs_without_a_scheduler))"
    )
    command = [sys.executable, "-c", program, part]
    said = subprocess.run(command, capture_output=True, text=True, check=True, env={"PYTHONPATH": "plugins"})
    assert said.stdout.strip() == str(hides)
