"""The DAGs under a real scheduler: back-fill, the REST API, two runs of one month, and dead workers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.integration.live_airflow import (
    FINISHED,
    LiveAirflow,
    end_all,
    find_process,
    parent_of,
    processes_of,
    public_ports,
    wait_until,
)
from tests.support.places import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.scheduler, pytest.mark.timeout(900)]
DAG = "nytaxi_local"
SPARK = "spark.run_spark"
JAVA = "confidentialspark.Runner"
MONTHS = [f"2018-{month:02d}" for month in range(1, 13 if os.environ.get("FULL_BACKFILL") else 4)]
# Tests come in any order, so each takes months that no other uses.
FRESH_MONTHS = (f"2016-{month:02d}" for month in range(1, 13))
SECRET_WORDS = ("password", "secret", "PRIVATE KEY", '"d":')


@pytest.fixture(scope="module")
def live(tmp_path_factory) -> Iterator[LiveAirflow]:
    live = LiveAirflow(tmp_path_factory.mktemp("live"), scheduled=True)
    try:
        yield live
    finally:
        end_all(live.folder)


@pytest.fixture
def airflow(live) -> LiveAirflow:
    live.ensure_running()
    return live


def evidence(airflow: LiveAirflow, month: str) -> Path:
    return airflow.results / DAG / f"month={month}" / "evidence.json"


def verify(path: Path) -> None:
    policy = ROOT / "include" / "policies" / "simulation.yaml"
    command = [sys.executable, "-m", "confidential_spark", "verify", str(path), "--policy", str(policy)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def start_spark(airflow: LiveAirflow, month: str) -> tuple[str, int]:
    """Start a run and return its id and the id of its JVM, which stands still: a month is quick."""
    run = airflow.trigger(DAG, month=month)
    java = wait_until(lambda: find_process(airflow.folder, JAVA), "Spark has started")
    os.kill(java, signal.SIGSTOP)
    return run, java


def backfill(airflow: LiveAirflow, *options: str) -> None:
    """Run MONTHS to their end."""
    span = ("--from-date", f"{MONTHS[0]}-01", "--to-date", f"{MONTHS[-1]}-01")
    airflow.cli("backfill", "create", "--dag-id", DAG, *span, "--max-active-runs", "4", *options)

    def all_ended() -> bool:
        rows = airflow.rows("select completed_at from backfill")
        return all(completed for (completed,) in rows)

    wait_until(all_ended, "the back-fill has ended", 120 * len(MONTHS))


@pytest.fixture(scope="module")
def filled(live) -> dict[str, bytes]:
    live.ensure_running()
    backfill(live)
    return {month: evidence(live, month).read_bytes() for month in MONTHS}


def test_the_schedule_starts_a_run_of_each_dag_by_itself(airflow) -> None:
    def ended() -> dict[str, str]:
        dags = airflow.rows("select dag_id from dag where not is_paused and next_dagrun is not null")
        runs = dict(airflow.rows("select dag_id, state from dag_run where run_type = 'scheduled'"))
        all_ended = (DAG,) in dags and {dag for (dag,) in dags} == runs.keys()
        return runs if all_ended and FINISHED.issuperset(runs.values()) else {}

    assert set(wait_until(ended, "a run of each scheduled DAG has ended").values()) == {"success"}


def test_a_backfill_publishes_every_month(filled, airflow) -> None:
    states = airflow.rows("select state from dag_run where run_type = 'backfill'")
    assert states == [("success",)] * len(MONTHS)
    for month in MONTHS:
        verify(evidence(airflow, month))
        assert airflow.staged(month) == []


def test_enclaves_run_side_by_side_within_the_pool(filled, airflow) -> None:
    slots = airflow.get("pools/enclave_local").body["slots"]
    spans = airflow.rows(
        "select task_instance.start_date, task_instance.end_date from task_instance "
        "join dag_run using (dag_id, run_id) where task_id = ? and run_type = 'backfill'",
        SPARK,
    )
    most = max(sum(start <= moment < end for start, end in spans) for moment, _ in spans)
    assert most == slots == 2


def test_a_backfill_with_reprocessing_replaces_every_month(filled, airflow) -> None:
    backfill(airflow, "--reprocess-behavior", "completed")
    for month, before in filled.items():
        assert evidence(airflow, month).read_bytes() != before
        verify(evidence(airflow, month))
    versions = airflow.results / DAG / ".versions"
    # The replaced one stays for the grace period, for whoever is reading it.
    kept = [[path for path in (versions / f"month={month}").iterdir() if path.is_dir()] for month in MONTHS]
    assert [len(each) for each in kept] == [2] * len(MONTHS)


def test_a_run_triggered_by_rest_is_published_and_tells_the_asset(airflow) -> None:
    run = airflow.trigger(DAG, month="2017-05")
    assert airflow.wait_for_end(DAG, run) == "success"
    verify(evidence(airflow, "2017-05"))
    events = "assets/events?order_by=-timestamp&limit=100"
    # Airflow 3.3.2 answers 500 as long as a run that an event has started, here the year's, waits to begin.
    answer = wait_until(lambda: (found := airflow.get(events)).status == 200 and found, "the events are told")
    [event] = [
        event
        for event in answer.body["asset_events"]
        if event["source_run_id"] == run and event["name"] == DAG
    ]
    assert event["extra"]["month"] == "2017-05"
    assert event["extra"]["trust"] == "simulated"
    assert event["extra"]["evidence"] == str(evidence(airflow, "2017-05"))
    xcoms = airflow.rows("select task_id, value from xcom where run_id = ?", run)
    assert xcoms
    for task_id, value in xcoms:
        assert len(str(value)) < 8_000, task_id
        assert not any(word in str(value) for word in SECRET_WORDS), task_id


@pytest.mark.parametrize(
    ("conf", "reason"),
    [
        pytest.param({"month": "2018-13"}, "Invalid input for param month: '2018-13'", id="month-13"),
        pytest.param({"month": 201805}, "Invalid input for param month: 201805", id="number"),
        pytest.param({"month": "2018-05-01"}, "Invalid input for param month", id="day"),
        pytest.param({"input": "ftp://data"}, "Invalid input for param input: 'ftp://data'", id="scheme"),
        pytest.param({"publish": "yes"}, "'yes' is not of type 'boolean'", id="publish"),
        pytest.param({"outlier_cap_dollars": 0}, "0 is less than the minimum of 1", id="cap"),
        pytest.param(
            {"outlier_cap_dollars": 1000.5},
            "Invalid input for param outlier_cap_dollars: 1000.5 is not of type 'integer'",
            id="fraction",
        ),
    ],
)
def test_rest_refuses_bad_params_before_there_is_a_run(airflow, conf: dict[str, object], reason: str) -> None:
    count = "select count(*) from dag_run where dag_id = ?"
    runs = airflow.rows(count, DAG)
    answer = airflow.post(f"dags/{DAG}/dagRuns", {"logical_date": None, "conf": conf})
    assert answer.status == 400
    assert reason in answer.body["detail"]
    assert airflow.rows(count, DAG) == runs


@pytest.mark.parametrize(
    ("conf", "code"),
    [
        pytest.param({"month": "2098-01"}, "month-not-over", id="future"),
        pytest.param({"mont": "2018-05"}, "param-unknown", id="misspelt"),
    ],
)
def test_what_the_form_cannot_refuse_fails_at_once_by_name(
    airflow, conf: dict[str, object], code: str
) -> None:
    before = sorted((airflow.results / DAG).glob("month=*"))
    run = airflow.trigger(DAG, **conf)
    assert airflow.wait_for_end(DAG, run) == "failed"
    assert {task["try_number"] for task in airflow.tasks(DAG, run).values()} <= {0, 1}
    log = airflow.get(f"dags/{DAG}/dagRuns/{run}/taskInstances/image.resolve_image/logs/1")
    assert f"[{code}]" in json.dumps(log.body)
    assert sorted((airflow.results / DAG).glob("month=*")) == before


def test_two_runs_of_one_month_at_once_leave_one_whole_month(airflow) -> None:
    runs = [airflow.trigger(DAG, month="2017-06") for _ in range(2)]
    assert [airflow.wait_for_end(DAG, run) for run in runs] == ["success", "success"]
    verify(evidence(airflow, "2017-06"))
    report = json.loads(evidence(airflow, "2017-06").with_name("report.json").read_bytes())
    assert report["run_id"] in {f"{DAG}/{run}" for run in runs}
    assert airflow.staged("2017-06") == []


def test_the_pages_are_for_users_only(airflow) -> None:
    assert airflow.request("GET", "/confidential-spark/", token=None).status == 401
    page = airflow.request("GET", "/confidential-spark/", token=airflow.token)
    assert page.status == 200
    assert "Confidential" in page.body


@dataclass(frozen=True)
class Running:
    """A run whose Spark has started, and the processes behind it."""

    month: str
    run: str
    nonce: str
    java: int
    agent: int
    task: int
    supervisor: int


class TestKilled:
    """Whatever ends `run_spark`, no agent and no JVM outlives it, and nothing is half published."""

    @pytest.fixture
    def running(self, airflow) -> Running:
        month = next(FRESH_MONTHS)
        run, java = start_spark(airflow, month)
        agent = parent_of(java)
        task = parent_of(agent)
        nonce = airflow.xcom(DAG, run, SPARK, "enclave_run")["nonce"]
        return Running(month, run, nonce, java, agent, task, parent_of(task))

    def require_enclave_ended(self, airflow: LiveAirflow, running: Running) -> None:
        enclave = {running.java, running.agent}
        wait_until(lambda: not enclave & processes_of(airflow.folder).keys(), "agent and JVM are gone")

    def require_second_try(self, airflow: LiveAirflow, running: Running) -> None:
        assert airflow.wait_for_end(DAG, running.run) == "success"
        assert airflow.tasks(DAG, running.run)[SPARK]["try_number"] == 2
        assert airflow.xcom(DAG, running.run, SPARK, "enclave_run")["nonce"] != running.nonce
        verify(evidence(airflow, running.month))
        assert airflow.staged(running.month) == []

    def test_marked_failed(self, airflow, running) -> None:
        task = f"dags/{DAG}/dagRuns/{running.run}/taskInstances/{SPARK}"
        assert airflow.patch(task, {"new_state": "failed"}).status == 200
        self.require_enclave_ended(airflow, running)
        assert airflow.wait_for_end(DAG, running.run) == "failed"
        assert airflow.tasks(DAG, running.run)["validation.publish"]["state"] == "upstream_failed"
        assert not evidence(airflow, running.month).exists()
        assert airflow.staged(running.month) == []

    def test_cleared(self, airflow, running) -> None:
        clear = {"dag_run_id": running.run, "task_ids": [SPARK], "include_downstream": True}
        answer = airflow.post(
            f"dags/{DAG}/clearTaskInstances", {**clear, "dry_run": False, "only_failed": False}
        )
        assert answer.status == 200
        self.require_enclave_ended(airflow, running)
        self.require_second_try(airflow, running)

    @pytest.mark.parametrize("victim", ["task", "supervisor"])
    def test_a_killed_worker_is_retried_with_a_new_nonce(self, airflow, running, victim: str) -> None:
        os.kill(getattr(running, victim), signal.SIGKILL)
        # Without its supervisor a task learns by its next line that nobody listens: Spark must go on.
        with suppress(ProcessLookupError):
            os.kill(running.java, signal.SIGCONT)
        self.require_enclave_ended(airflow, running)
        self.require_second_try(airflow, running)


class TestEnd:
    """How it listens and how it ends."""

    def test_listens_on_the_loopback_only(self, airflow) -> None:
        assert public_ports(processes_of(airflow.folder)) == set()

    @pytest.mark.parametrize(
        ("home", "reason"),
        [
            pytest.param("another", "[port-in-use] The port {port} is in use.", id="port"),
            pytest.param("airflow", "[airflow-in-use] Another `make ui`", id="folder"),
        ],
    )
    def test_a_second_one_is_refused_by_name(self, airflow, home: str, reason: str) -> None:
        command = [sys.executable, "-m", "scripts.ui", "--port", str(airflow.port)]
        done = subprocess.run(
            [*command, "--home", str(airflow.folder / home)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2
        assert reason.format(port=airflow.port) in done.stderr

    def test_ctrl_c_ends_every_process_even_while_spark_runs(self, airflow) -> None:
        start_spark(airflow, next(FRESH_MONTHS))
        assert airflow.end() == 0
        assert processes_of(airflow.folder) == {}
