"""The program behind `make run`: its refusals, its lock, what it shows."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from confidential_spark.core.errors import ConfidentialSparkError
from confidential_spark.core.months import Month
from confidential_spark.hooks.result_store import ResultStore
from confidential_spark.operators.enclave_run import attempt_prefix
from confidential_spark.settings import get_settings

from scripts import run_month

MONTH = Month(2018, 5)
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


def test_a_second_run_is_refused_by_name(tmp_path) -> None:
    with (
        run_month.only_one_run(MONTH, tmp_path),
        pytest.raises(ConfidentialSparkError, match=r"run-in-progress.*process \d+ since"),
        run_month.only_one_run(MONTH, tmp_path),
    ):
        pass
    with run_month.only_one_run(MONTH, tmp_path):
        pass


def stage(store: ResultStore, at: datetime) -> Path:
    return store.stage(f"month={MONTH}", f"{attempt_prefix(run_month.manual_run_id(at))}.try1-00")


@pytest.fixture
def store(tmp_path, monkeypatch) -> ResultStore:
    monkeypatch.setenv("CONFIDENTIAL_SPARK_RESULTS_DIR", str(tmp_path / "results"))
    get_settings.cache_clear()
    yield ResultStore(tmp_path / "results", run_month.DAG_ID)
    get_settings.cache_clear()


def test_removes_its_own_staging_and_no_other(store, tmp_path) -> None:
    other = store.stage(f"month={MONTH}", "scheduled__2018-06-01.try1-00")
    with run_month.only_one_run(MONTH, tmp_path) as at:
        staging = stage(store, at)
    assert not staging.exists()
    assert other.exists()


def test_removes_the_staging_of_a_run_that_was_killed_with_its_program(store, tmp_path) -> None:
    at = datetime(2026, 11, 23, 10, tzinfo=UTC)
    (tmp_path / "run.lock").write_text(json.dumps({"process": 1, "at": at.isoformat(), "month": str(MONTH)}))
    staging = stage(store, at)
    with run_month.only_one_run(Month(2019, 1), tmp_path):
        assert not staging.exists()


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
    assert re.search(message, done.stderr), done.stderr


def test_a_folder_becomes_a_file_uri(tmp_path: Path) -> None:
    folder = tmp_path / "with space"
    folder.mkdir()
    conf = run_month.run_conf(Month(2018, 5), str(folder))
    assert conf == {"month": "2018-05", "input": folder.as_uri()}
