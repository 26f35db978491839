"""The jobs as the agent runs them: query, Spark in a JVM of its own, finish."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import pytest
from confidential_spark.agent.errors import ExitCode
from confidential_spark.agent.progress import parse_progress
from confidential_spark.enclave.java import find_java, java_candidates, java_version
from confidential_spark.enclave.spark import choose_runtime, host_installation

from tests.jobs.trip_files import MONTH, write_trips
from tests.support.isolation import Sockets, no_network, traced
from tests.support.job_launch import job_launch
from tests.support.places import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

pytestmark = pytest.mark.spark
MONTHLY = ["--month", MONTH]
TABLES = {
    "nytaxi": {"by_hour.parquet", "by_payment_type.parquet", "by_pickup_zone.parquet"},
    "nytaxi_demand": {"by_day.parquet", "by_day_zone.parquet", "by_weekday.parquet", "top_zones.parquet"},
    "sparkpi": set(),
}
TIMEOUT_SECONDS = 300


@dataclass(frozen=True)
class Ended:
    """Three steps that have ended."""

    code: int
    lines: list[str]
    output: Path
    work: Path


@pytest.fixture
def steps(tmp_path):
    """Return a function that runs a job's three steps in a process of their own."""

    def run(
        job: str,
        arguments: Sequence[str],
        input_uri: str = "",
        *,
        java: Path | None = None,
        around: Sequence[str] = (),
        look: Callable[[int], None] | None = None,
    ) -> Ended:
        installation = host_installation(java=find_java([java]) if java else None)
        runtime = choose_runtime(input_bytes=0, cores=2, memory="1g", installation=installation)
        launch = job_launch(runtime, job, arguments, tmp_path / "work")
        (tmp_path / "launch.json").write_text(json.dumps(asdict(launch)))
        command = [*around, sys.executable, "-m", "tests.jobs.three_steps"]
        arguments = [str(tmp_path / "launch.json"), input_uri, str(tmp_path / "output")]
        with subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
            lines = []
            for line in process.stdout:
                lines.append(line.rstrip("\n"))
                if look:
                    look(process.pid)
        return Ended(process.returncode, lines, tmp_path / "output", tmp_path / "work")

    return run


def javas():
    found = {java_version(path): path for path in reversed(java_candidates(os.environ))}
    return [
        pytest.param(path, id=f"java-{version}") for version, path in found.items() if version in (11, 17, 21)
    ]


@pytest.mark.parametrize("java", javas())
def test_the_taxi_job_says_what_it_read_and_writes_its_files(steps, tmp_path, java):
    month = write_trips(tmp_path / "month" / "a.parquet", [{}, {}])
    ended = steps("nytaxi", MONTHLY, month.as_uri(), java=java)
    assert ended.code == 0, ended.lines
    said = [line for line in ended.lines if not parse_progress(line)]
    assert said[0] == "Input DataFrame Count: 2"
    assert said[1] == "Input version: azure-open-datasets"
    assert said[2].startswith("Aggregation duration: ")
    assert len(said) == 3
    assert {path.name for path in ended.output.iterdir()} == {"summary.json"} | TABLES["nytaxi"]


def test_steps_follow_each_other_and_leave_nothing(steps, tmp_path):
    month = write_trips(tmp_path / "month" / "a.parquet", [{}, {}])
    ended = steps("nytaxi", MONTHLY, month.as_uri())
    texts = [record["text"] for line in ended.lines if (record := parse_progress(line))]
    # Between them, Spark counts its tasks once a second.
    assert texts[:2] == ["asking the job for its SQL", "starting Spark"]
    assert texts[-1] == "making the results"
    assert list(ended.work.iterdir()) == []


@pytest.mark.parametrize(
    ("job", "arguments"),
    [
        pytest.param("nytaxi", MONTHLY, id="nytaxi"),
        pytest.param("nytaxi_demand", [*MONTHLY, "--outlier-cap-cents", "100000"], id="nytaxi_demand"),
        pytest.param("sparkpi", ["--partitions", "2"], id="sparkpi"),
    ],
)
def test_a_job_runs_where_not_even_the_loopback_is_up(steps, tmp_path, job, arguments):
    """A PySpark job fails there: its two processes find no address to talk on."""
    month = write_trips(tmp_path / "month" / "a.parquet", [{}, {}])
    sockets = Sockets()
    uri = month.as_uri() if "--month" in arguments else ""
    ended = steps(job, arguments, uri, around=no_network(), look=sockets.look)
    assert ended.code == 0, ended.lines
    assert {path.name for path in ended.output.iterdir()} == {"summary.json"} | TABLES[job]
    assert sockets.seen == set()


def test_no_step_asks_the_kernel_for_a_connection(steps, tmp_path):
    month = write_trips(tmp_path / "month" / "a.parquet", [{}, {}])
    ended = steps("nytaxi", MONTHLY, month.as_uri(), around=traced(tmp_path / "trace"))
    assert ended.code == 0, ended.lines
    calls = (tmp_path / "trace").read_text().splitlines()
    assert [line for line in calls if "AF_INET" in line] == []


@pytest.mark.parametrize(
    ("arguments", "prepare", "exit_code", "code"),
    [
        pytest.param(
            MONTHLY, lambda month: month.mkdir(), ExitCode.INPUT_UNUSABLE, "input-unreadable", id="no-files"
        ),
        pytest.param(
            ["--month", "2018-06"],
            lambda month: write_trips(month / "a.parquet", [{}]),
            ExitCode.INPUT_UNUSABLE,
            "month-without-data",
            id="other-month",
        ),
        pytest.param(
            ["--mont", MONTH],
            lambda month: month.mkdir(),
            ExitCode.BAD_LAUNCH,
            "argument-invalid",
            id="arguments",
        ),
    ],
)
def test_a_refusal_in_any_step_leaves_no_results(steps, tmp_path, arguments, prepare, exit_code, code):
    month = tmp_path / "month"
    prepare(month)
    ended = steps("nytaxi", arguments, month.as_uri())
    assert ended.code == exit_code
    assert any(line.startswith(f"[{code}]") for line in ended.lines)
    assert not ended.output.exists()
    assert list(ended.work.iterdir()) == []
