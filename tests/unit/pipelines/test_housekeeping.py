"""The task of housekeeping: its log and its XCom say what it found, and it removes only when told to."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from confidential_spark.pipelines.housekeeping import HousekeepingOperator
from confidential_spark.settings import forget_settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def draft(tmp_path: Path, monkeypatch) -> Iterator[Path]:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AIRFLOW__LOGGING__BASE_LOG_FOLDER", str(tmp_path / "logs"))
    for name in ("RESULTS_DIR", "CACHE_DIR"):
        monkeypatch.setenv(f"CONFIDENTIAL_SPARK_{name}", str(tmp_path / name))
    forget_settings()
    left = [tmp_path / "CACHE_DIR" / ".building-x", tmp_path / "logs" / "attempt=1.log"]
    for path in left:
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x" * 500)
        os.utime(path, (0, 0))
    yield left[0]
    forget_settings()


def execute(*, remove: bool) -> dict[str, Any]:
    ti = SimpleNamespace(task_id="remove_stale")
    context: Any = {"params": {"remove": remove}, "ti": ti}
    return HousekeepingOperator(task_id="remove_stale").execute(context)


def test_it_removes_only_when_told_to(draft: Path) -> None:
    assert execute(remove=False) == {"removed": False, "count": 2, "bytes": 1_000}
    assert draft.exists()
    assert execute(remove=True) == {"removed": True, "count": 2, "bytes": 1_000}
    assert not draft.exists()
    assert execute(remove=True) == {"removed": True, "count": 0, "bytes": 0}
