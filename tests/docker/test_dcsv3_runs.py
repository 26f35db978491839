"""`nytaxi_dcsv3` whole, under a real scheduler and on a real engine; only the SGX hardware is simulated."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.live_airflow import LiveAirflow, end_all, parent_of, wait_until
from tests.support.factories.approvals import approved_include

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from confidential_spark.enclave.image import EnclaveImage
    from docker import DockerClient
    from docker.models.containers import Container

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1200)]
DAG, SPARK = "nytaxi_dcsv3", "spark.run_spark"
PREFIX = "org.confidential-spark."


@pytest.fixture(scope="module")
def live(tmp_path_factory, enclave_image: EnclaveImage) -> Iterator[LiveAirflow]:
    folder = tmp_path_factory.mktemp("dcsv3")
    live = LiveAirflow(folder)
    live.environment.update(
        CONFIDENTIAL_SPARK_DCSV3_POLICY="simulation-image",
        CONFIDENTIAL_SPARK_DCSV3_IMAGE=enclave_image.reference,
        CONFIDENTIAL_SPARK_INCLUDE_DIR=str(approved_include(folder / "include", enclave_image)),
        **{name: value for name, value in os.environ.items() if name.startswith("DOCKER_")},
    )
    try:
        yield live
    finally:
        end_all(folder)


@pytest.fixture
def airflow(live: LiveAirflow) -> LiveAirflow:
    live.ensure_running()
    for dag in (DAG, "nytaxi_local"):
        live.unpause(dag)
    wait_until(live.idle, "what an earlier test started is over", 600)
    return live


def containers(engine: DockerClient, run: str, task: str = SPARK) -> list[Container]:
    label = [f"{PREFIX}run={run}", f"{PREFIX}dag={DAG}", f"{PREFIX}task={task}"]
    return list(engine.containers.list(all=True, filters={"label": label}, ignore_removed=True))


def published(airflow: LiveAirflow, dag: str, month: str) -> Path:
    return airflow.results / dag / f"month={month}"


def summary(folder: Path) -> dict[str, Any]:
    content = json.loads((folder / "summary.json").read_text())
    return {name: value for name, value in content.items() if name != "duration_ms"}


def verify(airflow: LiveAirflow, month: str) -> None:
    policy = airflow.folder / "include" / "policies" / "simulation-image.yaml"
    evidence = published(airflow, DAG, month) / "evidence.json"
    command = [sys.executable, "-m", "confidential_spark", "verify", str(evidence), "--policy", str(policy)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def start_spark(airflow: LiveAirflow, engine: DockerClient, month: str) -> tuple[str, Container]:
    """Start a run and return its id and its container, whose Spark is at work."""
    run = airflow.trigger(DAG, month=month)
    wait_until(lambda: [c for c in containers(engine, run) if b"Attested" in c.logs()], "it has attested")
    [container] = containers(engine, run)
    return run, container


def require_second_try(airflow: LiveAirflow, run: str, month: str) -> None:
    assert airflow.wait_for_end(DAG, run) == "success"
    assert airflow.tasks(DAG, run)[SPARK]["try_number"] == 2
    verify(airflow, month)
    assert airflow.staged(month) == []


def task_process(airflow: LiveAirflow, run: str) -> int:
    """Return the process that executes the task, which is its supervisor's child."""
    return int(airflow.tasks(DAG, run)[SPARK]["pid"])


def test_the_same_figures_as_on_this_machine(airflow: LiveAirflow, engine: DockerClient) -> None:
    runs = {dag: airflow.trigger(dag, month="2018-05") for dag in (DAG, "nytaxi_local")}
    assert {dag: airflow.wait_for_end(dag, run) for dag, run in runs.items()} == dict.fromkeys(
        runs, "success"
    )
    assert summary(published(airflow, DAG, "2018-05")) == summary(
        published(airflow, "nytaxi_local", "2018-05")
    )
    verify(airflow, "2018-05")
    assert containers(engine, runs[DAG]) == containers(engine, runs[DAG], "attestation.attest_platform") == []


@pytest.mark.parametrize("victims", ["task", "task-and-supervisor"])
def test_a_killed_worker_costs_a_try_and_no_second_container(
    airflow: LiveAirflow, engine: DockerClient, victims: str
) -> None:
    month = {"task": "2017-01", "task-and-supervisor": "2017-02"}[victims]
    run, container = start_spark(airflow, engine, month)
    nonce = airflow.xcom(DAG, run, SPARK, "enclave_run")["nonce"]
    task = task_process(airflow, run)
    supervisor = parent_of(task)
    for pid in [task] if victims == "task" else [supervisor, task]:
        os.kill(pid, signal.SIGKILL)
    assert [c.id for c in containers(engine, run)] == [container.id]
    require_second_try(airflow, run, month)
    assert airflow.xcom(DAG, run, SPARK, "enclave_run")["nonce"] == nonce
    log = airflow.get(f"dags/{DAG}/dagRuns/{run}/taskInstances/{SPARK}/logs/2")
    assert f"goes on with container {container.id[:12]}" in json.dumps(log.body)
    assert containers(engine, run) == []


def test_a_run_that_is_marked_failed_leaves_nothing(airflow: LiveAirflow, engine: DockerClient) -> None:
    run, _ = start_spark(airflow, engine, "2017-03")
    task = f"dags/{DAG}/dagRuns/{run}/taskInstances/{SPARK}"
    assert airflow.patch(task, {"new_state": "failed"}).status == 200
    assert airflow.wait_for_end(DAG, run) == "failed"
    wait_until(lambda: containers(engine, run) == [], "the container is gone", 60)
    assert not published(airflow, DAG, "2017-03").exists()


def test_a_cleared_task_starts_afresh(airflow: LiveAirflow, engine: DockerClient) -> None:
    run, container = start_spark(airflow, engine, "2017-04")
    # Airflow tells the worker with its next heartbeat, and by then a quick month would be over.
    container.pause()
    clear = {"dag_run_id": run, "task_ids": [SPARK], "include_downstream": True, "only_failed": False}
    assert airflow.post(f"dags/{DAG}/clearTaskInstances", {**clear, "dry_run": False}).status == 200
    require_second_try(airflow, run, "2017-04")
    assert airflow.xcom(DAG, run, SPARK, "enclave_run")["nonce"] != container.labels[f"{PREFIX}nonce"]
    assert containers(engine, run) == []


def test_enclaves_run_side_by_side_within_the_pool(airflow: LiveAirflow) -> None:
    runs = {month: airflow.trigger(DAG, month=month) for month in ("2017-05", "2017-06", "2017-07")}
    assert {airflow.wait_for_end(DAG, run) for run in runs.values()} == {"success"}
    spans = airflow.rows(
        "select start_date, end_date from task_instance "
        "where dag_id = ? and task_id = ? and run_id in (?, ?, ?)",
        *(DAG, SPARK, *runs.values()),
    )
    most = max(sum(start <= moment < end for start, end in spans) for moment, _ in spans)
    assert most == airflow.get("pools/enclave_dcsv3").body["slots"] == 2
    for month in runs:
        verify(airflow, month)
