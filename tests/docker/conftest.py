"""A real Docker engine, and the real image on it: built by the tasks of DAG `enclave_image` themselves."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from confidential_spark.core.enclave_image import EnclaveImage
from confidential_spark.core.errors import ConfigurationError
from confidential_spark.settings import Settings
from docker.client import DockerClient
from docker.errors import DockerException

from scripts.debian_base import cache_folder, ensure_base

if TYPE_CHECKING:
    from collections.abc import Iterator

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
def image_settings(engine, tmp_path_factory) -> Settings:
    """Settings of a deployment that simulates, with the base image that they name on the engine."""
    settings = Settings(dcsv3_policy="simulation-image")
    try:
        ensure_base(engine, settings.image_base, cache_folder())
    except ConfigurationError as error:
        pytest.skip(f"!!! NOT TESTED: no base image can be made: {error}")
    return settings


class TaskStates(dict[str, Any]):
    """A task state store, of one task."""

    def set(self, key: str, value: Any) -> None:
        self[key] = value


def task_context(task_id: str = "task", **more: Any) -> dict[str, Any]:
    """What the image tasks need of Airflow's context."""
    ti = SimpleNamespace(task_id=task_id, xcom_push=lambda **_: None)
    return {
        "ti": ti,
        "dag": SimpleNamespace(params={}),
        "dag_run": SimpleNamespace(conf={}),
        "task_state_store": TaskStates(),
        **more,
    }


@pytest.fixture(scope="session")
def run_image_task(engine, image_settings):
    """Runs one task of DAG `enclave_image` on the engine and returns its XCom value."""

    def run(operator: type, *, settings: Settings = image_settings, **arguments: Any) -> Any:
        task = operator(task_id=operator.__name__, **arguments)
        task.client = engine.api
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("confidential_spark.operators.enclave_image.get_settings", lambda: settings)
            return task.run(task_context())

    return run


@pytest.fixture(scope="session")
def enclave_image(run_image_task) -> EnclaveImage:
    """The simulated enclave image of the present sources, signed; built only when they have changed."""
    from confidential_spark.operators.enclave_image import (
        BuildImageOperator,
        MeasureEnclaveOperator,
        ResolveInputsOperator,
        SignEnclaveOperator,
    )

    inputs = run_image_task(ResolveInputsOperator)
    image = run_image_task(BuildImageOperator, inputs=inputs)
    signed = run_image_task(SignEnclaveOperator, inputs=inputs, image=image)
    return EnclaveImage.from_xcom(run_image_task(MeasureEnclaveOperator, image=signed)["image"])
