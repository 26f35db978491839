"""Images go to a registry and come back by digest, with the right credentials only."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from airflow.sdk import BaseHook, Connection
from airflow.sdk.exceptions import AirflowNotFoundException
from confidential_spark.core.errors import EnclaveError
from confidential_spark.core.platforms import Platform
from confidential_spark.image_build.context import BuildContext, ContextFile
from confidential_spark.jobs import JOBS
from confidential_spark.platforms.docker.engine import RegistryLogin
from confidential_spark.platforms.docker.images import ImageStore
from confidential_spark.platforms.docker.operators import ResolveDockerImageOperator

from tests.support.fakes.registry import PASSWORD, USER, Registry, running_registry

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.docker


@pytest.fixture
def registry(engine) -> Iterator[Registry]:
    if not engine.api.base_url.startswith("http+docker://"):
        pytest.skip("the engine is remote, and cannot reach a registry on this machine's loopback")
    with running_registry() as registry:
        yield registry


@pytest.fixture
def store(engine) -> ImageStore:
    return ImageStore(engine.api, lambda line, messages: None)


@pytest.fixture
def image_id(store) -> Iterator[str]:
    files = {
        "Dockerfile": ContextFile.containing(b"FROM scratch\nCOPY file /\n"),
        "file": ContextFile.containing(uuid4().bytes),
    }
    image_id = store.build(BuildContext(files, {}, "scratch").tar(), build_args={}, labels={"kind": "test"})
    yield image_id
    store.remove(image_id)


def login(registry: Registry, password: str = PASSWORD) -> RegistryLogin:
    return RegistryLogin(registry.address, USER, password)


def test_an_image_comes_back_by_digest(registry, store, image_id) -> None:
    repository = f"{registry.address}/team/enclave"
    pushed = store.push(image_id, repository, "simulated-1", login(registry))
    assert store.push(image_id, repository, "simulated-1", login(registry)) == pushed
    assert pushed in store.require(image_id).repo_digests
    store.client.remove_image(image_id, force=True)
    assert store.inspect(pushed) is None
    pulled = store.pull(pushed, login(registry))
    assert (pulled.image_id, pulled.labels) == (image_id, {"kind": "test"})
    store.client.remove_image(image_id, force=True)


@pytest.fixture
def resolve_image(registry, deploy, monkeypatch) -> ResolveDockerImageOperator:
    """The first task of a run, in a deployment whose registry wants a password."""

    def connection(conn_id: str) -> Connection:
        if conn_id != "registry":
            raise AirflowNotFoundException(conn_id)
        return Connection(
            conn_id=conn_id, conn_type="docker", host=registry.address, login=USER, password=PASSWORD
        )

    monkeypatch.setattr(BaseHook, "get_connection", connection)
    deploy(image_registry_conn_id="registry")
    return ResolveDockerImageOperator(task_id="resolve_image", job=JOBS["sparkpi"], platform=Platform.DCSV3)


def test_a_run_pulls_its_image_with_the_registrys_credentials(
    registry, store, image_id, resolve_image
) -> None:
    pushed = store.push(image_id, f"{registry.address}/team/enclave", "simulated-1", login(registry))
    store.client.remove_image(image_id, force=True)
    assert resolve_image.labels_of(pushed) == {"kind": "test"}
    store.client.remove_image(image_id, force=True)


def test_a_run_names_why_its_image_cannot_be_pulled(registry, resolve_image) -> None:
    with pytest.raises(EnclaveError) as failure:
        resolve_image.labels_of(f"{registry.address}/team/enclave@sha256:{'ab' * 32}")
    assert (failure.value.code, failure.value.retryable) == ("image-not-found", False)


def test_wrong_credentials_are_named_and_not_retried(registry, store, image_id) -> None:
    with pytest.raises(EnclaveError) as failure:
        store.push(image_id, f"{registry.address}/team/enclave", "1", login(registry, "wrong"))
    assert (failure.value.code, failure.value.retryable) == ("registry-denied", False)
    assert "wrong" not in str(failure.value)
    store.client.remove_image(f"{registry.address}/team/enclave:1")


def test_an_absent_image_is_named(registry, store) -> None:
    reference = f"{registry.address}/team/enclave@sha256:{'ab' * 32}"
    with pytest.raises(EnclaveError) as failure:
        store.pull(reference, login(registry))
    assert (failure.value.code, failure.value.retryable) == ("image-not-found", False)


def test_a_registry_that_is_away_is_worth_another_try(engine, store, image_id) -> None:
    with pytest.raises(EnclaveError) as failure:
        store.push(image_id, "127.0.0.1:9/team/enclave", "1", None)
    assert (failure.value.code, failure.value.retryable) == ("image-pull-interrupted", True)
    store.client.remove_image("127.0.0.1:9/team/enclave:1")
