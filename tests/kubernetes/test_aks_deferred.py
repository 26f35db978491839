"""`nytaxi_aks` in deferrable mode under a real scheduler, on a real cluster: the triggerer waits."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.integration.live_airflow import LiveAirflow, end_all, find_process, wait_until
from tests.kubernetes.deployment import outage
from tests.kubernetes.live_aks import SPARK, live_aks, predicate, run_selector, unpause, verify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.kubernetes.deployment import Deployment

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(1800)]
DAG = "nytaxi_aks"


@pytest.fixture(scope="module")
def live(tmp_path_factory, measured_image, launcher_kubeconfig, real_blobs) -> Iterator[LiveAirflow]:
    folder = tmp_path_factory.mktemp("aks-deferred")
    try:
        yield live_aks(folder, measured_image, launcher_kubeconfig, real_blobs, AKS_DEFERRABLE="true")
    finally:
        end_all(folder)


@pytest.fixture
def airflow(live: LiveAirflow, deployment: Deployment) -> Iterator[LiveAirflow]:
    live.ensure_running()
    unpause(live, DAG)
    yield live
    deployment.require_nothing_left()


def deferred(airflow: LiveAirflow, deployment: Deployment, month: str) -> tuple[str, str]:
    """Start a run, and return it and its driver, whose Spark stands still while the triggerer waits."""
    run = airflow.trigger(DAG, month=month)
    (driver,) = wait_until(lambda: deployment.running("driver", run_selector(DAG, run)), "a driver runs", 240)
    deployment.freeze(driver)
    wait_until(lambda: airflow.tasks(DAG, run)[SPARK]["state"] == "deferred", "the triggerer waits", 120)
    return run, driver


def test_a_killed_triggerer_costs_nothing(airflow: LiveAirflow, deployment: Deployment) -> None:
    run, driver = deferred(airflow, deployment, "2017-01")
    triggerer = find_process(airflow.folder, "airflow", "triggerer")
    assert triggerer is not None
    os.kill(triggerer, signal.SIGKILL)
    # `make ui` starts a part that ended again, as a deployment's supervisor does.
    wait_until(lambda: "triggerer ended with code" in airflow.log, "the triggerer is gone", 120)
    deployment.thaw(driver)
    assert airflow.wait_for_end(DAG, run) == "success"
    assert airflow.tasks(DAG, run)[SPARK]["try_number"] == 1
    assert len(predicate(airflow, DAG, "2017-01")["executors"]) == 2
    verify(airflow, "2017-01")


def test_an_api_server_that_was_killed_costs_nothing(
    airflow: LiveAirflow, deployment: Deployment, own_cluster: Callable[..., None]
) -> None:
    run, driver = deferred(airflow, deployment, "2017-02")
    # The driver stands still, so the triggerer cannot miss the outage.
    outage(deployment, own_cluster, 30)
    deployment.thaw(driver)
    assert airflow.wait_for_end(DAG, run) == "success"
    verify(airflow, "2017-02")


def test_a_deferred_run_that_is_marked_failed_leaves_nothing(
    airflow: LiveAirflow, deployment: Deployment
) -> None:
    run, _ = deferred(airflow, deployment, "2017-03")
    task = f"dags/{DAG}/dagRuns/{run}/taskInstances/{SPARK}"
    assert airflow.patch(task, {"new_state": "failed"}).status == 200
    assert airflow.wait_for_end(DAG, run) == "failed"
