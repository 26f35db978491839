"""The program behind `make run`: its refusals, its lock, what it shows."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from confidential_spark.core.errors import ConfidentialSparkError, ConfigurationError
from confidential_spark.core.months import Month
from confidential_spark.core.platforms import Platform
from confidential_spark.hooks.result_store import ResultStore
from confidential_spark.jobs import JOBS
from confidential_spark.jobs.input.manifest import read_manifest
from confidential_spark.jobs.nytaxi.trip_schema import TRIPS
from confidential_spark.operators.attempt import attempt_prefix
from confidential_spark.pipelines.params import INPUT_PATTERN
from confidential_spark.settings import get_settings
from confidential_spark.simulation.trips.month import write_month

from scripts import run_month

MONTH = Month(2018, 5)
ROOT = Path(__file__).resolve().parents[3]


def local_run(home: Path, month: Month = MONTH) -> run_month.LocalRun:
    return run_month.LocalRun(JOBS["nytaxi"], Platform.LOCAL, month, home)


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
    failure = run_month.show([line + "\n"], kept.append)
    assert failure == (shown if shown and shown.startswith("✘") else None)
    printed = capsys.readouterr().out
    assert kept == [line + "\n"]
    assert printed.endswith(f"{shown}\n") if shown else printed == ""


def test_a_second_run_is_refused_by_name(tmp_path) -> None:
    with (
        run_month.only_one_run(local_run(tmp_path)),
        pytest.raises(ConfidentialSparkError, match=r"run-in-progress.*process \d+ since"),
        run_month.only_one_run(local_run(tmp_path)),
    ):
        pass
    with run_month.only_one_run(local_run(tmp_path)):
        pass


def stage(store: ResultStore, at: datetime) -> Path:
    return store.stage(f"month={MONTH}", f"{attempt_prefix(run_month.manual_run_id(at))}.try1-00")


@pytest.fixture
def store(tmp_path, monkeypatch) -> ResultStore:
    monkeypatch.setenv("CONFIDENTIAL_SPARK_RESULTS_DIR", str(tmp_path / "results"))
    get_settings.cache_clear()
    yield ResultStore(tmp_path / "results", "nytaxi_local")
    get_settings.cache_clear()


def test_removes_its_own_staging_and_no_other(store, tmp_path) -> None:
    other = store.stage(f"month={MONTH}", "scheduled__2018-06-01.try1-00")
    with run_month.only_one_run(local_run(tmp_path)) as at:
        staging = stage(store, at)
    assert not staging.exists()
    assert other.exists()


def test_removes_the_staging_of_a_run_that_was_killed_with_its_program(store, tmp_path) -> None:
    at = datetime(2026, 11, 23, 10, tzinfo=UTC)
    record = {"process": 1, "at": at.isoformat(), "dag": "nytaxi_local", "month": str(MONTH)}
    (tmp_path / "run.lock").write_text(json.dumps(record))
    staging = stage(store, at)
    with run_month.only_one_run(local_run(tmp_path, Month(2019, 1))):
        assert not staging.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["--month", "2018-13"], "month-malformed", id="month-13"),
        pytest.param(["--month", "2018-05\n"], "month-malformed", id="newline"),
        pytest.param(["--month", ""], "month-malformed.*got: nothing.*YYYY-MM", id="no-month"),
        pytest.param(["--month", "2999-01"], "month-malformed|month-not-over", id="future"),
        pytest.param(["--month", "2098-01"], "month-not-over", id="not-over"),
        pytest.param(["--input", "/no/such/folder"], "input-missing", id="missing-folder"),
        pytest.param(["--rows", "5"], "rows-out-of-range", id="rows"),
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


@pytest.mark.parametrize("rows", ["", "abc", "0", "999", "-1000", "1e5", "20000001", "9" * 99])
def test_refuses_a_size_that_the_setting_would_refuse(rows: str) -> None:
    with pytest.raises(ConfigurationError, match=r"rows-out-of-range.*whole number from 1000 to 20000000"):
        run_month.synthetic_rows(rows)


@pytest.mark.parametrize("rows", [1_000, 20_000_000])
def test_takes_the_sizes_at_the_bounds(rows: int) -> None:
    assert run_month.synthetic_rows(str(rows)) == rows


@pytest.mark.parametrize(
    ("location", "message"),
    [
        pytest.param("file:///no/such folder", "input-missing.*/no/such folder", id="missing-uri"),
        pytest.param("{root}", "month-without-data.*2018-05", id="folder-without-the-month"),
        pytest.param("s3://bucket/yellow", r"input-scheme.*s3://.*expected: file://", id="s3"),
        pytest.param("wasbs://c@account/yellow", "input-scheme.*not read yet", id="wasbs"),
        pytest.param("file://host/yellow", "input-uri.*expected: file:///absolute/path", id="other-host"),
        pytest.param("/data/{{day}}", "input-template.*expected: .year.", id="placeholder"),
        pytest.param("/data/puYear=2018/puMonth=6", "input-month-mismatch", id="other-month"),
    ],
)
def test_refuses_a_location_without_the_month(tmp_path: Path, location: str, message: str) -> None:
    with pytest.raises(ConfidentialSparkError, match=message):
        run_month.run_conf(MONTH, location.format(root=tmp_path))


@pytest.mark.parametrize(
    ("given", "uri"),
    [
        pytest.param("{root}/with space", "{encoded}/with%20space", id="path"),
        pytest.param("file://{root}/with space", "{encoded}/with%20space", id="uri-with-a-space"),
        pytest.param("file:{root}/with%20space", "{encoded}/with%20space", id="hadoop-form-encoded"),
        pytest.param(
            "{root}/with space/puYear={{year}}/puMonth={{month}}",
            "{encoded}/with%20space/puYear={{year}}/puMonth={{month}}",
            id="template",
        ),
        pytest.param(
            "{root}/x/../with space/puYear=2018/puMonth=5",
            "{encoded}/with%20space/puYear=2018/puMonth=5",
            id="month",
        ),
    ],
)
def test_a_location_becomes_the_uri_of_the_trigger_form(tmp_path: Path, given: str, uri: str) -> None:
    write_month(MONTH, 1_000, tmp_path / "with space")
    conf = run_month.run_conf(MONTH, given.format(root=tmp_path))
    assert conf == {"month": "2018-05", "input": uri.format(encoded=tmp_path.as_uri())}
    assert re.fullmatch(INPUT_PATTERN, conf["input"])
    assert read_manifest(conf["input"], MONTH, TRIPS).rows == 1_000


def test_a_failed_run_ends_with_its_last_failure_and_its_runbook(tmp_path: Path) -> None:
    story = "t [error    ] ✘ spark.resolve_input: [input-schema] bad · got: x  [airflow.task]"
    afterwards = "t [info     ] ✔ validation.clean_staging: removed  [airflow.task]"
    interpreter = tmp_path / "python"
    interpreter.write_text(
        f"#!{sys.executable}\nprint({story!r})\nprint({afterwards!r})\nraise SystemExit(3)\n"
    )
    interpreter.chmod(0o755)
    # In a process of its own: at its end, run_dag ends every descendant.
    program = f"""
import sys
from datetime import UTC, datetime
from pathlib import Path
from confidential_spark.core.months import Month
from confidential_spark.core.platforms import Platform
from confidential_spark.jobs import JOBS
from scripts import run_month
sys.executable = {str(interpreter)!r}
run = run_month.LocalRun(JOBS['nytaxi'], Platform.LOCAL, Month(2018, 5), Path({str(tmp_path)!r}))
raise SystemExit(run_month.run_dag(run, datetime.now(UTC), {{}}, 1000))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    failure, runbook, log = done.stderr.strip().splitlines()
    assert done.returncode == 1
    assert failure == "✘ spark.resolve_input: [input-schema] bad · got: x"
    assert (ROOT / runbook.removeprefix("What to do: ")).is_file()
    assert Path(log.removeprefix("The whole log: ")).read_text().splitlines() == [story, afterwards]


def test_a_run_that_ends_before_its_first_task_points_to_the_log() -> None:
    assert "the log's last lines do" in run_month.failure_notice(None)
