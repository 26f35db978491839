"""The other tasks of `aks` that start pods: measuring an image, attesting a platform, cleaning a run."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from confidential_spark.agent.protocol import b64url
from confidential_spark.core.errors import EnclaveError, ResultError
from confidential_spark.core.platforms import Platform
from confidential_spark.hooks.deployment import deployment_id
from confidential_spark.jobs.sparkpi import SPARKPI
from confidential_spark.operators import resumable
from confidential_spark.operators.base import RunScope
from confidential_spark.operators.publish import CleanStagingOperator
from confidential_spark.platforms.kubernetes.enclave import pod_owner
from confidential_spark.platforms.kubernetes.operators import (
    AttestKubernetesPlatformOperator,
    CleanKubernetesRunOperator,
    ResolveKubernetesImageOperator,
)
from confidential_spark.settings import get_settings

from tests.kubernetes.spark_task import IMAGE, PARAMS, REFERENCE, STUB, install
from tests.support.fakes.kubernetes_api.images import Image

if TYPE_CHECKING:
    from tests.support.fakes.kubernetes_api import FakeCluster

IDENTITY = {
    "mrenclave": "22" * 32,
    "mrsigner": "33" * 32,
    "product_id": 1,
    "svn": 1,
    "debuggable": False,
    "trust": "simulated",
}
SCOPE = RunScope("sparkpi_aks", "manual__1", 1, None, PARAMS)
TI = SimpleNamespace(
    dag_id="sparkpi_aks",
    run_id="manual__1",
    task_id="task",
    try_number=1,
    map_index=-1,
    xcom_push=lambda **_: None,
    # Of the runs that these tests make, Airflow knows no other to be at work.
    get_dr_count=lambda *, run_ids, **_: int(run_ids == ["manual__9"]),
)
CONTEXT: Any = {"ti": TI, "task_state_store": {}}


@pytest.fixture
def installed(fake, tmp_path, deploy, blobs) -> FakeCluster:
    install(fake)
    deploy(
        results_dir=tmp_path / "results",
        aks_policy="simulation-image",
        aks_image=REFERENCE,
        aks_start_minutes=1,
        **blobs,
    )
    publish(fake, json.dumps(IDENTITY))
    return fake


def publish(fake: FakeCluster, identity: str) -> None:
    fake.add_image(
        REFERENCE,
        Image(entrypoint=("bash", str(STUB)), environment={"IDENTITY": identity, "AGENT": sys.executable}),
    )


def resolver() -> ResolveKubernetesImageOperator:
    return ResolveKubernetesImageOperator(task_id="resolve_image", job=SPARKPI, platform=Platform.AKS)


def test_an_image_is_measured_on_the_cluster(installed) -> None:
    image = resolver().pinned_image(CONTEXT)
    assert image is not None
    assert {name: getattr(image, name) for name in IDENTITY} == IDENTITY
    assert (image.reference, image.digest) == (REFERENCE, REFERENCE.partition("@")[2])
    installed.wait(lambda: not installed.pods())


@pytest.mark.parametrize("printed", ["", "no JSON", "{}", json.dumps({**IDENTITY, "svn": "1"})])
def test_an_image_that_does_not_say_who_it_is_is_refused(installed, printed) -> None:
    publish(installed, printed)
    with pytest.raises(EnclaveError) as refused:
        resolver().pinned_image(CONTEXT)
    assert refused.value.code == "measurement-unreadable"
    installed.wait(lambda: not installed.pods())


def test_what_the_enclave_attested_is_fetched_and_its_pod_removed(installed) -> None:
    nonce = {"nonce": b64url(bytes(32)), "minted_at": "2026-11-23T00:00:00+00:00"}
    task = AttestKubernetesPlatformOperator(
        task_id="attest_platform", job=SPARKPI, platform=Platform.AKS, image=IMAGE.to_xcom(), nonce=nonce
    )
    launch = task.collect(CONTEXT, SCOPE, SimpleNamespace())  # type: ignore[arg-type] # not asked in simulation
    # The stub writes its launch file where the agent writes its attestation.
    assert launch["nonce"] == b64url(task.nonce_of(1))
    assert launch["run_id"] == SCOPE.run_id
    installed.wait(lambda: not installed.pods())


def replace_run(run: str) -> SimpleNamespace:
    return SimpleNamespace(**(vars(TI) | {"run_id": run}))


def leave_pod(
    installed: FakeCluster, name: str, run: str, *command: str, deployment: str = "elsewhere"
) -> None:
    """Make a pod of a run whose worker is gone."""
    container = {
        "name": "enclave",
        "image": REFERENCE,
        "args": ["wait"],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        **({"command": list(command)} if command else {}),
    }
    security = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    owner = pod_owner(replace_run(run), name, deployment)
    pod = {
        "metadata": {"name": name, "labels": owner.labels, "annotations": owner.annotations},
        "spec": {"containers": [container], "securityContext": security, "restartPolicy": "Never"},
    }
    installed.core().create_namespaced_pod(installed.namespace, pod)


def kept(installed: FakeCluster) -> set[str]:
    """Return the pods that nobody asked to delete; the others are gone once the kubelet has ended them."""
    metadata = [pod["metadata"] for pod in installed.pods()]
    return {each["name"] for each in metadata if "deletionTimestamp" not in each}


def clean() -> None:
    CleanKubernetesRunOperator(task_id="clean_staging", job=SPARKPI).run(CONTEXT, SCOPE)


def test_the_teardown_removes_pods_of_runs_whose_teardown_never_came(installed, monkeypatch) -> None:
    leave_pod(installed, "long-over", "manual__8", "true")
    leave_pod(installed, "at-work", "manual__9")
    installed.wait(lambda: {pod["status"]["phase"] for pod in installed.pods()} == {"Succeeded", "Running"})
    monkeypatch.setattr(resumable, "ABANDONED_SECONDS", -1.0)
    clean()
    assert kept(installed) == {"at-work"}
    installed.wait(lambda: len(installed.pods()) == 1)


def test_the_teardown_removes_pods_of_runs_that_airflow_will_not_continue(installed) -> None:
    ours = deployment_id(get_settings().results_dir)
    leave_pod(installed, "killed", "manual__8", deployment=ours)
    leave_pod(installed, "to-be-continued", "manual__9", deployment=ours)
    leave_pod(installed, "another-deployment-s", "manual__8")
    clean()
    assert kept(installed) == {"to-be-continued", "another-deployment-s"}
    installed.wait(lambda: len(installed.pods()) == 2)


def test_an_airflow_that_does_not_say_what_is_over_fails_no_teardown(installed, monkeypatch) -> None:
    def away(**_: Any) -> None:
        raise RuntimeError("API_SERVER_ERROR: 503")

    monkeypatch.setattr(TI, "get_dr_count", away)
    leave_pod(installed, "killed", "manual__8", deployment=deployment_id(get_settings().results_dir))
    clean()
    assert kept(installed) == {"killed"}


def test_the_teardown_removes_pods_even_where_the_try_s_files_are_in_use(installed, monkeypatch) -> None:
    def in_use(*_: Any) -> None:
        raise ResultError("somebody has it", code="try-in-use", retryable=True)

    monkeypatch.setattr(CleanStagingOperator, "run", in_use)
    leave_pod(installed, "left-behind", "manual__1")
    with pytest.raises(ResultError):
        clean()
    installed.wait(lambda: not installed.pods())


def test_the_teardown_removes_the_runs_pods_and_no_other_runs(installed) -> None:
    for name, run in (("left-behind", "manual__1"), ("at-work", "manual__2")):
        leave_pod(installed, name, run)
    clean()
    assert kept(installed) == {"at-work"}
    installed.wait(lambda: len(installed.pods()) == 1)
