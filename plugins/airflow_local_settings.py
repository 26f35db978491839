"""Loaded by Airflow at its start: lets SQLite, the database of `make ui`, serve several writers.

A savepoint on SQLite begins a transaction that reads first. When another process writes before it does, its
own write is refused at once, however long it would have waited: `airflow backfill create` beside a busy
scheduler then ends with "database is locked" and leaves a back-fill without runs. Other databases are not
touched. Source: https://www.sqlite.org/rescode.html#busy_snapshot

A burst of triggers beside tasks that start also takes longer than the five seconds that Python lets SQLite
wait for its write lock: the API then answers 500, "Database error", and a task does not start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import event
from sqlalchemy.engine import Engine

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Dialect

WAIT_SECONDS = 60.0

# Airflow copies everything named here into its own settings.
__all__: list[str] = []


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
