"""The program behind `make run`: its refusals, its lock, what it shows."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from confidential_spark.core.errors import ConfidentialSparkError, ResultError
from confidential_spark.core.months import Month
from confidential_spark.core.platforms import Platform
from confidential_spark.hooks.results.folder_store import FolderStore
from confidential_spark.jobs import JOBS
from confidential_spark.operators.attempt import attempt_prefix
from confidential_spark.settings import forget_settings

from scripts import run_month
from tests.support.places import ROOT

MONTH = Month(2018, 5)
AT = datetime(2026, 11, 23, 12, tzinfo=UTC)


def local_run(home: Path) -> run_month.LocalRun:
    return run_month.LocalRun(JOBS["nytaxi"], Platform.LOCAL, MONTH, home, AT)


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
        run_month.only_one_run(tmp_path),
        pytest.raises(ConfidentialSparkError, match=r"run-in-progress.*process \d+ since \d"),
        run_month.only_one_run(tmp_path),
    ):
        pass
    with run_month.only_one_run(tmp_path):
        pass


def stage(store: FolderStore, at: datetime) -> Path:
    return store.stage(f"month={MONTH}", f"{attempt_prefix(run_month.manual_run_id(at))}.try1-00")


@pytest.fixture
def store(tmp_path, monkeypatch) -> FolderStore:
    monkeypatch.setenv("CONFIDENTIAL_SPARK_RESULTS_DIR", str(tmp_path / "results"))
    forget_settings()
    yield FolderStore(tmp_path / "results", "nytaxi_local")
    forget_settings()


def test_removes_its_own_staging_and_no_other(store, tmp_path) -> None:
    other = store.stage(f"month={MONTH}", "scheduled__2018-06-01.try1-00")
    with run_month.only_one_run(tmp_path) as lock, run_month.staging(lock, local_run(tmp_path)):
        staging = stage(store, AT)
    assert not staging.exists()
    assert other.exists()


def test_staging_that_cannot_be_removed_does_not_hide_why_the_run_failed(
    store, tmp_path, monkeypatch
) -> None:
    def refuse(store: FolderStore, key: str, run: str) -> None:
        raise ResultError("read-only", code="results-unwritable")

    with run_month.only_one_run(tmp_path) as lock:
        monkeypatch.setattr(FolderStore, "discard_run", refuse)
        with pytest.raises(OSError, match="the cause"), run_month.staging(lock, local_run(tmp_path)):
            raise OSError("the cause")


def test_removes_the_staging_of_a_run_that_was_killed_with_its_program(store, tmp_path) -> None:
    at = datetime(2026, 11, 23, 10, tzinfo=UTC)
    record = {"process": 1, "at": at.isoformat(), "dag": "nytaxi_local", "key": f"month={MONTH}"}
    (tmp_path / "run.lock").write_text(json.dumps(record))
    staging = stage(store, at)
    with run_month.only_one_run(tmp_path):
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
        pytest.param(
            ["--platform", "aks2"],
            "choice-unknown.*got: aks2 · expected: local, dcsv3, aks · do: correct PLATFORM=…",
            id="platform",
        ),
        pytest.param(
            ["--job", "nytax"], "choice-unknown.*got: nytax · expected: nytaxi.*do: correct JOB=…", id="job"
        ),
        pytest.param(
            ["--job", "sparkpi", "--input", "/data"], "input-unused.*INPUT=…", id="input-of-sparkpi"
        ),
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


STORY = {
    "cause": "t [error    ] ✘ spark.resolve_input: [input-schema] bad · got: x  [airflow.task]",
    "cleaned": "t [info     ] ✔ validation.clean_staging: removed  [airflow.task]",
    "not-cleaned": "t [error    ] ✘ validation.clean_staging: [disk] read-only  [airflow.task]",
    "away": "t [error    ] ✘ attestation.attest_platform: [away] once  [airflow.task]",
    "attested": "t [info     ] ✔ attestation.attest_platform: attested  [airflow.task]",
    "again": "t [error    ] ✘ spark.resolve_input: [input-schema] again  [airflow.task]",
}


@pytest.mark.parametrize(
    ("story", "cause"),
    [
        pytest.param(["cause", "cleaned"], "cause", id="clean-up-succeeds"),
        pytest.param(["cause", "not-cleaned"], "cause", id="clean-up-fails-as-well"),
        pytest.param(["not-cleaned"], "not-cleaned", id="only-the-clean-up-fails"),
        pytest.param(["away", "attested", "cause", "cleaned"], "cause", id="earlier-task-succeeded-at-last"),
        pytest.param(["cause", "again", "not-cleaned"], "again", id="last-of-several-tries"),
        pytest.param(["away", "attested", "cleaned"], None, id="nothing-failed"),
    ],
)
def test_the_cause_is_what_failed_first_for_good(story: list[str], cause: str | None) -> None:
    found = run_month.show([STORY[name] for name in story], lambda line: None)
    assert found == (cause and STORY[cause].partition("] ")[2].partition("  [airflow")[0])


def test_a_failed_run_ends_with_its_cause_and_its_runbook(tmp_path: Path) -> None:
    story, afterwards = STORY["cause"], STORY["not-cleaned"]
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
home = Path({str(tmp_path)!r})
run = run_month.LocalRun(JOBS['nytaxi'], Platform.LOCAL, Month(2018, 5), home, datetime.now(UTC))
raise SystemExit(run_month.run_dag(run, {{}}))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    failure, got, runbook, log = done.stderr.strip().splitlines()
    assert done.returncode == 1
    assert (failure, got.split()) == ("✘ spark.resolve_input: [input-schema] bad", ["got:", "x"])
    assert (ROOT / runbook.removeprefix("What to do: ").partition("#")[0]).is_file()
    assert Path(log.removeprefix("The whole log: ")).read_text().splitlines() == [story, afterwards]


def test_a_run_that_ends_before_its_first_task_points_to_the_log() -> None:
    assert "the log's last lines do" in run_month.failure_notice(None)
