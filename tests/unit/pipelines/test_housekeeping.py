"""The task of housekeeping: its log and its XCom say what it found, and it removes only when told to."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from confidential_spark.operators.image import IMAGE_ASSETS
from confidential_spark.pipelines.housekeeping import HousekeepingOperator
from confidential_spark.settings import forget_settings

from tests.unit.platforms.docker.test_old_images import Engine, image

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


PUBLISHED = "sha256:published"


def events(reference: str) -> dict[Any, list[Any]]:
    """Return the events of the images' assets: one of the simulated image, none of the other."""
    hardware, simulated = IMAGE_ASSETS.values()
    return {hardware: [], simulated: [SimpleNamespace(extra={"reference": reference, "digest": reference})]}


def execute(*, remove: bool) -> dict[str, Any]:
    ti = SimpleNamespace(dag_id="housekeeping", task_id="remove_stale")
    context: Any = {"params": {"remove": remove}, "ti": ti, "inlet_events": events(PUBLISHED)}
    return HousekeepingOperator(task_id="remove_stale").execute(context)


def test_it_removes_only_when_told_to(draft: Path) -> None:
    assert execute(remove=False) == {"removed": False, "count": 2, "bytes": 1_000}
    assert draft.exists()
    assert execute(remove=True) == {"removed": True, "count": 2, "bytes": 1_000}
    assert not draft.exists()
    assert execute(remove=True) == {"removed": True, "count": 0, "bytes": 0}


@pytest.fixture
def engine(draft: Path, monkeypatch) -> Engine:
    """The deployment's engine, with three images that are old: one of them is published."""
    stored = [image("old", 60), image("published", 50), image("busy", 45), image("now", 1)]
    engine = Engine(stored)
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    monkeypatch.setattr("confidential_spark.platforms.docker.old_images.connect", lambda *_, **__: engine)
    return engine


def test_images_are_counted_and_removed_only_when_told_to(engine: Engine) -> None:
    assert execute(remove=False) == {"removed": False, "count": 4, "bytes": 3_000}
    assert engine.removed == []
    assert execute(remove=True) == {"removed": True, "count": 3, "bytes": 2_000}
    assert engine.removed == ["sha256:old"]


def test_an_engine_that_does_not_answer_keeps_nothing_else_from_going(
    draft: Path, monkeypatch, capsys
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    assert execute(remove=True) == {"removed": True, "count": 2, "bytes": 1_000}
    assert "images of the Docker engine are not looked at: [docker-unreachable]" in capsys.readouterr().out
