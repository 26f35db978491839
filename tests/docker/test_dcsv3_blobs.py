"""`nytaxi_dcsv3` from Azurite, on a real engine: the container downloads, and no right to do so is left."""

from __future__ import annotations

import json
import os
import socket
import tarfile
from io import BytesIO
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from confidential_spark.enclave import layout

from tests.azure.conftest import storage, upload  # noqa: F401 - fixtures
from tests.docker.test_dcsv3_runs import DAG, containers, published, summary, verify
from tests.integration.live_airflow import LiveAirflow, end_all, wait_until
from tests.support.azure.azurite import HOST, KEY, wasb_connection
from tests.support.azure.canaries import places_with, signatures, texts_with
from tests.support.cluster.forwarder import forward
from tests.support.factories.approvals import approved_include

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from confidential_spark.enclave.image import EnclaveImage
    from docker import DockerClient
    from docker.models.containers import Container

    from tests.support.azure.azurite import Azurite

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1200)]
MONTH, PART = "2018-06", "puYear=2018/puMonth=6"


@pytest.fixture(scope="module")
def for_containers(engine: DockerClient, storage: Azurite) -> str:  # noqa: F811
    """The emulator as containers of the engine's usual network reach it."""
    [network] = engine.networks.get("bridge").attrs["IPAM"]["Config"]
    try:
        listener = socket.create_server((network["Gateway"], 0))
    except OSError as error:
        pytest.skip(f"!!! NOT TESTED: the engine's network is not this machine's: {error}")
    forward(listener, urlsplit(storage.endpoint).port or 0)
    return f"{network['Gateway']}:{listener.getsockname()[1]}"


@pytest.fixture(scope="module")
def trips(upload, shared_data: Path) -> str:  # noqa: F811
    """A container with one real month."""
    return str(upload("trips-of-dcsv3", shared_data / "yellow" / PART, f"yellow/{PART}/"))


@pytest.fixture(scope="module")
def airflow(
    tmp_path_factory,
    enclave_image: EnclaveImage,
    storage: Azurite,  # noqa: F811
    for_containers: str,
) -> Iterator[LiveAirflow]:
    folder = tmp_path_factory.mktemp("dcsv3-blobs")
    live = LiveAirflow(folder)
    live.environment.update(
        CONFIDENTIAL_SPARK_DCSV3_POLICY="simulation-image",
        CONFIDENTIAL_SPARK_DCSV3_IMAGE=enclave_image.reference,
        CONFIDENTIAL_SPARK_DCSV3_EMULATOR=for_containers,
        CONFIDENTIAL_SPARK_INCLUDE_DIR=str(approved_include(folder / "include", enclave_image)),
        CONFIDENTIAL_SPARK_BLOB_EMULATOR=storage.endpoint,
        CONFIDENTIAL_SPARK_BLOB_CONN_ID="trips",
        AIRFLOW_CONN_TRIPS=wasb_connection(storage.endpoint),
        **{name: value for name, value in os.environ.items() if name.startswith("DOCKER_")},
    )
    try:
        live.ensure_running()
        for dag in (DAG, "nytaxi_local"):
            live.unpause(dag)
        yield live
    finally:
        end_all(folder)


def described(engine: DockerClient, container: Container) -> dict[str, str]:
    """Return what the engine tells of a container that runs: its description, its log, its volume's files."""
    chunks, _ = container.get_archive(str(layout.DATA_DIR))
    with tarfile.open(fileobj=BytesIO(b"".join(chunks))) as archive:
        files = {
            f"volume {each.name}": archive.extractfile(each).read().decode("latin-1")  # type: ignore[union-attr]
            for each in archive.getmembers()
            if each.isfile()
        }
    return {
        "inspect": json.dumps(container.attrs),
        "log": container.logs().decode(errors="replace"),
        "image": json.dumps(engine.images.get(container.attrs["Image"]).attrs),
        **files,
    }


def test_a_real_month_of_blobs_and_no_right_to_them_left(
    airflow: LiveAirflow,
    engine: DockerClient,
    storage: Azurite,  # noqa: F811
    trips: str,
    shared_data: Path,
) -> None:
    location = f"wasbs://{trips}@{HOST}/yellow"
    run = airflow.trigger(DAG, month=MONTH, input=location)
    wait_until(lambda: [c for c in containers(engine, run) if b"Downloading 1 blobs" in c.logs()], "it runs")
    [container] = containers(engine, run)
    told: dict[str, Any] = described(engine, container)
    moved = container.exec_run(["cat", str(layout.LAUNCH_FILE)], user=layout.USER).output.decode()
    assert airflow.wait_for_end(DAG, run) == "success"

    local = airflow.trigger("nytaxi_local", month=MONTH, input=(shared_data / "yellow").as_uri())
    assert airflow.wait_for_end("nytaxi_local", local) == "success"
    assert summary(published(airflow, DAG, MONTH)) == summary(published(airflow, "nytaxi_local", MONTH))
    verify(airflow, MONTH)

    # What the enclave was given is on the tmpfs, and was used.
    assert signatures(moved)
    assert signatures(moved) <= signatures(storage.debug_log)
    secrets = {KEY, *signatures(storage.debug_log)}
    assert texts_with(secrets, told) == []
    assert places_with(secrets, airflow.folder) == []
    assert containers(engine, run) == []
