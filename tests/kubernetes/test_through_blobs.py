"""`aks` through blobs alone, without volume and `exec`: tasks, pods of a fake cluster, and Azurite."""
# ruff: noqa: F811

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from types import SimpleNamespace
from urllib.parse import unquote

import pytest
from confidential_spark.agent.protocol import b64url
from confidential_spark.core.check_rows import Status
from confidential_spark.core.errors import ConfigurationError, InputError, ResultError
from confidential_spark.core.months import Month
from confidential_spark.core.platforms import Platform
from confidential_spark.hooks.blob.work import WorkFolder
from confidential_spark.hooks.results.blob_folder import BlobFolder
from confidential_spark.jobs.input.manifest import read_manifest
from confidential_spark.jobs.nytaxi import NYTAXI
from confidential_spark.jobs.sparkpi import SPARKPI
from confidential_spark.platforms.kubernetes.check.task import work_row
from confidential_spark.platforms.kubernetes.operators import (
    AttestKubernetesPlatformOperator,
    CleanKubernetesRunOperator,
)
from confidential_spark.platforms.kubernetes.settings import kubernetes_settings
from confidential_spark.simulation.trips.month import write_month

from tests.kubernetes.clusters import wait
from tests.kubernetes.equipped import WORK_CONTAINER
from tests.kubernetes.spark_task import IMAGE, install
from tests.kubernetes.test_pod_tasks import CONTEXT, SCOPE
from tests.kubernetes.test_spark_operator import configure, once_driving, results, spark, start  # noqa: F401
from tests.support.azure.azurite import KEY

MAY = Month(2018, 5)
MODES = [pytest.param(False, id="sync"), pytest.param(True, id="deferrable")]
CLOSED = "http://127.0.0.1:9/devstoreaccount1/work"


@pytest.fixture
def address(configure, blobs):
    """Where blobs go, in a deployment that says so."""
    configure()
    return blobs["aks_work"]


@pytest.fixture
def uploaded(storage, blobs):
    """Return the client of a blob, by its name below the test's address."""
    container = storage.client().get_container_client(WORK_CONTAINER)
    prefix = blobs["aks_work"].rpartition("/")[2]
    return lambda name: container.get_blob_client(f"{prefix}/{name}")


def a_month(folder, rows=1000):
    """Write May 2018 and return what `resolve_input` says of it."""
    contract = NYTAXI.rules().input
    write_month(MAY, rows, folder, contract=contract)
    return read_manifest(folder.as_uri(), MAY, contract).summary()


def stored(address, manifest):
    """Return the address of the uploaded month and the records of its files."""
    return WorkFolder(address).stored_input(manifest, MAY, NYTAXI.rules().input, timedelta(hours=1))


@pytest.mark.parametrize("deferrable", MODES)
def test_results_come_by_a_blob(spark, configure, blob_names, log, deferrable):
    configure(aks_deferrable=deferrable)
    run = spark.run()
    assert run.execute_deferrable().state == "success"
    assert set(results(run)) == {"envelope.json", "input.txt", "launch.json"}
    assert "results signed" in log()
    assert spark.left() == []
    (blob,) = blob_names()
    assert blob.startswith("tries/sparkpi_aks/manual__2018-05/sparkpi-")


def test_no_pod_has_a_volume_of_the_cluster(spark):
    _, worker, driver = start(spark)
    pods = json.dumps(spark.fake.pods())
    assert "persistentVolumeClaim" not in pods
    assert spark.pods("transfer") == []
    assert not [part for part in ("sig=", KEY) if part in pods]
    spark.let_go(driver)
    assert worker.wait() == 0


def test_the_right_is_to_create_one_blob_and_nothing_else(spark):
    run = spark.run()
    assert run.execute().state == "success"
    blob = json.loads(results(run)["launch.json"])["results_blob"]
    fields = dict(part.split("=", 1) for part in blob["sas"].split("&"))
    assert (fields["sr"], fields["sp"]) == ("b", "cw")
    assert unquote(fields["se"]) > unquote(fields["st"])
    assert "sig=" not in results(run)["input.txt"]


def test_a_month_of_files_is_uploaded_once_and_read_by_its_digest(
    spark, storage, address, blob_names, monkeypatch, tmp_path
):
    manifest = a_month(tmp_path / "inputs")
    spark.job, spark.manifest = "nytaxi", manifest
    run = spark.run()
    assert run.execute().state == "success"
    launch = json.loads(results(run)["launch.json"])
    assert launch["input"].endswith(f"/inputs/{manifest['files_sha256']}")
    (file,) = (tmp_path / "inputs").rglob("*.parquet")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert results(run)["input.txt"].split() == [digest, f"input/{file.name}"]
    uploaded = [name for name in blob_names() if name.startswith("inputs/")]
    assert uploaded == [f"inputs/{manifest['files_sha256']}/{file.name}"]

    def never(*_):
        raise AssertionError("uploaded again")

    monkeypatch.setattr(WorkFolder, "_upload", never)
    assert spark.run("manual__again").execute().state == "success"


@pytest.mark.parametrize(
    "harm",
    [
        pytest.param(lambda blob, size: blob.upload_blob(b"short", overwrite=True), id="of-another-size"),
        pytest.param(lambda blob, size: blob.upload_blob(bytes(size), overwrite=True), id="of-the-same-size"),
        pytest.param(
            lambda blob, size: blob.upload_blob(b"", metadata={"sha256": "0"}, overwrite=True),
            id="with-our-metadata",
        ),
        pytest.param(lambda blob, size: blob.delete_blob(), id="gone"),
    ],
)
def test_an_uploaded_file_that_was_replaced_is_uploaded_again(address, uploaded, tmp_path, harm):
    manifest = a_month(tmp_path / "inputs")
    url, (first,) = stored(address, manifest)
    blob = uploaded(f"inputs/{manifest['files_sha256']}/{first['name']}")
    content = blob.download_blob().readall()
    harm(blob, len(content))
    assert stored(address, manifest)[0] == url
    assert blob.download_blob().readall() == content


def test_a_stored_file_keeps_its_version_and_what_somebody_put_beside_it_is_not_read(
    address, uploaded, tmp_path
):
    manifest = a_month(tmp_path / "inputs")
    _, (first,) = stored(address, manifest)
    uploaded(f"inputs/{manifest['files_sha256']}/other.parquet").upload_blob(b"of somebody else")
    _, (again,) = stored(address, manifest)
    assert (again["name"], again["etag"]) == (first["name"], first["etag"])


def test_a_month_that_another_program_keeps_deleting_is_refused(address, uploaded, monkeypatch, tmp_path):
    manifest = a_month(tmp_path / "inputs")
    write = BlobFolder.write

    def deleted(folder, name, *args, **kwargs):
        write(folder, name, *args, **kwargs)
        return uploaded(name).delete_blob()

    monkeypatch.setattr(BlobFolder, "write", deleted)
    with pytest.raises(InputError, match="storage-blob-changed"):
        stored(address, manifest)


def test_a_month_that_is_gone_is_refused(address, tmp_path):
    manifest = a_month(tmp_path / "inputs")
    for file in (tmp_path / "inputs").rglob("*.parquet"):
        file.unlink()
    with pytest.raises(InputError, match="input-changed"):
        stored(address, manifest)


def test_a_month_that_changed_is_not_uploaded(address, blob_names, tmp_path):
    manifest = a_month(tmp_path / "inputs")
    a_month(tmp_path / "others", 2000)
    (file,), (other,) = (list((tmp_path / name).rglob("*.parquet")) for name in ("inputs", "others"))
    file.write_bytes(other.read_bytes())
    with pytest.raises(InputError, match="input-changed"):
        stored(address, manifest)
    assert blob_names() == []


def test_a_worker_that_dies_is_followed_by_one_that_fetches(spark):
    run, worker, _ = start(spark)
    worker.kill()
    once_driving(spark, spark.let_go)
    run.try_number += 1
    assert run.execute().state == "success"
    assert set(results(run)) == {"envelope.json", "input.txt", "launch.json"}


def test_an_account_that_is_away_when_results_are_fetched_costs_a_try_and_no_run(spark, monkeypatch, log):
    def away(*_):
        raise ResultError("The storage did not answer.", code="results-unreachable", retryable=True)

    run = spark.run(max_tries=1)
    with monkeypatch.context() as patch:
        patch.setattr(WorkFolder, "fetch", away)
        assert run.execute().state == "up_for_retry"
    (driver,) = spark.pods("driver")
    run.try_number += 1
    assert run.execute().state == "success"
    assert f"goes on with pod {driver}" in log()
    assert set(results(run)) == {"envelope.json", "input.txt", "launch.json"}
    assert spark.left() == []


def test_results_that_somebody_deleted_are_missed_by_name(spark, monkeypatch):
    spark.blobs = ""
    spark.behave()
    outcome = spark.run(max_tries=1).execute()
    assert outcome.state == "failed"
    assert "[results-missing]" in outcome.story
    assert spark.left() == []


def test_an_attestation_comes_by_a_blob_and_the_run_s_end_removes_it(spark, fake, blob_names):
    nonce = {"nonce": b64url(bytes(32)), "minted_at": "2026-11-23T00:00:00+00:00"}
    task = AttestKubernetesPlatformOperator(
        task_id="attest_platform", job=SPARKPI, platform=Platform.AKS, image=IMAGE.to_xcom(), nonce=nonce
    )
    launch = task.collect(CONTEXT, SCOPE, SimpleNamespace())
    assert launch["nonce"] == b64url(task.nonce_of(1))
    assert len(blob_names()) == 1
    clean = CleanKubernetesRunOperator(task_id="clean", job=SPARKPI)
    clean.run(CONTEXT, SCOPE)
    assert blob_names() == []
    # Its launch file goes with its pod.
    wait(lambda: not fake.core().list_namespaced_secret(fake.namespace).items)


def test_a_run_s_end_does_not_depend_on_the_account(configure, fake, log):
    install(fake)
    configure(blob_emulator="http://127.0.0.1:9/devstoreaccount1", aks_work=CLOSED)
    CleanKubernetesRunOperator(task_id="clean", job=SPARKPI).run(CONTEXT, SCOPE)
    assert "The run's blobs are not removed" in log()


def test_a_connection_that_cannot_sign_is_refused(address, storage, monkeypatch):
    extra = json.dumps({"sas_token": "sv=2021-12-02&sp=rwl&sig=CANARY"})
    said = {"conn_type": "wasb", "host": storage.endpoint, "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_WORK", json.dumps(said))
    with pytest.raises(ConfigurationError, match="storage-connection-invalid") as caught:
        WorkFolder(address)
    assert "CANARY" not in str(caught.value)


def test_what_a_dead_worker_has_unpacked_is_replaced(spark, address, tmp_path):
    run = spark.run()
    assert run.execute().state == "success"
    target = tmp_path / "staging"
    (target / "input.txt").mkdir(parents=True)
    (target / "input.txt" / "part").write_text("half")
    (target / "more").touch()
    name = json.loads(results(run)["launch.json"])["results_blob"]["url"].rpartition("/")[2]
    WorkFolder(address).fetch("sparkpi_aks/manual__2018-05", name.removesuffix(".tar"), target)
    assert {path.name: path.read_text() for path in target.iterdir()} == results(run)


def test_another_try_s_archive_is_not_fetched(address, work_container, storage, tmp_path):
    name = f"{address.removeprefix(work_container)}/tries/d/r/try.tar.more".lstrip("/")
    storage.client().get_container_client(WORK_CONTAINER).upload_blob(name, b"x")
    with pytest.raises(ResultError, match="results-missing"):
        WorkFolder(address).fetch("d/r", "try", tmp_path)


def test_the_platform_check_tries_the_blobs_out(configure, address, blob_names):
    row = work_row(kubernetes_settings())
    assert (row.name, row.status) == ("work", Status.OK)
    assert blob_names() == []
    configure(aks_work="https://elsewhere.blob.core.windows.net/work")
    with pytest.raises(ConfigurationError, match="storage-connection-account"):
        work_row(kubernetes_settings())
