"""The runner as the agent starts it: its locks, its ends, its files, and not one socket."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from confidential_spark.agent.progress import parse_progress
from confidential_spark.enclave.java import SUPPORTED_VERSIONS, find_java, java_candidates, java_version
from confidential_spark.enclave.spark import OPENED_PACKAGES

from tests.support.isolation import Sockets, no_network, traced
from tests.support.runner_jvm import JARS, NO_SOCKETS, ONE_PROCESS, PODS, SETTINGS, SPARK_JARS, RunnerProcess

pytestmark = pytest.mark.spark
ROWS = 40_000
# Several MiB in one result, which by default Spark would fetch over a connection.
REQUEST: dict[str, Any] = {
    "v": 1,
    "job": "test",
    "input": {"trips": {"id": ["bigint"], "zone": ["string", "int"]}},
    "parameters": {"least": 1_000},
    "views": [{"name": "late", "sql": "SELECT id, zone FROM trips WHERE id >= :least"}],
    "queries": [
        {"name": "zones", "sql": "SELECT zone, count(*) AS n FROM late GROUP BY 1 ORDER BY 1", "max_rows": 9},
        {"name": "all", "sql": "SELECT id, sha2(zone, 256) AS text FROM late", "max_rows": ROWS},
    ],
}  # fmt: skip
ONE = {"v": 1, "job": "test", "queries": [{"name": "one", "sql": "SELECT 1 AS x", "max_rows": 1}]}
JAVAS = {java_version(path): path for path in reversed(java_candidates(os.environ))}


@pytest.fixture
def runner(tmp_path) -> RunnerProcess:
    return RunnerProcess(tmp_path)


@pytest.fixture
def trips(tmp_path) -> str:
    """Two files of the same columns, one with its zones as numbers."""
    folder = tmp_path / "input"
    folder.mkdir()
    half = ROWS // 2
    pq.write_table(
        pa.table({"id": range(half), "zone": ["7"] * half, "other": [None] * half}), folder / "a.parquet"
    )
    numbers = pa.array([8] * half, pa.int32())
    pq.write_table(pa.table({"id": range(half, ROWS), "zone": numbers}), folder / "b.parquet")
    return folder.as_uri()


def test_a_job_runs_without_a_network_and_with_results_above_a_megabyte(runner, trips):
    sockets = Sockets()
    ended = runner.run(REQUEST, input_uri=trips, around=no_network(), look=sockets.look)

    assert (ended.code, ended.errors) == (0, [])
    assert all(parse_progress(line) for line in ended.lines)
    assert ended.table("zones") == [{"zone": "7", "n": 19_000}, {"zone": "8", "n": 20_000}]
    assert sorted(row["id"] for row in ended.table("all")) == list(range(1_000, ROWS))
    assert (ended.rows / "all.jsonl").stat().st_size > 2 * 1024 * 1024
    assert_figures(ended.figures, ended.rows)
    # Before `unshare` has done its work, the namespace is still the test's.
    assert sockets.samples > 1
    assert sockets.seen == set()


def assert_figures(figures: dict[str, Any], rows: Path) -> None:
    durations = [
        figures.pop("duration_ms"),
        *(query.pop("duration_ms") for query in figures["queries"].values()),
    ]
    assert all(type(duration) is int and duration > 0 for duration in durations)
    assert figures == {
        "v": 1,
        "job": "test",
        "input": {"trips": {"files": 2, "rows": ROWS, "columns": {"id": "bigint", "zone": "string"}}},
        "queries": {
            "zones": {
                "rows": 2,
                "bytes": (rows / "zones.jsonl").stat().st_size,
                "columns": {"zone": "string", "n": "bigint"},
            },
            "all": {
                "rows": ROWS - 1_000,
                "bytes": (rows / "all.jsonl").stat().st_size,
                "columns": {"id": "bigint", "text": "string"},
            },
        },
    }


def other_java() -> Path:
    """Another version than the other tests', where there is one."""
    usual = find_java()
    others = [path for version, path in JAVAS.items() if version in SUPPORTED_VERSIONS and path != usual.path]
    return others[0] if others else usual.path


def test_no_call_concerns_a_network(runner, tmp_path):
    calls = tmp_path / "calls"
    ended = runner.run(ONE, around=traced(calls), java=other_java())

    assert (ended.code, ended.table("one")) == (0, [{"x": 1}])
    assert [line for line in calls.read_text().splitlines() if "AF_INET" in line or "accept" in line] == []


def test_java_has_no_other_way_to_a_socket(tmp_path):
    ended = subprocess.run(
        [
            str(find_java().path),
            *(f"--add-opens={package}=ALL-UNNAMED" for package in OPENED_PACKAGES),
            *(
                *NO_SOCKETS,
                "-XX:TieredStopAtLevel=1",
                f"-Djava.io.tmpdir={tmp_path}",
                f"-Duser.home={tmp_path}",
            ),
            *("-cp", ":".join(str(jar) for jar in (JARS / "runner.jar", *SPARK_JARS))),
            *("scala.tools.nsc.MainGenericRunner", "-nc", "-usejavacp"),
            str(Path(__file__).with_name("OpenSockets.scala")),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    outcomes = dict(line.split(": ", 1) for line in ended.stdout.splitlines())
    assert len(outcomes) == 13
    assert {name for name, outcome in outcomes.items() if outcome == "opened"} == {"Pipe", "Selector"}
    assert set(outcomes.values()) == {"opened", "refused"}


def settings(**changes: str) -> dict[str, str]:
    return SETTINGS | {name.replace("_", "."): value for name, value in changes.items()}


LOCKS = {
    "no-server-missing": {"jars": ["absent.jar", "runner.jar"]},
    "no-server-second": {"jars": ["runner.jar", *SPARK_JARS, "no-server.jar"]},
    "gate-in-its-place": {"jars": ["gate.jar", "runner.jar"]},
    "no-provider": {"locks": NO_SOCKETS[1:]},
    "no-asynchronous-provider": {"locks": NO_SOCKETS[:1]},
    "unknown-provider": {"locks": [NO_SOCKETS[0] + "X", NO_SOCKETS[1]]},
    "pods-without-gate": {"settings": settings(spark_master="k8s://https://none")},
}


@pytest.mark.parametrize("changes", [pytest.param(changes, id=name) for name, changes in LOCKS.items()])
def test_a_missing_lock_stops_everything(runner, changes):
    ended = runner.run(ONE, **changes)

    assert (ended.code, ended.failure["code"]) == (65, "lock-missing")
    assert list(ended.rows.iterdir()) == []


def test_a_server_of_another_place_is_no_lock(runner, tmp_path):
    other = tmp_path / "other" / "no-server.jar"
    other.parent.mkdir()
    shutil.copy(JARS / "no-server.jar", other)
    ended = runner.run(ONE, jars=[other, "runner.jar"])

    assert ended.failure["code"] == "lock-missing"
    assert ended.failure["got"] == str(other)


COMMAND_LINES = {
    "job": ["--job", "other"],
    "unknown": ["--jar", "x.jar"],
    "twice": ["--job", "test", "--job", "test"],
    "half": ["--job"],
    "input": ["--input", "file:///nowhere"],
}


@pytest.mark.parametrize("more", [pytest.param(more, id=name) for name, more in COMMAND_LINES.items()])
def test_another_command_line_is_refused(runner, more):
    ended = runner.run(ONE, more=more)

    assert (ended.code, ended.failure["code"]) == (65, "argument-invalid")


@pytest.mark.parametrize(
    "master", ["", "local", "local[*]", "local[2,3]", "local-cluster[1,1,512]", "spark://a:7077"]
)
def test_another_master_is_refused(runner_calls, master):
    conf = runner_calls.conf.clone().set("spark.master", master)

    assert (
        runner_calls.refused(lambda: runner_calls.runner.Settings.inOneProcess(conf)).code
        == "argument-invalid"
    )


def test_what_a_query_means_is_not_the_hosts_to_set(runner_calls, tmp_path):
    names = (
        "spark.sql.session.timeZone",
        "spark.sql.caseSensitive",
        "spark.sql.runSQLOnFiles",
        "spark.ui.enabled",
    )
    file = tmp_path / "spark.conf"
    file.write_text("".join(f"{name} host\n" for name in names))
    conf = runner_calls.runner.Settings.read(runner_calls.path(file), "test")

    assert [conf.get(name) for name in names] == ["UTC", "true", "false", "false"]


def test_a_command_is_refused_before_spark_starts(runner):
    ended = runner.run(ONE | {"queries": [{"name": "one", "sql": "DROP TABLE x", "max_rows": 1}]})

    assert ended.code == 65
    assert ended.failure == {
        "code": "job-not-a-query",
        "message": "one is more than a query.",
        "got": "DropTable",
        "expected": "the plan nodes and functions of the runner's list",
        "action": "write the job with the SQL that the runner accepts",
    }


def test_another_schema_is_refused_before_spark_starts(runner, trips):
    request = REQUEST | {"input": {"trips": {"id": ["bigint"], "zone": ["string"]}}}
    ended = runner.run(request, input_uri=trips)

    assert (ended.code, ended.failure["code"]) == (66, "input-schema")
    assert ended.failure["got"] == "b.parquet: zone is int"


def test_a_page_that_cannot_be_read_is_the_inputs_fault(runner, trips, tmp_path):
    file = tmp_path / "input" / "b.parquet"
    data = bytearray(file.read_bytes())
    data[4:40] = b"\xff" * 36
    file.write_bytes(data)
    ended = runner.run(REQUEST, input_uri=trips)

    assert (ended.code, ended.failure["code"]) == (66, "input-unreadable")
    assert ended.failure["got"] == "a file: TProtocolException: don't know what type: 15"
    assert not (ended.rows / "figures.json").exists()


def test_a_stopped_runner_blames_nobody(runner):
    """TERM while its tasks run: the agent, which sent it, says why."""
    request = ONE | {
        "queries": [{"name": "one", "sql": "SELECT count(sin(id)) FROM range(1000000000000)", "max_rows": 1}]
    }

    def stop_once_spark_runs(process: int) -> None:
        if list((runner.folder / "work").glob("blockmgr-*")):
            os.kill(process, signal.SIGTERM)

    ended = runner.run(request, look=stop_once_spark_runs)

    assert ended.code == 128 + signal.SIGTERM
    assert not [line for line in ended.errors if line.startswith("FAILURE")]
    assert list(ended.rows.iterdir()) == []


@pytest.mark.parametrize(
    ("jars", "code"),
    [pytest.param(PODS, 1, id="gate"), pytest.param(ONE_PROCESS, 65, id="no-gate")],
)
def test_an_executor_starts_behind_the_gate_only(runner, jars, code):
    """With arguments that are not an executor's, Spark's own main class ends with 1."""
    ended = runner.run(ONE, main="confidentialspark.PodExecutor", jars=jars)

    assert ended.code == code
    assert ("lock-missing" in ended.errors[-1]) is (code == 65)


def test_the_failures_line_is_short_and_ascii_whatever_it_quotes(runner):
    ended = runner.run(
        ONE | {"queries": [{"name": "one", "sql": "SELECT `é\n" + "x" * 9_000, "max_rows": 1}]}
    )

    assert ended.failure_line.isascii()
    assert len(ended.failure_line) < 4_096
    assert ended.failure["code"] == "job-not-a-query"


def test_the_jars_are_those_of_their_digests():
    lines = [line.split("  ") for line in (JARS / "jars.sha256").read_text().splitlines()]

    assert {name: sha256((JARS / name).read_bytes()).hexdigest() for _, name in lines} == {
        name: digest for digest, name in lines
    }
    assert {name for _, name in lines} == {"runner.jar", "no-server.jar", "gate.jar"}
