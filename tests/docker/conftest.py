"""A real Docker engine, and the real image on it: built by the tasks of DAG `enclave_image` themselves."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from confidential_spark.core.errors import ConfigurationError
from confidential_spark.image_build.settings import image_settings
from docker.client import DockerClient
from docker.errors import DockerException

from scripts.airflow_image import build
from scripts.debian_base import cache_folder, ensure_base
from tests.docker.image_tasks import built_image, run_task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from confidential_spark.enclave.image import EnclaveImage

REVISION = "0123456789abcdef0123456789abcdef01234567"
NO_ENGINE = "!!! NOT TESTED: no Docker engine answers; `make test-docker` installs and starts one"


@pytest.fixture(scope="session")
def engine() -> Iterator[DockerClient]:
    """The engine of the environment (`DOCKER_HOST`, else the local socket)."""
    try:
        client = DockerClient.from_env(timeout=900)
        client.ping()
    except (DockerException, OSError) as error:
        pytest.skip(f"{NO_ENGINE}: {error}")
    yield client
    client.close()


@pytest.fixture(scope="session")
def base_image(engine) -> str:
    """The base of simulated images, which is on the engine."""
    reference = image_settings().base
    try:
        ensure_base(engine, reference, cache_folder())
    except ConfigurationError as error:
        if error.code not in ("debootstrap-missing", "debootstrap-needs-root"):
            raise
        pytest.skip(f"!!! NOT TESTED: no base image can be made: {error}")
    return reference


@pytest.fixture(scope="session")
def run_image_task(engine, base_image) -> Callable[..., Any]:
    """Runs one task of DAG `enclave_image` on the engine and returns its XCom value."""

    def run(operator: type, *, settings: Mapping[str, object] | None = None, **arguments: Any) -> Any:
        return run_task(engine, settings or {}, operator, **arguments)

    return run


@pytest.fixture(scope="session")
def enclave_image(engine, base_image) -> EnclaveImage:
    """The simulated enclave image of the present sources, signed; built only when they have changed."""
    return built_image(engine)


@pytest.fixture(scope="session")
def airflow_image(engine: DockerClient, base_image: str) -> str:
    """The image of the present sources, or the one that `AIRFLOW_IMAGE` names."""
    if named := os.environ.get("AIRFLOW_IMAGE"):
        return named
    return build(engine, str(engine.images.get(base_image).id), "confidential-spark/airflow:test", REVISION)
