"""`confidential-spark housekeeping`: says what it would free, and removes only when asked to."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from confidential_spark.cli.main import main
from confidential_spark.settings import forget_settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


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
    assert said[5:] == ["Would remove (--remove does): 2, 2,000 bytes"]
    assert all(path.exists() for path in left)


def test_it_removes_when_told_to(left: list[Path], tmp_path: Path, capsys) -> None:
    command = ["housekeeping", "--remove", "--logs", str(tmp_path / "logs")]
    assert main(command) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "Removed: 2, 2,000 bytes"
    assert not any(path.exists() for path in left)
    assert main(command) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "Removed: 0, 0 bytes"


def test_wrong_settings_are_refused(left: list[Path], monkeypatch, capsys) -> None:
    monkeypatch.setenv("CONFIDENTIAL_SPARK_RESULTS_GRACE_HOURS", "never")
    forget_settings()
    assert main(["housekeeping", "--remove"]) == 2
    assert "settings-invalid" in capsys.readouterr().err
    assert all(path.exists() for path in left)
