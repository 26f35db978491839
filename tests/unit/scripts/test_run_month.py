"""The program behind `make run`: its refusals, its lock, what it shows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from confidential_spark.core.errors import ConfidentialSparkError
from confidential_spark.core.months import Month
from scripts import run_month

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        pytest.param(
            "2026-11-23T05:05:53.7Z [info     ] ✔ publish: done     [airflow.task.operators.x] loc=a.py:5",
            "✔ publish: done",
            id="outcome",
        ),
        pytest.param(
            "2026-11-23T05:05:53.7Z [error    ] ✘ verify: [code] bad · got: [1]  [airflow.task] loc=a.py:5",
            "✘ verify: [code] bad · got: [1]",
            id="failure-with-brackets",
        ),
        pytest.param(
            "2026-11-23T05:05:53.7Z [info     ] 26/11/23 WARN Utils: ✔ no [spark]", None, id="detail"
        ),
    ],
)
def test_shows_the_story_and_nothing_else(capsys, line: str, shown: str | None) -> None:
    kept: list[str] = []
    run_month.show([line + "\n"], kept.append)
    printed = capsys.readouterr().out
    assert kept == [line + "\n"]
    assert printed.endswith(f"{shown}\n") if shown else printed == ""


def test_a_second_run_is_refused_by_name(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(run_month, "VAR", tmp_path)
    with (
        run_month.only_one_run(),
        pytest.raises(ConfidentialSparkError, match="run-in-progress.*process \\d+ since"),
        run_month.only_one_run(),
    ):
        pass
    with run_month.only_one_run():
        pass


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["--month", "2018-13"], "month-malformed", id="month-13"),
        pytest.param(["--month", "2018-05\n"], "month-malformed", id="newline"),
        pytest.param(["--month", "2999-01"], "month-malformed|month-not-over", id="future"),
        pytest.param(["--month", "2098-01"], "month-not-over", id="not-over"),
        pytest.param(["--input", "/no/such/folder"], "input-missing", id="missing-folder"),
    ],
)
def test_refuses_bad_arguments_before_starting_anything(arguments: list[str], message: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "scripts.run_month", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    import re

    assert re.search(message, done.stderr), done.stderr


def test_a_folder_becomes_a_file_uri(tmp_path: Path) -> None:
    folder = tmp_path / "with space"
    folder.mkdir()
    conf = run_month.run_conf(Month(2018, 5), str(folder))
    assert conf == {"month": "2018-05", "input": folder.as_uri()}
