"""`EnclaveSparkKubernetesOperator` through everything that happens to tasks, pods and clusters."""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import threading
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from confidential_spark.hooks.blob import work
from confidential_spark.platforms.kubernetes import enclave as kubernetes_enclave
from confidential_spark.platforms.kubernetes import trigger as kubernetes_trigger
from confidential_spark.platforms.kubernetes.client import cluster as kubernetes_cluster
from confidential_spark.platforms.kubernetes.client import pods as kubernetes_pods
from confidential_spark.platforms.kubernetes.pod_specs import PodPlan

from tests.kubernetes.clusters import wait
from tests.kubernetes.spark_task import FakeSparkTask, install
from tests.support.fakes.kubernetes_api import Fault

if TYPE_CHECKING:
    from collections.abc import Callable

MODES = [pytest.param(False, id="sync"), pytest.param(True, id="deferrable")]
SHORTER = (
    (kubernetes_cluster, "API_PAUSE_SECONDS", 0.1),
    (kubernetes_enclave, "LONGEST_PAUSE_SECONDS", 0.2),
    (kubernetes_enclave, "LOOK_SECONDS", 0.3),
    (kubernetes_enclave, "GONE_SECONDS", 10.0),
    (kubernetes_enclave, "SETTLE_SECONDS", 1.0),
    (kubernetes_enclave, "LOST_PATIENCE_SECONDS", 1.0),
    (kubernetes_pods, "IMAGE_PATIENCE_SECONDS", 1.0),
    (kubernetes_trigger, "POLL_SECONDS", 0.1),
)


STARTING = 'pods "p" is forbidden: not yet ready to handle request'
NO_WEBHOOK = 'Internal error occurred: failed calling webhook "v.example": failed to call webhook'


@pytest.fixture
def configure(tmp_path, monkeypatch, deploy, blobs) -> Callable[..., None]:
    """Make the deployment's settings; keywords are fields."""

    def make(**fields: Any) -> None:
        deploy(results_dir=tmp_path / "results", aks_policy="simulation-image", **blobs | fields)

    # A worker that a failing test leaves behind must not wait for a cluster that is gone.
    monkeypatch.setitem(kubernetes_enclave.connect.__kwdefaults__, "patience", 30.0)
    for module, name, value in SHORTER:
        monkeypatch.setattr(module, name, value)
    return make


@pytest.fixture
def spark(fake, configure, tmp_path) -> FakeSparkTask:
    install(fake)
    configure()
    task = FakeSparkTask(tmp_path, fake=fake)
    task.behave()
    return task


def start(spark: FakeSparkTask, **keywords: Any) -> tuple[Any, Any, str]:
    """Start a worker and return it, its run and its driver, which waits."""
    spark.behave("wait")
    run = spark.run(**keywords)
    worker = run.start_worker()
    return run, worker, wait(spark.driver)


def once_driving(spark: FakeSparkTask, action: Callable[[str], None]) -> threading.Thread:
    thread = threading.Thread(target=lambda: action(wait(spark.driver)), daemon=True)
    thread.start()
    return thread


def results(run: Any) -> dict[str, str]:
    staging = Path(run.xcoms["return_value"]["staging"])
    return {path.name: path.read_text() for path in staging.iterdir()}


@pytest.mark.parametrize("deferrable", MODES)
def test_a_run_brings_its_results_and_leaves_nothing(spark, configure, log, deferrable) -> None:
    configure(aks_deferrable=deferrable)
    run = spark.run()
    assert run.execute_deferrable().state == "success"
    assert set(results(run)) == {"envelope.json", "input.txt", "launch.json"}
    assert "results signed" in log()
    assert spark.left() == []


def test_the_rights_to_blobs_are_in_the_driver_s_launch_file_alone(spark, storage, tmp_path) -> None:
    container = storage.client().create_container("nyctlc")
    etag = container.upload_blob("yellow/part 0.parquet", b"trips").get_blob_properties().etag
    blob = {"name": "part 0.parquet", "bytes": 5, "etag": etag.strip('"')}
    manifest = {"uri": f"{storage.endpoint}/nyctlc/yellow", "bytes": 5, "blobs": [blob]}
    spark.job, spark.manifest = "nytaxi", manifest
    run, worker, driver = start(spark)
    core, namespace = spark.fake.core(), spark.fake.namespace
    (secret,) = wait(lambda: core.list_namespaced_secret(namespace).items)
    files = {name: base64.b64decode(content).decode() for name, content in secret.data.items()}
    launch, executors = json.loads(files["launch.json"]), files["executor-pod.yaml"]
    assert (launch["input"], launch["input_files"][0]["etag"]) == (manifest["uri"], blob["etag"])
    assert "sr=b" in launch["input_files"][0]["sas"]
    # Executors ask the driver's enclave, for the address too.
    elsewhere = executors + json.dumps(spark.fake.pods()) + str(core.list_namespaced_config_map(namespace))
    assert not [part for part in ("sig=", storage.endpoint, blob["etag"]) if part in elsewhere]
    spark.let_go(driver)
    assert worker.wait() == 0
    digest = hashlib.sha256(b"trips").hexdigest()
    assert results(run)["input.txt"].split(maxsplit=1) == [digest, "input/part 0.parquet\n"]


def test_no_secret_is_in_what_the_cluster_stores(spark) -> None:
    _, worker, driver = start(spark)
    (secret,) = spark.fake.core().list_namespaced_secret(spark.fake.namespace).items
    assert [owner.name for owner in secret.metadata.owner_references] == [driver]
    assert "spark.authenticate.secret" not in str(secret) + str(spark.fake.pods())
    spark.let_go(driver)
    assert worker.wait() == 0


@pytest.mark.parametrize("ends_meanwhile", [False, True], ids=["running", "ended"])
def test_a_killed_worker_costs_a_try_and_no_second_driver(spark, log, ends_meanwhile) -> None:
    run, worker, driver = start(spark)
    wait(lambda: "enclave" in run.task_state)
    worker.kill()
    if ends_meanwhile:
        spark.let_go(driver)
        wait(lambda: spark.driver() is None)
    else:
        once_driving(spark, spark.let_go)
    run.try_number += 1
    assert run.execute().state == "success"
    assert f"goes on with pod {driver}" in log()
    assert run.xcoms["return_value"]["nonce"] == json.loads(results(run)["launch.json"])["nonce"]
    assert spark.left() == []


def test_a_cleared_task_starts_afresh(spark) -> None:
    run, worker, before = start(spark)
    worker.kill()
    run.try_number, run.max_tries = 2, 1
    once_driving(spark, lambda name: None)
    spark.behave()
    assert run.execute().state == "success"
    assert before not in spark.pods()
    assert spark.left() == []


def test_a_stopped_task_ends_its_pods(spark) -> None:
    _, worker, _ = start(spark)
    assert worker.terminate() != 0
    wait(lambda: not spark.left())


def test_a_user_ends_a_deferred_task(spark, configure) -> None:
    import asyncio

    spark.behave("wait")
    configure(aks_deferrable=True)
    outcome = spark.run().execute()
    assert outcome.state == "deferred"
    trigger = kubernetes_trigger.EnclavePodTrigger(**outcome.deferral.trigger_kwargs)
    asyncio.run(trigger.on_kill())
    wait(lambda: not spark.left())


@pytest.mark.parametrize("deferrable", MODES)
def test_what_happens_to_a_driver_has_a_name(spark, configure, deferrable) -> None:
    """Whatever else happens to drivers, happens to real ones: `test_real_spark.py`."""
    spark.behave("wait")
    configure(aks_deferrable=deferrable)
    once_driving(spark, spark.fake.evict)
    outcome = spark.run(max_tries=1).execute_deferrable()
    assert outcome.state == "up_for_retry"
    assert "[pod-evicted]" in outcome.story
    wait(lambda: not spark.left())


@pytest.mark.parametrize("deferrable", MODES)
def test_an_api_that_is_away_costs_nothing(spark, configure, deferrable) -> None:
    spark.behave("wait")
    configure(aks_deferrable=deferrable)

    def disturb(driver: str) -> None:
        spark.fake.go_away(1.5)
        spark.let_go(driver)

    once_driving(spark, disturb)
    run = spark.run()
    assert run.execute_deferrable().state == "success"
    assert spark.left() == []


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault("create", "pods", 503, times=2), id="create-503"),
        pytest.param(Fault("create", "secrets", 500, times=2), id="secret-500"),
        pytest.param(Fault("create", "pods", 409, times=2), id="quota-conflict"),
        pytest.param(Fault("create", "secrets", 409, times=2), id="secret-conflict"),
        pytest.param(Fault("create", "pods", 403, times=2, message=STARTING), id="starting-server"),
        pytest.param(Fault("create", "pods", 500, times=2, message=NO_WEBHOOK), id="webhook"),
        pytest.param(Fault("get", "pods/log", 401, times=1), id="log-401"),
        pytest.param(Fault("get", "pods", 429, times=3), id="get-429"),
        pytest.param(Fault("get", "pods/log", 503, times=2), id="log-503"),
        pytest.param(Fault("delete", "pods", 504, times=2), id="delete-504"),
        pytest.param(Fault("*", "*", delay=0.05, times=None), id="slow-answers"),
    ],
)
def test_passing_faults_of_the_api_are_overcome(spark, fault) -> None:
    spark.fake.inject(fault)
    run = spark.run()
    assert run.execute().state == "success"
    assert spark.left() == []


@pytest.mark.parametrize(
    ("verb", "resource"),
    [
        pytest.param("create", "pods", id="create-pods"),
        pytest.param("create", "secrets", id="create-secrets"),
        pytest.param("get", "pods/log", id="read-logs"),
    ],
)
def test_a_missing_right_is_named(spark, verb, resource) -> None:
    spark.fake.deny(verb, resource)
    outcome = spark.run(max_tries=1).execute()
    assert outcome.state == "failed"
    assert "[pod-forbidden]" in outcome.story
    spark.fake.heal()
    wait(lambda: not spark.left())


def test_an_executor_that_outgrows_its_enclave_is_refused_before_anything_is_made(spark, configure) -> None:
    configure(aks_executor_memory="14g")
    outcome = spark.run(max_tries=1).execute()
    assert outcome.state == "failed"
    assert "[enclave-memory-too-small]" in outcome.story
    assert spark.left() == []


def test_a_month_that_outgrows_its_pods_is_refused_before_anything_is_made(spark, tmp_path) -> None:
    spark.job, spark.manifest = "nytaxi", {"uri": tmp_path.as_uri(), "bytes": 600 * 2**20}
    outcome = spark.run(max_tries=1).execute()
    assert outcome.state == "failed"
    assert "[memory-too-small]" in outcome.story
    assert "of which the input takes 600m" in outcome.story
    assert spark.left() == []


def test_this_machine_s_full_disk_is_no_silence_of_the_api(spark, monkeypatch) -> None:
    def full(chunks: Any, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(target))

    monkeypatch.setattr(work, "unpack_results", full)
    outcome = spark.run(max_tries=1).execute()
    assert "[disk-full]" in outcome.story
    wait(lambda: not spark.left())


@pytest.mark.parametrize("name", ["save_log_position", "StoredTry.forget"])
def test_airflow_that_is_away_for_a_moment_costs_no_run(spark, monkeypatch, name) -> None:
    def away(*_: Any) -> None:
        raise RuntimeError("API_SERVER_ERROR: 503")

    monkeypatch.setattr(f"confidential_spark.operators.resumable.{name}", away)
    assert spark.run(max_tries=1).execute().state == "success"


def test_a_deferred_run_ends_with_the_task_s_own_limit(spark, configure) -> None:
    spark.behave("wait")
    configure(aks_deferrable=True)
    run = spark.run()
    run.operator.execution_timeout = timedelta(seconds=6)
    outcome = run.execute_deferrable()
    assert outcome.state == "failed"
    assert "has taken more than 0:00:06" in outcome.story
    wait(lambda: not spark.left())


def test_a_worker_killed_on_the_way_to_the_driver_is_followed_by_one_that_goes_on(spark) -> None:
    spark.fake.inject(Fault("*", "secrets", delay=4.0, times=1))
    run = spark.run()
    worker = run.start_worker()
    wait(lambda: spark.pods("driver"))
    worker.kill()
    spark.fake.heal()
    run.try_number += 1
    assert run.execute().state == "success"
    wait(lambda: not spark.left())


def test_a_quota_that_is_used_up(spark) -> None:
    spark.fake.set_quota(pods="0")
    outcome = spark.run(max_tries=1).execute()
    assert outcome.state == "up_for_retry"
    assert "[quota-exceeded]" in outcome.story
    wait(lambda: not spark.left())


def test_a_deadline_of_the_cluster(spark, configure, monkeypatch) -> None:
    spark.behave("wait")
    # Settings count in minutes.
    short = lambda **fields: PodPlan(**{**fields, "deadline_seconds": 2})  # noqa: E731
    monkeypatch.setattr(kubernetes_enclave, "PodPlan", short)
    outcome = spark.run(max_tries=1).execute()
    assert outcome.state == "failed"
    assert "[deadline-exceeded]" in outcome.story
    wait(lambda: not spark.left())
