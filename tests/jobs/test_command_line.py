"""The jobs as the agent starts them: SparkSubmit in a fresh JVM."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime

import pytest
from confidential_spark.agent.errors import AgentError, ExitCode
from confidential_spark.agent.job.spark import SparkCommand, run_spark
from confidential_spark.agent.progress import parse_progress
from confidential_spark.enclave.java import find_java, java_candidates, java_version
from confidential_spark.enclave.spark import choose_runtime, host_installation

from tests.jobs.trip_files import MONTH, write_trips
from tests.support.places import ROOT

JOBS = ROOT / "include" / "jobs"


@pytest.fixture
def submit(tmp_path):
    """Run a job through the agent's own code; return its output folder and its lines."""

    def submit(job, *arguments, java=None):
        runtime = choose_runtime(
            input_bytes=0, cores=2, memory="1g", installation=host_installation(java=java)
        )
        output = tmp_path / "output"
        output.mkdir()
        command = SparkCommand(
            java=str(runtime.java),
            spark_home=str(runtime.spark_home),
            python=str(runtime.python),
            jvm_options=runtime.jvm_options,
            spark_conf=runtime.spark_conf,
            program=[str(JOBS / job), *arguments, "--output", str(output)],
            work_dir=tmp_path / "work",
        )
        lines = []
        try:
            run_spark(command, lines.append, in_occlum=False)
        except AgentError as error:
            return error, lines
        return output, lines

    return submit


def javas():
    found = {java_version(path): path for path in reversed(java_candidates(os.environ))}
    return [
        pytest.param(path, id=f"java-{version}") for version, path in found.items() if version in (11, 17, 21)
    ]


@pytest.mark.spark
@pytest.mark.parametrize("java", javas())
def test_taxi_job_prints_the_two_figures_and_writes_its_files(submit, tmp_path, java):
    month = write_trips(tmp_path / "month" / "a.parquet", [{}, {}])
    output, lines = submit("nytaxi.py", "--month", MONTH, "--input", month.as_uri(), java=find_java([java]))
    assert "Input DataFrame Count: 2" in lines
    assert any(line.startswith("Aggregation duration: ") and line.endswith(" ms") for line in lines)
    assert sorted(path.name for path in output.iterdir()) == [
        "by_hour.parquet", "by_payment_type.parquet", "by_pickup_zone.parquet", "summary.json"
    ]  # fmt: skip
    noise = [
        line
        for line in lines
        if not line.startswith(("Input DataFrame", "Aggregation")) and not parse_progress(line)
    ]
    assert noise == []


@pytest.mark.spark
def test_unusable_input_is_exit_66_with_a_message_and_no_files(submit, tmp_path):
    (tmp_path / "month").mkdir()
    error, lines = submit("nytaxi.py", "--month", MONTH, "--input", (tmp_path / "month").as_uri())
    assert error.exit_code is ExitCode.INPUT_UNUSABLE
    assert any(line.startswith("[input-unreadable]") for line in lines)
    assert list((tmp_path / "output").iterdir()) == []


@pytest.mark.spark
def test_sparkpi_counts_the_points_of_its_sequence(submit):
    output, lines = submit("sparkpi.py", "--partitions", "2")
    found = json.loads((output / "summary.json").read_text())
    xs = (n * 0.7548776662466927 for n in range(400_000))
    ys = (n * 0.5698402909980532 for n in range(400_000))
    inside = sum((x % 1) ** 2 + (y % 1) ** 2 <= 1 for x, y in zip(xs, ys, strict=True))
    assert found | {"duration_ms": 0} == {
        "v": 1,
        "job": "sparkpi",
        "pi": 4 * inside / 400_000,
        "samples": 400_000,
        "inside": inside,
        "rows": {"input": 400_000, "accepted": 400_000, "rejected": 0},
        "duration_ms": 0,
    }
    assert any(line.startswith("Pi is roughly 3.14") for line in lines)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"--month": "2018-5"}, id="month-without-zero"),
        pytest.param({"--month": "2008-12"}, id="before-the-records"),
        pytest.param({"--outlier-cap-cents": "0"}, id="no-cap"),
        pytest.param({"--outlier-cap-cents": "-1"}, id="negative-cap"),
        pytest.param({"--outlier-cap-cents": "1e5"}, id="cap-as-float"),
        pytest.param({"--surprise": "1"}, id="unknown-option"),
        pytest.param({"--inp": "x"}, id="abbreviated-option"),
    ],
)
def test_wrong_options_are_refused(nytaxi, changes, capsys):
    options = {"--month": MONTH, "--input": "file:///x", "--output": "/y"} | changes
    with pytest.raises(SystemExit) as caught:
        nytaxi.parse_options([part for option in options.items() for part in option])
    assert caught.value.code == 2
    assert "error" in capsys.readouterr().err


@pytest.mark.parametrize("month", ["2009-01", "2018-12", "2024-02"])
def test_the_month_is_bounded_by_its_first_and_last_second(nytaxi, month):
    options = nytaxi.parse_options(["--month", month, "--input", "file:///x", "--output", "/y"])
    first, last = (datetime.fromtimestamp(s, UTC) for s in (options.starts_at, options.ends_at - 1))
    assert (f"{first:%Y-%m-%d %H:%M:%S}", f"{last:%Y-%m %H:%M:%S}") == (
        f"{month}-01 00:00:00",
        f"{month} 23:59:59",
    )
