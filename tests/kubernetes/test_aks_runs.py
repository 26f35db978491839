"""`nytaxi_aks`, `sparkpi_aks` and `platform_check` under a real scheduler, on a real cluster."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

import pytest
from confidential_spark.platforms.kubernetes.names import NAMESPACE

from tests.integration.live_airflow import LiveAirflow, end_all, parent_of, wait_until
from tests.kubernetes.live_aks import SPARK, live_aks, predicate, run_selector, summary, unpause, verify

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kubernetes.deployment import Deployment

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(1800)]
DAG = "nytaxi_aks"


@pytest.fixture(scope="module")
def live(tmp_path_factory, measured_image, launcher_kubeconfig, real_blobs) -> Iterator[LiveAirflow]:
    folder = tmp_path_factory.mktemp("aks")
    try:
        yield live_aks(folder, measured_image, launcher_kubeconfig, real_blobs)
    finally:
        end_all(folder)


@pytest.fixture
def airflow(live: LiveAirflow, deployment: Deployment) -> Iterator[LiveAirflow]:
    live.ensure_running()
    unpause(live, DAG, "sparkpi_aks", "nytaxi_local", "platform_check")
    yield live
    deployment.require_nothing_left()


def test_the_same_figures_as_on_this_machine(airflow: LiveAirflow) -> None:
    runs = {dag: airflow.trigger(dag, month="2018-05") for dag in ("nytaxi_local", DAG)}
    ends = {dag: airflow.wait_for_end(dag, run) for dag, run in runs.items()}
    assert ends == dict.fromkeys(runs, "success")
    assert summary(airflow, DAG, "2018-05") == summary(airflow, "nytaxi_local", "2018-05")
    assert len(predicate(airflow, DAG, "2018-05")["executors"]) == 2
    verify(airflow, "2018-05")


def test_two_months_side_by_side(airflow: LiveAirflow) -> None:
    months = ("2017-02", "2017-03")
    runs = {month: airflow.trigger(DAG, month=month) for month in months}
    assert {month: airflow.wait_for_end(DAG, run) for month, run in runs.items()} == dict.fromkeys(
        months, "success"
    )
    for month in months:
        verify(airflow, month)
    spans = airflow.rows(
        "select start_date, end_date from task_instance "
        "where dag_id = ? and task_id = ? and run_id in (?, ?)",
        *(DAG, SPARK, *runs.values()),
    )
    assert max(start for start, _ in spans) < min(end for _, end in spans)


def test_a_killed_worker_and_a_killed_executor_cost_a_try(
    airflow: LiveAirflow, deployment: Deployment
) -> None:
    run = airflow.trigger(DAG, month="2017-01")
    labels = run_selector(DAG, run)
    wait_until(lambda: len(deployment.pods("executor", labels)) == 2, "executors are made", 240)
    (driver,) = deployment.pods("driver", labels)
    task = int(airflow.tasks(DAG, run)[SPARK]["pid"])
    for pid in (parent_of(task), task):
        os.kill(pid, signal.SIGKILL)
    victim = deployment.pods("executor", labels)[0].metadata.name
    deployment.core.delete_namespaced_pod(victim, NAMESPACE, grace_period_seconds=0)
    assert airflow.wait_for_end(DAG, run) == "success"
    assert airflow.tasks(DAG, run)[SPARK]["try_number"] == 2
    log = airflow.get(f"dags/{DAG}/dagRuns/{run}/taskInstances/{SPARK}/logs/2")
    assert f"goes on with pod {driver.metadata.name}" in json.dumps(log.body)
    verify(airflow, "2017-01")


def test_a_killed_driver_costs_a_try_and_comes_back_as_another_enclave(
    airflow: LiveAirflow, deployment: Deployment
) -> None:
    run = airflow.trigger(DAG, month="2017-04")
    labels = run_selector(DAG, run)
    (driver,) = wait_until(lambda: deployment.running("driver", labels), "the driver runs", 240)
    nonce = airflow.xcom(DAG, run, SPARK, "enclave_run")["nonce"]
    deployment.freeze(driver)
    deployment.run_in(driver, "kill -9 -1")
    assert airflow.wait_for_end(DAG, run) == "success"
    assert airflow.tasks(DAG, run)[SPARK]["try_number"] == 2
    assert predicate(airflow, DAG, "2017-04")["nonce"] != nonce
    verify(airflow, "2017-04")


def test_a_run_that_is_marked_failed_leaves_nothing(airflow: LiveAirflow, deployment: Deployment) -> None:
    run = airflow.trigger("sparkpi_aks", partitions=2)
    labels = run_selector("sparkpi_aks", run)
    wait_until(lambda: deployment.pods("driver", labels), "the driver is made", 240)
    task = f"dags/sparkpi_aks/dagRuns/{run}/taskInstances/{SPARK}"
    assert airflow.patch(task, {"new_state": "failed"}).status == 200
    assert airflow.wait_for_end("sparkpi_aks", run) == "failed"


def test_the_platform_check_finds_a_cluster_that_can_run(airflow: LiveAirflow) -> None:
    run = airflow.trigger("platform_check")
    airflow.wait_for_end("platform_check", run)
    rows = airflow.xcom("platform_check", run, "check_aks", "platform_check")["rows"]
    assert [row for row in rows if row["status"] == "FAIL"] == []
    assert airflow.tasks("platform_check", run)["check_aks"]["state"] == "success"
