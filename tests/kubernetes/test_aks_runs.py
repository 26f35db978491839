"""`sparkpi_aks` and `nytaxi_aks` under a real scheduler, on the real cluster of `$KUBECONFIG`.

`$KUBERNETES_ENCLAVE_IMAGE` names the simulated enclave image by digest, as the cluster's nodes know it; the
namespace is the one of `include/kubernetes`, applied beforehand.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from confidential_spark.core.kubernetes_names import RUN_LABELS, TryNames, label_value, selector
from confidential_spark.core.kubernetes_pod import PodPlan, measure_pod
from confidential_spark.core.ledger import Approval, append_approval
from kubernetes import client, config

from tests.integration.live_airflow import ROOT, LiveAirflow, end_all, parent_of, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

IMAGE = os.environ.get("KUBERNETES_ENCLAVE_IMAGE")
pytestmark = [
    pytest.mark.kubernetes,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(
        not (IMAGE and os.environ.get("KUBECONFIG")),
        reason="!!! NOT TESTED: no $KUBECONFIG, or no $KUBERNETES_ENCLAVE_IMAGE on its nodes",
    ),
]
NAMESPACE = "confidential-spark"
SPARK = "spark.run_spark"


@pytest.fixture(scope="module")
def core() -> client.CoreV1Api:
    return client.CoreV1Api(config.new_client_from_config(os.environ["KUBECONFIG"]))


@pytest.fixture(scope="module")
def identity(core) -> dict[str, Any]:
    """Who the image's enclave is, as a pod of it says."""
    plan = PodPlan(
        image=str(IMAGE),
        names=TryNames.of("sparkpi", str(os.getpid())),
        labels={},
        claim="none",
        cpu_request="100m",
        cpu_limit=1,
        memory_bytes=2**30,
        deadline_seconds=300,
    )
    name = plan.names.measure
    core.create_namespaced_pod(NAMESPACE, measure_pod(plan))
    try:

        def ended() -> bool:
            phase: str = core.read_namespaced_pod(name, NAMESPACE).status.phase
            return phase in ("Succeeded", "Failed")

        wait_until(ended, "the image is measured", 120)
        lines = core.read_namespaced_pod_log(name, NAMESPACE, _preload_content=False).data.decode()
        return dict(json.loads(lines.splitlines()[-1]))
    finally:
        core.delete_namespaced_pod(name, NAMESPACE)


@pytest.fixture(scope="module")
def live(tmp_path_factory, identity) -> Iterator[LiveAirflow]:
    folder = tmp_path_factory.mktemp("aks")
    shutil.copytree(ROOT / "include", folder / "include")
    ledger = folder / "include" / "policies" / "approvals-simulated.jsonl"
    ledger.unlink(missing_ok=True)
    approval = {name: identity[name] for name in ("mrenclave", "mrsigner", "product_id", "svn")}
    append_approval(
        ledger,
        Approval(
            approved_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            approved_by="the test",
            image_digest=str(IMAGE).rpartition("@")[2],
            git_revision="0" * 40,
            **approval,
        ),
    )
    live = LiveAirflow(folder)
    connection = {"conn_type": "kubernetes", "extra": {"kube_config_path": os.environ["KUBECONFIG"]}}
    live.environment.update(
        AIRFLOW_CONN_KUBERNETES_DEFAULT=json.dumps(connection),
        CONFIDENTIAL_SPARK_AKS_POLICY="simulation-image",
        CONFIDENTIAL_SPARK_AKS_IMAGE=str(IMAGE),
        CONFIDENTIAL_SPARK_AKS_CPU_REQUEST="100m",
        CONFIDENTIAL_SPARK_INCLUDE_DIR=str(folder / "include"),
    )
    try:
        yield live
    finally:
        end_all(folder)


@pytest.fixture
def airflow(live: LiveAirflow) -> LiveAirflow:
    live.ensure_running()
    for dag in ("sparkpi_aks", "nytaxi_aks", "nytaxi_local"):
        address = f"dags/{dag}?update_mask=is_paused"
        wait_until(
            lambda address=address: live.patch(address, {"is_paused": False}).status == 200, f"{dag} runs"
        )
    wait_until(live.idle, "what the schedule started is over", 900)
    return live


def pods(core: client.CoreV1Api, dag: str, run: str, role: str = "") -> list[Any]:
    labels = selector(dict(zip(RUN_LABELS, (label_value(dag), label_value(run)), strict=True)))
    found = core.list_namespaced_pod(NAMESPACE, label_selector=labels).items
    return [pod for pod in found if not role or (pod.metadata.labels.get("spark-role") == role)]


def summary(airflow: LiveAirflow, dag: str, month: str) -> dict[str, Any]:
    content = json.loads((airflow.results / dag / f"month={month}" / "summary.json").read_text())
    return {name: value for name, value in content.items() if name != "duration_ms"}


def predicate(airflow: LiveAirflow, dag: str, month: str) -> dict[str, Any]:
    from base64 import b64decode

    evidence = json.loads((airflow.results / dag / f"month={month}" / "evidence.json").read_text())
    statement = json.loads(b64decode(evidence["envelope"]["payload"]))
    return dict(statement["predicate"])


def verify(airflow: LiveAirflow, month: str) -> None:
    policy = airflow.folder / "include" / "policies" / "simulation-image.yaml"
    evidence: Path = airflow.results / "nytaxi_aks" / f"month={month}" / "evidence.json"
    command = [sys.executable, "-m", "confidential_spark", "verify", str(evidence), "--policy", str(policy)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def nothing_is_left(core: client.CoreV1Api) -> None:
    wait_until(lambda: not core.list_namespaced_pod(NAMESPACE).items, "no pod is left", 90)
    assert not [s for s in core.list_namespaced_secret(NAMESPACE).items if s.type == "Opaque"]


def test_the_same_figures_as_on_this_machine(airflow: LiveAirflow, core) -> None:
    runs = {dag: airflow.trigger(dag, month="2018-05") for dag in ("nytaxi_local", "nytaxi_aks")}
    ends = {dag: airflow.wait_for_end(dag, run) for dag, run in runs.items()}
    assert ends == dict.fromkeys(runs, "success")
    assert summary(airflow, "nytaxi_aks", "2018-05") == summary(airflow, "nytaxi_local", "2018-05")
    assert len(predicate(airflow, "nytaxi_aks", "2018-05")["executors"]) == 2
    verify(airflow, "2018-05")
    nothing_is_left(core)


def test_a_killed_worker_and_a_killed_executor_cost_a_try(airflow: LiveAirflow, core) -> None:
    run = airflow.trigger("nytaxi_aks", month="2017-01")
    wait_until(lambda: len(pods(core, "nytaxi_aks", run, "executor")) == 2, "executors are made", 240)
    (driver,) = pods(core, "nytaxi_aks", run, "driver")
    task = int(airflow.tasks("nytaxi_aks", run)[SPARK]["pid"])
    for pid in (parent_of(task), task):
        os.kill(pid, signal.SIGKILL)
    victim = pods(core, "nytaxi_aks", run, "executor")[0].metadata.name
    core.delete_namespaced_pod(victim, NAMESPACE, grace_period_seconds=0)
    assert airflow.wait_for_end("nytaxi_aks", run) == "success"
    assert airflow.tasks("nytaxi_aks", run)[SPARK]["try_number"] == 2
    log = airflow.get(f"dags/nytaxi_aks/dagRuns/{run}/taskInstances/{SPARK}/logs/2")
    assert f"goes on with pod {driver.metadata.name}" in json.dumps(log.body)
    verify(airflow, "2017-01")
    nothing_is_left(core)


def test_a_run_that_is_marked_failed_leaves_nothing(airflow: LiveAirflow, core) -> None:
    run = airflow.trigger("sparkpi_aks", partitions=2)
    wait_until(lambda: pods(core, "sparkpi_aks", run, "driver"), "the driver is made", 240)
    task = f"dags/sparkpi_aks/dagRuns/{run}/taskInstances/{SPARK}"
    assert airflow.patch(task, {"new_state": "failed"}).status == 200
    assert airflow.wait_for_end("sparkpi_aks", run) == "failed"
    nothing_is_left(core)
