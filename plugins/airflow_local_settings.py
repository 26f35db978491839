"""Loaded by Airflow at its start: lets SQLite, the database of `make ui`, serve several writers.

A savepoint on SQLite begins a transaction that reads first. When another process writes before it does, its
own write is refused at once, however long it would have waited: `airflow backfill create` beside a busy
scheduler then ends with "database is locked" and leaves a back-fill without runs. Other databases are not
touched. Source: https://www.sqlite.org/rescode.html#busy_snapshot

The API server writes its audit log in its event loop. There it waits for the write lock of another request,
which needs the event loop to commit: neither goes on until SQLite gives up, and a burst of triggers is
answered with 500, "Database error". Source: `airflow/api_fastapi/logging/decorators.py` of Airflow 3.3.

A scheduler takes the tasks of every running run, also of one that `dag.test()` runs in another process
(`make run` beside `make ui`): with other settings than that process has, or twice. It does not see such runs.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.orm import ORMExecuteState, Session, with_loader_criteria

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Dialect

WAIT_SECONDS = 60.0
AUDIT_LOG = "log"

# Airflow copies everything named here into its own settings.
__all__: list[str] = []

logger = logging.getLogger(__name__)


@event.listens_for(Engine, "do_connect")
def wait_for_other_writers(
    dialect: Dialect, record: object, arguments: list[Any], options: dict[str, Any]
) -> None:
    """Wait for the write lock for a minute, unless `sql_alchemy_connect_args` says how long."""
    if dialect.name == "sqlite":
        options.setdefault("timeout", WAIT_SECONDS)


@event.listens_for(Engine, "savepoint")
def lock_before_reading(connection: Connection, name: str | None) -> None:
    """Take SQLite's write lock before a savepoint's first read, waiting for it as for any other."""
    if connection.dialect.driver == "pysqlite":
        driver = connection.connection.driver_connection
        if driver is not None and not driver.in_transaction:
            driver.execute("BEGIN IMMEDIATE")


@event.listens_for(Session, "before_commit")
def keep_event_loop_free(session: Session) -> None:
    """Let another thread write audit log entries that are committed in an event loop."""
    if not session.new or not in_event_loop() or session.get_bind().dialect.driver != "pysqlite":
        return
    for entry in [each for each in session.new if getattr(each, "__tablename__", None) == AUDIT_LOG]:
        session.expunge(entry)
        audit_log_writer().submit(write_entry, session.get_bind(), entry)


def hide_runs_without_a_scheduler(state: ORMExecuteState) -> None:
    """Leave out the runs of `dag.test()`, and the tasks of a query that joins their runs."""
    own_select = state.is_select and not state.is_column_load and not state.is_relationship_load
    if own_select and state.session.get_bind().dialect.name == "sqlite":
        state.statement = state.statement.options(scheduled_runs_only())


@cache
def scheduled_runs_only() -> Any:
    """Return the condition; Airflow's models cannot be imported while it loads this module."""
    from airflow.models.dagrun import DagRun
    from airflow.utils.types import DagRunTriggeredByType

    scheduled = DagRun.triggered_by.is_distinct_from(DagRunTriggeredByType.TEST)
    # Whoever clears such a run's tasks in the UI asks the scheduler to run them.
    cleared = DagRun.clear_number > 0
    return with_loader_criteria(DagRun, scheduled | cleared, propagate_to_loaders=False)


# `airflow scheduler`; pages and `dag.test()` itself see every run.
if sys.argv[1:2] == ["scheduler"]:
    event.listen(Session, "do_orm_execute", hide_runs_without_a_scheduler)


def in_event_loop() -> bool:
    """Return whether this thread runs an event loop, which must not wait for others."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


@cache
def audit_log_writer() -> ThreadPoolExecutor:
    """Return the one thread that writes entries; it has written all of them before the process ends."""
    return ThreadPoolExecutor(1, thread_name_prefix="audit-log")


def write_entry(engine: Engine | Connection, entry: object) -> None:
    """Write an entry, waiting for other writers."""
    try:
        with Session(engine) as session:
            session.add(entry)
            session.commit()
    except Exception:
        # Nobody waits for the result; a lost entry must at least be in the server's log.
        logger.exception("An entry of the audit log was not written")
