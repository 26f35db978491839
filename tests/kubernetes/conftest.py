"""Scenarios of pods and tasks, on the fake cluster or on a real one.

A real one is taken when both `$KUBECONFIG` and `$KUBERNETES_TEST_IMAGE` (an image with a shell) are set, as
`python -m tests.kubernetes.equipped` sets them. What only the fake can bring about is not run then.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from azure.core.exceptions import ResourceExistsError
from azure.storage.blob import BlobServiceClient

from tests.azure.conftest import storage  # noqa: F401 - a fixture
from tests.kubernetes.clusters import RealCluster
from tests.kubernetes.deployment import Deployment
from tests.kubernetes.equipped import (
    EMULATOR,
    EMULATOR_PORT,
    ENCLAVE_IMAGE,
    FOREIGN_IMAGE,
    KUBECONFIG,
    OWN_CLUSTER,
    TEST_IMAGE,
    WORK_CONTAINER,
)
from tests.support.azure.azurite import ACCOUNT, KEY, wasb_connection
from tests.support.fakes.kubernetes_api import FakeCluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from azure.storage.blob import ContainerClient
    from confidential_spark.enclave.image import EnclaveImage

    from tests.kubernetes.clusters import Cluster
    from tests.support.azure.azurite import Azurite

_REAL = {KUBECONFIG, TEST_IMAGE} <= set(os.environ)
# Read now: tests of tasks take the variable away.
_DEPLOYMENT = Deployment.of_environment() if {KUBECONFIG, ENCLAVE_IMAGE} <= set(os.environ) else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave to `make test` what needs the fake cluster, where there is a real one."""
    if not _REAL:
        return
    fake = [item for item in items if "fake" in getattr(item, "fixturenames", ())]
    config.hook.pytest_deselected(items=fake)
    items[:] = [item for item in items if item not in fake]


@pytest.fixture(scope="session")
def deployment() -> Deployment:
    """The namespace of `include/kubernetes` on the real cluster."""
    if _DEPLOYMENT is None:
        pytest.skip(f"!!! NOT TESTED: no ${KUBECONFIG}, or no ${ENCLAVE_IMAGE} on its nodes")
    return _DEPLOYMENT


@pytest.fixture(scope="session")
def measured_image(deployment: Deployment) -> EnclaveImage:
    """The enclave image on the real cluster, as a pod of it describes itself."""
    return deployment.measured()


@pytest.fixture(scope="session")
def foreign_image() -> str:
    """The image of an enclave that belongs to no run, on the real cluster's nodes."""
    if FOREIGN_IMAGE not in os.environ:
        pytest.skip(f"!!! NOT TESTED: no ${FOREIGN_IMAGE}, an enclave image of another measurement")
    return os.environ[FOREIGN_IMAGE]


@pytest.fixture(scope="session")
def real_blobs() -> dict[str, str]:
    """The settings by which the real cluster's pods and this machine reach one emulator of storage."""
    if EMULATOR not in os.environ:
        pytest.skip(f"!!! NOT TESTED: no ${EMULATOR}, an emulator that the cluster's pods reach")
    port = os.environ.get(EMULATOR_PORT) or os.environ[EMULATOR].rpartition(":")[2]
    endpoint = f"http://127.0.0.1:{port}/{ACCOUNT}"
    os.environ["AIRFLOW_CONN_WORK"] = wasb_connection(endpoint)
    with contextlib.suppress(ResourceExistsError):
        BlobServiceClient(endpoint, credential=KEY).create_container(WORK_CONTAINER)
    return {
        "blob_emulator": endpoint,
        "blob_conn_id": "work",
        "aks_work": f"{endpoint}/{WORK_CONTAINER}/{uuid.uuid4().hex}",
        "aks_emulator": os.environ[EMULATOR],
    }


@pytest.fixture
def real_container(real_blobs) -> ContainerClient:
    """The container of :func:`real_blobs`."""
    return BlobServiceClient(real_blobs["blob_emulator"], credential=KEY).get_container_client(WORK_CONTAINER)


@pytest.fixture(scope="session")
def own_nodes() -> None:
    """The nodes are the tests' own, who may keep pods from them."""
    if OWN_CLUSTER not in os.environ:
        pytest.skip("!!! NOT TESTED: the nodes of somebody else's cluster are not cordoned")


@pytest.fixture(scope="session")
def own_cluster() -> Callable[..., None]:
    """Run a command of `tests.support.cluster`, e.g. stop the API server."""
    if OWN_CLUSTER not in os.environ:
        pytest.skip("!!! NOT TESTED: the programs of somebody else's cluster cannot be stopped")
    if not os.environ.get("KUBERNETES_OUTAGES"):
        # What enforces this cluster's policies comes back minutes after the API server, and until then new
        # pods reach nothing: the tests that follow would fail for it.
        pytest.skip("!!! NOT TESTED: the API server is killed only where KUBERNETES_OUTAGES=yes")

    def command(*arguments: str) -> None:
        # Tests have a cache of their own, in which there is no cluster.
        environment = os.environ | {"CONFIDENTIAL_SPARK_CACHE_DIR": os.environ[OWN_CLUSTER]}
        command = [sys.executable, "-m", "tests.support.cluster", *arguments]
        subprocess.run(command, check=True, env=environment)

    return command


@pytest.fixture(scope="session")
def launcher_kubeconfig(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The kubeconfig of Airflow's own account on the real cluster."""
    return deployment.launcher_kubeconfig(tmp_path_factory.mktemp("launcher"))


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


@pytest.fixture(scope="session")
def work_container(storage: Azurite) -> str:  # noqa: F811
    """A container for what goes between pipeline and enclaves."""
    storage.client().create_container(WORK_CONTAINER)
    return f"{storage.endpoint}/{WORK_CONTAINER}"


@pytest.fixture
def blobs(storage: Azurite, work_container, monkeypatch) -> dict[str, str]:  # noqa: F811
    """The settings by which input and results go through blobs, below an address of the test's own."""
    monkeypatch.setenv("AIRFLOW_CONN_WORK", wasb_connection(storage.endpoint))
    return {
        "blob_emulator": storage.endpoint,
        "blob_conn_id": "work",
        "aks_work": f"{work_container}/{uuid.uuid4().hex}",
    }


@pytest.fixture
def blob_names(storage: Azurite, blobs) -> Callable[[], list[str]]:  # noqa: F811
    """Names of the blobs below the test's address."""
    prefix = blobs["aks_work"].rpartition("/")[2]
    container = storage.client().get_container_client(WORK_CONTAINER)
    return lambda: sorted(
        name.removeprefix(f"{prefix}/") for name in container.list_blob_names(name_starts_with=prefix)
    )


@pytest.fixture
def fake(cluster) -> FakeCluster:
    """The fake cluster, for what no test can make a real one do."""
    if not isinstance(cluster, FakeCluster):
        pytest.skip("only the fake cluster can be made to fail so")
    return cluster


@pytest.fixture
def log(capsys) -> Callable[[], str]:
    """What the tasks of this process have logged so far."""
    read: list[str] = []

    def text() -> str:
        read.append(capsys.readouterr().out)
        return "".join(read)

    return text
