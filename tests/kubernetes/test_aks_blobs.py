"""`nytaxi_aks` from Blob to Blob, on a real cluster: a real month, and no right to either left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.live_airflow import LiveAirflow, end_all
from tests.kubernetes.equipped import OWN_CLUSTER, WORK_CONTAINER
from tests.kubernetes.live_aks import POLICY, live_aks, unpause
from tests.kubernetes.witness import Witness
from tests.support.azure.azurite import HOST, KEY
from tests.support.azure.canaries import forms, places_with, signatures, texts_with
from tests.support.azure.tables import tables_in
from tests.support.cluster.namespaces import inside_node
from tests.support.cluster.places import Places

if TYPE_CHECKING:
    from collections.abc import Iterator

    from azure.storage.blob import ContainerClient

    from tests.kubernetes.deployment import Deployment

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(1800)]
DAG, MONTH, PART = "nytaxi_aks", "2018-06", "puYear=2018/puMonth=6"
# Of the node, what a kubelet and a container runtime write. Secrets themselves are the API server's.
NODE_FOLDERS = ("/var/log", "/var/lib/kubelet", "/run")


@pytest.fixture(scope="module")
def below() -> str:
    """The address of these tests' blobs."""
    return f"wasbs://{WORK_CONTAINER}@{HOST}/{uuid.uuid4().hex}"


@pytest.fixture(scope="module")
def airflow(
    tmp_path_factory, measured_image, launcher_kubeconfig, real_blobs, below
) -> Iterator[LiveAirflow]:
    """An Airflow that publishes to Blob."""
    folder = tmp_path_factory.mktemp("aks-blobs")
    try:
        live = live_aks(
            folder, measured_image, launcher_kubeconfig, real_blobs, RESULTS_DIR=f"{below}/results"
        )
        live.ensure_running()
        unpause(live, DAG, "nytaxi_local")
        yield live
    finally:
        end_all(folder)


def fetched(airflow: LiveAirflow, dag: str, below: str, target: Path) -> Path:
    """Copy a published month from Blob, as its reader does."""
    command = [sys.executable, "-m", "confidential_spark", "results", "get"]
    done = subprocess.run(
        [*command, f"{below}/results/{dag}", f"month={MONTH}", str(target)],
        env=airflow.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return target


def figures(folder: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    summary = json.loads((folder / "summary.json").read_text())
    return summary | {"duration_ms": 0}, tables_in(folder)


def on_the_node(places: Places, secrets: set[str]) -> str:
    """Return the names of the node's files that have one of the secrets in them."""
    command = ["grep", "--recursive", "--files-with-matches", "--fixed-strings", "--file=-", *NODE_FOLDERS]
    done = subprocess.run(
        inside_node(places, ["timeout", "120", *command, "--devices=skip"]),
        input="\n".join(forms(secrets)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (1, 2), done
    return done.stdout


def test_a_real_month_from_blob_to_blob_and_no_right_to_either_left(
    airflow: LiveAirflow,
    deployment: Deployment,
    real_container: ContainerClient,
    below: str,
    shared_data: Path,
    tmp_path: Path,
) -> None:
    prefix = below.rpartition("/")[2]
    for file in sorted((shared_data / "yellow" / PART).glob("*.parquet")):
        real_container.upload_blob(f"{prefix}/yellow/{PART}/{file.name}", file.read_bytes())

    with Witness(deployment) as witness:
        run = airflow.trigger(DAG, month=MONTH, input=f"{below}/yellow")
        assert airflow.wait_for_end(DAG, run) == "success"
    local = airflow.trigger("nytaxi_local", month=MONTH, input=(shared_data / "yellow").as_uri())
    assert airflow.wait_for_end("nytaxi_local", local) == "success"

    of_aks = fetched(airflow, DAG, below, tmp_path / "aks")
    assert figures(of_aks) == figures(fetched(airflow, "nytaxi_local", below, tmp_path / "local"))
    policy = airflow.folder / "include" / "policies" / f"{POLICY}.yaml"
    command = [sys.executable, "-m", "confidential_spark", "verify", str(of_aks / "evidence.json")]
    assert subprocess.run([*command, "--policy", str(policy)], check=False).returncode == 0
    deployment.require_nothing_left()

    # The rights to read the month, and to create the blobs of an attestation and of results.
    given = signatures("\n".join(witness.launches.values()))
    assert len(given) >= 3
    executors = [name for name in witness.shown if name.startswith("log ") and "exec" in name]
    assert len(executors) >= 2
    assert all(witness.shown[name] for name in executors)
    secrets = {KEY, *given}
    assert texts_with(secrets, witness.shown) == []
    assert places_with(secrets, airflow.folder, tmp_path) == []
    blobs = real_container.list_blob_names(name_starts_with=prefix)
    contents = {name: real_container.download_blob(name).readall().decode("latin-1") for name in blobs}
    assert texts_with(secrets, contents) == []
    if OWN_CLUSTER in os.environ:
        # Tests have a cache of their own, in which there is no cluster.
        assert on_the_node(Places(Path(os.environ[OWN_CLUSTER]) / "cluster"), secrets) == ""
