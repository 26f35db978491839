"""Scenarios of pods and tasks, on the fake cluster or on a real one.

A real one is taken when both `$KUBECONFIG` and `$KUBERNETES_TEST_IMAGE` (an image with a shell) are set.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from kubernetes.client import models as k8s

from tests.fakes.execution_api import TaskRun
from tests.fakes.kubernetes_api import FakeCluster
from tests.kubernetes.clusters import RealCluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.kubernetes.clusters import Cluster

_REAL = {"KUBECONFIG", "KUBERNETES_TEST_IMAGE"} <= set(os.environ)


@pytest.fixture
def cluster(tmp_path, monkeypatch) -> Iterator[Cluster]:
    """A cluster with a namespace of its own, to which Airflow's connection leads."""
    made: Any = RealCluster() if _REAL else FakeCluster(tmp_path / "cluster")
    with made as cluster:
        # FACTS: with KUBECONFIG beside the connection's own path, a deferred task's trigger refuses both.
        monkeypatch.delenv("KUBECONFIG", raising=False)
        extra = {"kube_config_path": str(cluster.kubeconfig)}
        connection = {"conn_type": "kubernetes", "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_KUBERNETES_DEFAULT", json.dumps(connection))
        yield cluster


@pytest.fixture
def fake(cluster, monkeypatch) -> FakeCluster:
    """The fake cluster, for what no test can make a real one do."""
    if not isinstance(cluster, FakeCluster):
        pytest.skip("only the fake cluster can be made to fail so")
    import tenacity
    from airflow.providers.cncf.kubernetes import kubernetes_helper_functions

    # The provider waits 1, 2, 4, 8 s between its tries of one API call.
    monkeypatch.setattr(kubernetes_helper_functions, "_default_wait", tenacity.wait_fixed(0.2))
    return cluster


@pytest.fixture
def pod_task(cluster, tmp_path) -> Callable[..., TaskRun]:
    """Make a task that runs a shell script in a pod; keywords are KubernetesPodOperator's."""
    from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
    from airflow.sdk import DAG

    def make(script: str, run_id: str = "manual__2018-05", **keywords: Any) -> TaskRun:
        run_pod = KubernetesPodOperator(
            dag=DAG("pods", schedule=None),
            task_id="run_pod",
            name="run-pod",
            namespace=cluster.namespace,
            cmds=["sh", "-c", script],
            **{
                "image": cluster.image,
                "startup_check_interval_seconds": 0.1,
                "poll_interval": 0.1,
                "base_container_status_polling_interval": 0.1,
                "termination_grace_period": 2,
                **keywords,
            },
        )
        return TaskRun(tmp_path / f"{run_id}.json", run_pod, run_id)

    return make


@pytest.fixture
def log(capsys) -> Callable[[], str]:
    """What the tasks of this process have logged so far."""
    read: list[str] = []

    def text() -> str:
        read.append(capsys.readouterr().out)
        return "".join(read)

    return text


@pytest.fixture
def epc() -> Callable[[int], k8s.V1ResourceRequirements]:
    """Make a request for an amount of SGX memory."""
    return lambda amount: k8s.V1ResourceRequirements(limits={"sgx.intel.com/epc": str(amount)})
