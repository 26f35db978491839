"""The tasks of a year's DAG on results of their own, and the command that verifies what they publish."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from confidential_spark.cli.main import main
from confidential_spark.core.platforms import Platform
from confidential_spark.hooks.results.folder_store import FolderStore
from confidential_spark.jobs.rollup.rollup import ROLLUPS
from confidential_spark.pipelines.year_operators import FindMonthsOperator, PublishYearOperator

from tests.support.factories.years import MONTHS, PINNED, YEAR, month_files, write_files

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DAG_ID = ROLLUPS["nytaxi"].dag_id(Platform.LOCAL)


@pytest.fixture
def deployment(tmp_path, deploy) -> Path:
    """A deployment whose policy accepts the tests' enclave; returns its folder."""
    include = tmp_path / "include"
    write_files(
        include,
        {"policies/simulation.yaml": yaml.safe_dump(PINNED).encode(), "jobs/nytaxi.py": b"job file"},
    )
    deploy(include_dir=include, results_dir=tmp_path / "results")
    return tmp_path


@pytest.fixture
def publish(deployment) -> Callable[..., None]:
    """Publishes months: ``publish("2018-05", cap=5)``."""
    store = FolderStore(deployment / "results", "nytaxi_local")
    count = iter(range(1, 100))

    def publish(*months: str, **changed: Any) -> None:
        for month in months:
            staging = store.stage(f"month={month}", f"run.try{next(count)}")
            write_files(staging, month_files(month, **changed))
            store.publish(staging)

    return publish


def execute(operator: type, *, by_hand: bool = False, year: str = YEAR, run: str = "r1", **conf: Any) -> Any:
    """Run one task as its DAG would; returns its value."""
    params = {"year": year if by_hand else None}
    context: Any = {
        "ti": SimpleNamespace(
            dag_id=DAG_ID, task_id="task", run_id=run, try_number=1, xcom_push=lambda key, value: None
        ),
        "dag": SimpleNamespace(params=params),
        "params": params,
        "dag_run": SimpleNamespace(
            conf=conf,
            run_type="manual" if by_hand else "asset_triggered",
            partition_key=None if by_hand else year,
        ),
        "outlet_events": {},
    }
    task = operator(task_id="task", rollup=ROLLUPS["nytaxi"], platform=Platform.LOCAL)
    return task.execute(context)


def verify(deployment: Path, *options: str, folder: Path | None = None) -> int:
    year = folder or deployment / "results" / DAG_ID / "year=2018"
    policy = deployment / "include" / "policies" / "simulation.yaml"
    return main(["year", "verify", str(year), "--policy", str(policy), *options])


def test_eleven_months_end_as_skipped_and_name_the_twelfth(publish) -> None:
    publish(*MONTHS[:4], *MONTHS[5:])
    with pytest.raises(
        AirflowSkipException, match=r"2018 is not complete: 11 of 12 months; missing: 2018-05$"
    ):
        execute(FindMonthsOperator)


def test_who_asks_for_an_incomplete_year_is_told_by_a_failure(publish) -> None:
    publish(*MONTHS[:10])
    with pytest.raises(AirflowFailException, match=r"year-incomplete.*missing: 2018-11, 2018-12"):
        execute(FindMonthsOperator, by_hand=True)


def test_twelve_months_are_published_as_a_year_that_the_command_verifies(publish, deployment, capsys) -> None:
    publish(*MONTHS)
    assert execute(FindMonthsOperator)["months"].keys() == set(MONTHS)
    value = execute(PublishYearOperator)
    assert value["totals"]["trips"] == sum(100 + number for number in range(12))
    assert (value["year"], value["trust"]) == ("2018", "simulated")
    assert len(json.dumps(value)) < 1024
    capsys.readouterr()
    months = str(deployment / "results" / "nytaxi_local")
    program = str(deployment / "include" / "jobs" / "nytaxi.py")
    assert verify(deployment, "--published", months, "--job-file", program) == 0
    said = capsys.readouterr().out
    assert said.count("PASS") == 9  # eight steps, and the months' own in the fourth
    assert said.splitlines()[-1].endswith("trust: SIMULATED – proves nothing about hardware")


def test_a_copy_verifies_without_anything_else(publish, deployment, capsys) -> None:
    publish(*MONTHS)
    execute(PublishYearOperator)
    copy = deployment / "copy"
    assert main(["results", "get", str(deployment / "results" / DAG_ID), "year=2018", str(copy)]) == 0
    capsys.readouterr()
    assert verify(deployment, "--json", folder=copy) == 0
    assert json.loads(capsys.readouterr().out)["outcome"] == "verified"


@pytest.mark.parametrize("name", ["empty", "absent", "file"])
def test_a_folder_without_a_year_is_not_checked(deployment, tmp_path, capsys, name) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    assert verify(deployment, folder=tmp_path / name) == 2
    assert "NOT CHECKED · [file-unreadable]" in capsys.readouterr().err


def test_a_year_of_these_very_months_is_not_made_again_unless_asked_for(publish) -> None:
    publish(*MONTHS)
    execute(PublishYearOperator)
    with pytest.raises(AirflowSkipException, match="the sum of these very months already"):
        execute(FindMonthsOperator)
    assert execute(FindMonthsOperator, by_hand=True)["year"] == YEAR


def test_a_month_published_again_makes_the_year_stale_until_the_next_event(
    publish, deployment, capsys
) -> None:
    publish(*MONTHS)
    execute(PublishYearOperator)
    publish("2018-05", trips=5_000)
    months = str(deployment / "results" / "nytaxi_local")
    capsys.readouterr()
    assert verify(deployment, "--published", months) == 3
    assert "STALE · 2018-05 was replaced by version run.try13" in capsys.readouterr().out
    execute(FindMonthsOperator)
    assert execute(PublishYearOperator, run="r2")["totals"]["trips"] == 1_266 - 104 + 5_000
    assert verify(deployment, "--published", months) == 0


def test_a_statement_that_cannot_be_read_is_made_anew(publish, deployment) -> None:
    publish(*MONTHS)
    execute(PublishYearOperator)
    (deployment / "results" / DAG_ID / "year=2018" / "evidence.json").write_text("{}")
    assert execute(FindMonthsOperator)["year"] == YEAR


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        pytest.param({"cap": 5}, r"year-months-differ.*2018-05", id="another-cap"),
        pytest.param({"synthetic": True}, r"year-months-differ.*synthetic", id="made-up-rows"),
    ],
)
def test_months_that_do_not_add_up_leave_what_was_published(publish, deployment, changed, said) -> None:
    publish(*MONTHS)
    execute(PublishYearOperator)
    before = (deployment / "results" / DAG_ID / "year=2018").resolve()
    publish("2018-05", **changed)
    with pytest.raises(AirflowFailException, match=said):
        execute(PublishYearOperator, run="r2")
    assert (deployment / "results" / DAG_ID / "year=2018").resolve() == before
    assert not list((deployment / "results" / DAG_ID / ".staging").rglob("*"))


def test_a_month_that_was_tampered_with_is_named(publish, deployment) -> None:
    publish(*MONTHS)
    summary = deployment / "results" / "nytaxi_local" / "month=2018-05" / "summary.json"
    summary.write_text(summary.read_text().replace("1", "2", 1))
    with pytest.raises(AirflowFailException, match=r"year-month-refused.*2018-05: step 12"):
        execute(PublishYearOperator)


def test_another_program_than_the_deployments_is_refused(publish, deployment) -> None:
    publish(*MONTHS)
    (deployment / "include" / "jobs" / "nytaxi.py").write_text("# changed since")
    with pytest.raises(AirflowFailException, match=r"2018-01: step 10, job-mismatch"):
        execute(PublishYearOperator)


@pytest.mark.parametrize(
    ("year", "conf", "said"),
    [
        pytest.param("", {}, "year-missing", id="no-year"),
        pytest.param("1999", {}, "year-malformed", id="before-records"),
        pytest.param("../x", {}, "year-malformed", id="path"),
        pytest.param("2018", {"yaer": "2018"}, "param-unknown", id="misspelt-param"),
    ],
)
def test_a_run_without_a_usable_year_is_refused(deployment, year, conf, said) -> None:
    with pytest.raises(AirflowFailException, match=said):
        execute(FindMonthsOperator, year=year, **conf)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        pytest.param(["--published", "x/../"], "results-name", id="no-place-of-months"),
        pytest.param(
            ["--jwks", "absent.json"],
            "file-unreadable] A file cannot be read. · got: absent.json",
            id="no-keys",
        ),
        pytest.param(["--job-file", "absent.py"], "[file-unreadable]", id="no-program"),
        pytest.param(["--at", "yesterday"], "[time-malformed]", id="no-time"),
        pytest.param(["--at", "2018-05-01T00:00:00"], "[time-malformed]", id="time-without-a-zone"),
        pytest.param(["--policy", "absent.yaml"], "[policy-", id="no-policy"),
    ],
)
def test_what_the_reader_gives_wrongly_is_no_verdict(publish, deployment, capsys, options, said) -> None:
    publish(*MONTHS)
    execute(PublishYearOperator)
    assert verify(deployment, *options) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("NOT CHECKED · [")
    assert said in line


def test_a_terminal_of_ascii_gets_the_verdict(publish, deployment) -> None:
    publish(*MONTHS)
    execute(PublishYearOperator)
    policy = deployment / "include" / "policies" / "simulation.yaml"
    year = deployment / "results" / DAG_ID / "year=2018"
    command = [
        sys.executable,
        "-m",
        "confidential_spark",
        "year",
        "verify",
        str(year),
        "--policy",
        str(policy),
    ]
    done = subprocess.run(
        command, capture_output=True, check=False, env={**os.environ, "PYTHONIOENCODING": "ascii"}
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.splitlines()[-1].startswith(b"VERIFIED ? the sum of its twelve months")
