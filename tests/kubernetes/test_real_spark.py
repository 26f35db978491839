"""`EnclaveSparkKubernetesOperator` with the real enclave image on a real cluster: what happens to real pods.

What only a fake cluster can be made to do is in `test_spark_operator.py`.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from confidential_spark.core.months import Month
from confidential_spark.enclave import layout
from confidential_spark.jobs.input.manifest import read_manifest
from confidential_spark.jobs.nytaxi import NYTAXI
from confidential_spark.platforms.kubernetes import enclave as kubernetes_enclave
from confidential_spark.platforms.kubernetes.client import pods as kubernetes_pods
from confidential_spark.platforms.kubernetes.names import (
    BLOCK_MANAGER_PORT,
    DRIVER_PORT,
    NAMESPACE,
    RELEASE_PORT,
)
from confidential_spark.platforms.kubernetes.names import EPC_RESOURCE as EPC
from confidential_spark.platforms.kubernetes.pod_specs import PodPlan
from confidential_spark.simulation.trips.month import write_month
from kubernetes import client

from tests.kubernetes.clusters import NOWHERE, wait
from tests.kubernetes.deployment import outage, patched
from tests.kubernetes.spark_task import SparkTask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.kubernetes.deployment import Deployment
    from tests.support.fakes.execution_api import Outcome, TaskRun

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(300)]
MODES = [pytest.param(False, id="sync"), pytest.param(True, id="deferrable")]
MEBIBYTE = 1024 * 1024
# The kernel takes the JVM first: it asks to be taken, and each of the others is small.
EXHAUST_MEMORY = (
    'for each in /proc/[0-9]*; do if [ "$(readlink "$each/exe")" = /opt/jre/bin/java ]; then '
    "echo 1000 > $each/oom_score_adj; fi; done; for i in $(seq 24); do /opt/python/bin/python3 -c "
    "'import time; x = b\"x\" * (90 << 20); time.sleep(60)' & done; sleep 0.1"
)
LISTENING = "awk '$4 == \"0A\"' /proc/net/tcp /proc/net/tcp6"
# Into the container's log, which counts towards the pod's storage on its node.
FLOOD_LOG = "head -c 16000000 /dev/zero | tr '\\0' x | fold -w 200 > /proc/1/fd/1"


@pytest.fixture
def configure(tmp_path, monkeypatch, deploy, launcher_kubeconfig, real_blobs) -> Callable[..., None]:
    """Make the deployment's settings, with Airflow's own account; keywords are fields."""
    monkeypatch.delenv("KUBECONFIG", raising=False)
    extra = {"kube_config_path": str(launcher_kubeconfig)}
    connection = {"conn_type": "kubernetes", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_KUBERNETES_DEFAULT", json.dumps(connection))

    def make(**fields: Any) -> None:
        # One executor, where it is not about executors: each takes seconds to start.
        usual: dict[str, Any] = {
            "aks_policy": "simulation-image",
            "aks_cpu_request": "100m",
            "aks_executors": 1,
            **real_blobs,
        }
        deploy(results_dir=tmp_path / "results", **(usual | fields))

    return make


@pytest.fixture
def spark(deployment: Deployment, measured_image, configure, tmp_path) -> Iterator[SparkTask]:
    configure()
    yield SparkTask(tmp_path, measured_image)
    deployment.require_nothing_left()


@pytest.fixture
def impatient(monkeypatch) -> None:
    """Give a pod that has not started up at once; settings count in minutes."""
    late = lambda state, seconds: bool(state.unschedulable) and state.age > 3  # noqa: E731
    monkeypatch.setattr(kubernetes_pods.PodState, "is_overdue", late)
    monkeypatch.setattr(kubernetes_enclave, "LOOK_SECONDS", 1.0)


@contextmanager
def manifest(deployment: Deployment, kind: str, name: str, change: Callable[[Any], None]) -> Iterator[None]:
    """Change one of the namespace's objects for the time of the block."""
    before = patched(deployment.api, kind, name, change)
    try:
        yield
    finally:
        patched(deployment.api, kind, name, lambda found: restore(found, before))


def restore(found: Any, before: Any) -> None:
    if hasattr(found, "rules"):
        found.rules = before.rules
    else:
        found.spec = before.spec


def once_driving(deployment: Deployment, action: Callable[[str], Any]) -> Future[Any]:
    """Do something to the driver as soon as it runs; a test that asks for the result learns why it failed."""
    future: Future[Any] = Future()

    def work() -> None:
        try:
            future.set_result(action(wait(lambda: deployment.running("driver"), 120)[0]))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return future


def executors_of(run: TaskRun) -> list[dict[str, Any]]:
    """Return the executors that the run's signed statement lists."""
    envelope = json.loads((Path(run.xcoms["return_value"]["staging"]) / "envelope.json").read_text())
    found: list[dict[str, Any]] = json.loads(base64.b64decode(envelope["payload"]))["predicate"]["executors"]
    return found


def ended_with(outcome: Outcome, state: str, *codes: str) -> None:
    named = any(f"[{code}]" in outcome.story for code in codes)
    assert (outcome.state, named) == (state, True), outcome.story


@pytest.mark.parametrize("deferrable", MODES)
def test_two_executors_attest_and_nothing_is_left(spark, configure, log, deferrable) -> None:
    configure(aks_deferrable=deferrable, aks_executors=2)
    run = spark.run()
    assert run.execute_deferrable().state == "success"
    assert len(executors_of(run)) == 2
    assert "ran and signed its results" in log()


def test_driver_and_executors_listen_on_named_ports_only(spark, deployment, real_blobs) -> None:
    spark.params["partitions"] = 1_000

    def look(driver: str) -> dict[str, set[int]]:
        # Tasks are done: so all that Spark opens is open.
        wait(lambda: " tasks" in deployment.log_of(driver), 120)
        pods = {"driver": driver, "executor": deployment.running("executor")[0]}
        return {role: listening_ports(deployment.run_in(pod, LISTENING)) for role, pod in pods.items()}

    looked = once_driving(deployment, look)
    assert spark.run().execute().state == "success"
    # Of Python there are the simulation's attestation service and way to the emulator, and the release.
    simulated = {
        urlsplit(layout.SIMULATED_ATTESTATION_URL).port,
        urlsplit(real_blobs["blob_emulator"]).port,
    }
    assert looked.result(60) == {
        "driver": {DRIVER_PORT, BLOCK_MANAGER_PORT, RELEASE_PORT, *simulated},
        "executor": {BLOCK_MANAGER_PORT, *simulated},
    }


def listening_ports(table: str) -> set[int]:
    """Return the local ports of a table of the kernel's."""
    return {int(row.split()[1].rpartition(":")[2], 16) for row in table.splitlines()}


def test_a_killed_worker_costs_a_try_and_no_second_driver(spark, deployment, log) -> None:
    run = spark.run(max_tries=1)
    worker = run.start_worker()
    (driver,) = wait(lambda: deployment.running("driver"), 120)
    wait(lambda: "enclave" in run.task_state)
    worker.kill()
    run.try_number += 1
    assert run.execute().state == "success"
    assert f"goes on with pod {driver}" in log()


def test_a_killed_triggerer_s_successor_goes_on(spark, configure) -> None:
    configure(aks_deferrable=True)
    run = spark.run()
    deferred = run.execute()
    assert deferred.state == "deferred"
    triggerer = run.start_triggerer(deferred.deferral)
    time.sleep(1)
    triggerer.kill()
    assert run.resume(deferred).state == "success"


def test_a_stopped_task_ends_its_pods(spark, deployment) -> None:
    worker = spark.run().start_worker()
    wait(lambda: deployment.running("executor"), 120)
    assert worker.terminate() != 0


def test_a_lost_executor_is_replaced_by_another_enclave(spark, deployment, configure) -> None:
    configure(aks_executors=2)
    # Long enough for a third executor to come up.
    spark.params["partitions"] = 2_000

    def kill_one(driver: str) -> None:
        wait(lambda: deployment.log_of(driver).count("attested itself") == 2, 120)
        executor = deployment.running("executor")[0]
        deployment.core.delete_namespaced_pod(executor, NAMESPACE, grace_period_seconds=0)

    killed = once_driving(deployment, kill_one)
    run = spark.run()
    assert run.execute().state == "success"
    killed.result(60)
    assert len({executor["id"] for executor in executors_of(run)}) == 3


def exhaust_memory(deployment: Deployment, driver: str) -> None:
    deployment.freeze(driver)
    deployment.run_in(driver, EXHAUST_MEMORY)


def kill_all(deployment: Deployment, driver: str) -> None:
    deployment.freeze(driver)
    deployment.run_in(driver, "kill -9 -1")


def delete(deployment: Deployment, driver: str) -> None:
    deployment.core.delete_namespaced_pod(driver, NAMESPACE)


@pytest.mark.parametrize("deferrable", MODES)
@pytest.mark.parametrize(
    ("harm", "codes", "state"),
    [
        pytest.param(exhaust_memory, ("killed-out-of-memory",), "failed", id="oom"),
        pytest.param(kill_all, ("killed-from-outside",), "up_for_retry", id="kill-9"),
        # The second, where nobody looked while it ended.
        pytest.param(delete, ("terminated", "pod-lost"), "up_for_retry", id="deleted"),
    ],
)
def test_what_happens_to_a_driver_has_a_name(
    spark, deployment, configure, deferrable, harm, codes, state
) -> None:
    configure(aks_deferrable=deferrable)
    once_driving(deployment, lambda driver: harm(deployment, driver))
    ended_with(spark.run(max_tries=1).execute_deferrable(), state, *codes)


def test_a_driver_that_writes_more_than_it_may(spark, deployment) -> None:
    def limit_storage(found: Any) -> None:
        found.spec.limits[0].default["ephemeral-storage"] = "4Mi"

    def flood(driver: str) -> None:
        deployment.freeze(driver)
        deployment.run_in(driver, FLOOD_LOG)

    with manifest(deployment, "limit_range", "containers", limit_storage):
        once_driving(deployment, flood)
        ended_with(spark.run(max_tries=1).execute(), "failed", "pod-storage-limit")


def test_a_deadline_of_the_cluster(spark, deployment, monkeypatch) -> None:
    short = lambda **fields: PodPlan(**{**fields, "deadline_seconds": 12})  # noqa: E731
    monkeypatch.setattr(kubernetes_enclave, "PodPlan", short)
    frozen = once_driving(deployment, deployment.freeze)
    ended_with(spark.run(max_tries=1).execute(), "failed", "deadline-exceeded")
    frozen.result(60)


def test_an_image_that_cannot_be_pulled(spark, measured_image, monkeypatch) -> None:
    monkeypatch.setattr(kubernetes_pods, "IMAGE_PATIENCE_SECONDS", 5.0)
    missing = f"{NOWHERE.removesuffix(':1')}@sha256:{'0' * 64}"
    spark.image = replace(measured_image, reference=missing, digest=missing.rpartition("@")[2])
    ended_with(
        spark.run(max_tries=1).execute(), "up_for_retry", "image-pull-interrupted", "registry-unreachable"
    )


def test_a_node_without_room_for_the_driver(spark, configure, impatient) -> None:
    configure(aks_cpu_request="60")
    ended_with(spark.run(max_tries=1).execute(), "up_for_retry", "pod-unschedulable")


def test_a_used_up_quota(spark, deployment) -> None:
    def nothing_more(found: Any) -> None:
        found.spec.hard["pods"] = "0"

    with manifest(deployment, "resource_quota", "enclaves", nothing_more):
        ended_with(spark.run(max_tries=1).execute(), "up_for_retry", "quota-exceeded")


@pytest.fixture
def epc(deployment: Deployment) -> Iterator[Callable[[int], None]]:
    """Sets the enclave memory of every node; what it was comes back."""
    core = deployment.core
    nodes = {node.metadata.name: node.status.capacity.get(EPC, "0") for node in core.list_node().items}

    def put(node: str, amount: str) -> None:
        patch = {"status": {key: {EPC: amount} for key in ("capacity", "allocatable")}}
        core.patch_node_status(node, patch)

    yield lambda amount: [put(node, str(amount)) for node in nodes] and None
    for node, amount in nodes.items():
        put(node, amount)


def test_no_enclave_memory(spark, configure, impatient, epc) -> None:
    configure(aks_epc="64MB")
    epc(32 * MEBIBYTE)
    ended_with(spark.run(max_tries=1).execute(), "up_for_retry", "enclave-capacity-missing")


def test_two_runs_share_the_enclave_memory_of_a_node(spark, configure, epc) -> None:
    configure(aks_epc="64MB", aks_executors=1)
    # One whole run and the other's driver: the other waits for its executor.
    epc(3 * 64 * MEBIBYTE)
    workers = [spark.run(run_id=f"manual__2018-0{month}").start_worker() for month in (5, 6)]
    assert [worker.wait() for worker in workers] == [0, 0]


@pytest.mark.parametrize(
    ("resource", "verb"),
    [
        pytest.param("pods/log", "get", id="read-logs"),
        pytest.param("secrets", "create", id="create-secrets"),
    ],
)
def test_a_missing_right_of_airflow_s_account(spark, deployment, resource, verb) -> None:
    def withdraw(found: Any) -> None:
        found.rules = [
            client.V1PolicyRule(api_groups=rule.api_groups, resources=rule.resources, verbs=["list"])
            if resource in rule.resources
            else rule
            for rule in found.rules
        ]

    with manifest(deployment, "role", "airflow-launcher", withdraw):
        ended_with(spark.run(max_tries=1).execute(), "failed", "pod-forbidden")


def test_a_missing_right_of_the_driver_s_account(spark, deployment, configure, impatient) -> None:
    # So long may a driver be without executors; Spark itself asks for them for ever.
    configure(aks_start_minutes=1)

    def withdraw(found: Any) -> None:
        found.rules[0].verbs.remove("create")

    with manifest(deployment, "role", "spark-driver", withdraw):
        ended_with(spark.run(max_tries=1).execute(), "failed", "pod-forbidden")


@pytest.mark.parametrize("deferrable", MODES)
def test_an_api_server_that_is_away_for_half_a_minute(
    spark, deployment, own_cluster, configure, deferrable
) -> None:
    configure(aks_deferrable=deferrable, aks_executors=2)

    # Spark itself needs the API until it has its executors.
    spark.params["partitions"] = 1_000

    def disturb(driver: str) -> None:
        wait(lambda: deployment.log_of(driver).count("attested itself") == 2, 120)
        outage(deployment, own_cluster, 30)

    disturbed = once_driving(deployment, disturb)
    assert spark.run().execute_deferrable().state == "success"
    disturbed.result(150)


def test_an_api_server_that_is_away_when_spark_starts(spark, deployment, own_cluster) -> None:
    disturbed = once_driving(deployment, lambda _driver: outage(deployment, own_cluster, 60))
    ended_with(spark.run(max_tries=1).execute(), "up_for_retry", "driver-without-api")
    disturbed.result(150)


def test_an_executor_of_another_image_gets_nothing_and_fails_the_run(
    spark, deployment, foreign_image, log
) -> None:
    # Long enough for the intruder to come up, whatever else the machine does.
    spark.params["partitions"] = 1_000

    def intrude(driver: str) -> None:
        pod = deployment.core.read_namespaced_pod(driver, NAMESPACE)
        deployment.core.create_namespaced_pod(NAMESPACE, intruder(deployment, pod, foreign_image))

    intruded = once_driving(deployment, intrude)
    outcome = spark.run(max_tries=2).execute()
    intruded.result(60)
    ended_with(outcome, "failed", "peer-measurement")
    assert "docs/runbooks/kubernetes.md#peer-measurement" in log()


@pytest.mark.parametrize(
    "harm",
    [
        pytest.param(lambda blob: blob.upload_blob(b"other", overwrite=True), id="replaced"),
        # By its condition: nothing that is there has the version that was listed.
        pytest.param(lambda blob: blob.delete_blob(), id="gone"),
    ],
)
def test_a_month_that_changes_before_executors_download_it_fails_the_run_and_not_the_next(
    spark, deployment, own_nodes, real_container, tmp_path, harm
) -> None:
    month, contract = Month(2018, 5), NYTAXI.rules().input
    write_month(month, 1_000, tmp_path / "trips")
    spark.job = "nytaxi"
    spark.manifest = read_manifest((tmp_path / "trips").as_uri(), month, contract).summary()
    below = f"/inputs/{spark.manifest['files_sha256']}/"

    def tamper(driver: str) -> None:
        with cordoned(deployment):
            # The driver's enclave has its copy then; no executor gets onto a node before the block ends.
            wait(lambda: "starting Spark" in deployment.log_of(driver), 120)
            for name in [each for each in real_container.list_blob_names() if below in each]:
                harm(real_container.get_blob_client(name))

    tampered = once_driving(deployment, tamper)
    ended_with(spark.run(max_tries=1).execute(), "failed", "storage-blob-changed")
    tampered.result(60)
    assert spark.run("manual__again", max_tries=1).execute().state == "success"


@contextmanager
def cordoned(deployment: Deployment) -> Iterator[None]:
    """Let no further pod onto the cluster's nodes."""
    nodes = [node.metadata.name for node in deployment.core.list_node().items]
    try:
        for node in nodes:
            deployment.core.patch_node(node, {"spec": {"unschedulable": True}})
        yield
    finally:
        for node in nodes:
            deployment.core.patch_node(node, {"spec": {"unschedulable": False}})


def intruder(deployment: Deployment, driver: client.V1Pod, image: str) -> dict[str, Any]:
    """Return an executor of this run, as Spark would make it, of another image."""
    name = driver.metadata.name.removesuffix("-driver")
    secret = deployment.core.read_namespaced_secret(f"{name}-launch", NAMESPACE)
    pod: dict[str, Any] = json.loads(base64.b64decode(secret.data["executor-pod.yaml"]))
    (container,) = pod["spec"]["containers"]
    told = {
        "SPARK_APPLICATION_ID": "spark-intruder",
        "SPARK_EXECUTOR_CORES": "1",
        "SPARK_DRIVER_URL": f"spark://CoarseGrainedScheduler@{driver.status.pod_ip}:7078",
        "SPARK_EXECUTOR_ID": "99",
        "SPARK_EXECUTOR_MEMORY": "512m",
        "SPARK_EXECUTOR_POD_NAME": f"{name}-intruder",
        "SPARK_RESOURCE_PROFILE_ID": "0",
    }
    container["env"] += [{"name": key, "value": value} for key, value in told.items()]
    container |= {
        "image": image,
        "args": ["executor"],
        "resources": {"limits": {"memory": "1Gi", "cpu": "1"}, "requests": {"cpu": "100m"}},
    }
    pod["metadata"] |= {"name": f"{name}-intruder"}
    pod["metadata"]["labels"]["spark-role"] = "executor"
    return pod
