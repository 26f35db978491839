"""`confidential-spark housekeeping`: says what it would free, and removes only when asked to."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from confidential_spark.cli.main import main
from confidential_spark.settings import forget_settings

from tests.unit.platforms.docker.test_old_images import Engine, image
from tests.unit.ui.measurements.conftest import IN_USE, announce

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


__all__ = ["announce"]


@pytest.fixture
def left(tmp_path: Path, monkeypatch) -> Iterator[list[Path]]:
    """A draft in the cache and a log, both from 1970, of a deployment in the test's own folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RESULTS_DIR", "CACHE_DIR"):
        monkeypatch.setenv(f"CONFIDENTIAL_SPARK_{name}", str(tmp_path / name))
    forget_settings()
    made = [tmp_path / "CACHE_DIR" / ".building-x", tmp_path / "logs" / "run.log"]
    for path in made:
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x" * 1_000)
        os.utime(path, (0, 0))
    yield made
    forget_settings()


def test_without_being_told_to_nothing_is_removed(left: list[Path], tmp_path: Path, capsys) -> None:
    assert main(["housekeeping", "--paths", "--logs", str(tmp_path / "logs")]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in said[:2]] == [str(path) for path in left]
    assert [line.split()[:4] for line in said[2:5]] == [
        ["results", "0", "bytes", "0"],
        ["cache", "1,000", "bytes", "1"],
        ["logs", "1,000", "bytes", "1"],
    ]
    assert said[5].split()[0] == "images"
    assert said[6:] == ["Would remove (--remove does): 2, 2,000 bytes"]
    assert all(path.exists() for path in left)


def test_it_removes_when_told_to(left: list[Path], tmp_path: Path, capsys) -> None:
    command = ["housekeeping", "--remove", "--logs", str(tmp_path / "logs")]
    assert main(command) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "Removed: 2, 2,000 bytes"
    assert not any(path.exists() for path in left)
    assert main(command) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "Removed: 0, 0 bytes"


@pytest.fixture
def engine(left: list[Path], airflow_database: Path, announce, monkeypatch) -> Engine:
    """An engine with three old images, of which one is published and one cannot be removed."""
    published = "sha256:" + "ab" * 32
    stored = [image("old", 60), image("published", 50, Id=published), image("busy", 45), image("now", 1)]
    engine = Engine(stored)
    announce(replace(IN_USE, reference=published, digest=published))
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    monkeypatch.setattr("confidential_spark.platforms.docker.old_images.connect", lambda *_, **__: engine)
    return engine


def test_old_images_are_named_and_removed_as_by_the_dag(engine: Engine, tmp_path: Path, capsys) -> None:
    command = ["housekeeping", "--paths", "--logs", str(tmp_path / "logs")]
    assert main(command) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in said if line.startswith("images")][:2] == [
        "sha256:old",
        "sha256:busy",
    ]
    assert said[-1] == "Would remove (--remove does): 4, 4,000 bytes"
    assert engine.removed == []
    assert main([*command, "--remove"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "Removed: 3, 3,000 bytes"
    assert engine.removed == ["sha256:old"]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        pytest.param("AIRFLOW_HOME", "absent", id="no-airflow"),
        pytest.param("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "sqlite:///{}/absent.db", id="a-worker"),
    ],
)
def test_no_image_is_called_old_where_nobody_knows_what_is_published(
    engine: Engine, tmp_path: Path, monkeypatch, capsys, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value.format(tmp_path) if "{}" in value else str(tmp_path / value))
    assert main(["housekeeping", "--remove", "--logs", str(tmp_path / "logs")]) == 0
    said = capsys.readouterr()
    assert "images of the Docker engine are not looked at: [published-image-unknown]" in said.err
    assert said.out.splitlines()[-1] == "Removed: 2, 2,000 bytes"
    assert engine.removed == []
    assert not (tmp_path / "absent").exists()
    assert not (tmp_path / "absent.db").exists()


def test_wrong_settings_are_refused(left: list[Path], monkeypatch, capsys) -> None:
    monkeypatch.setenv("CONFIDENTIAL_SPARK_RESULTS_GRACE_HOURS", "never")
    forget_settings()
    assert main(["housekeeping", "--remove"]) == 2
    assert "settings-invalid" in capsys.readouterr().err
    assert all(path.exists() for path in left)
