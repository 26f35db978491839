"""SQLite beside a scheduler: what reads and then writes is not refused because somebody wrote in between."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

if TYPE_CHECKING:
    from pathlib import Path


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
