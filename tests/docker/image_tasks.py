"""The tasks of DAG `enclave_image`, run on an engine by tests: the image that a deployment would have."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from confidential_spark.enclave.image import EnclaveImage
from confidential_spark.image_build.operators import (
    BuildImageOperator,
    MeasureEnclaveOperator,
    ResolveInputsOperator,
    SignEnclaveOperator,
)

from tests.support.deployment import deployed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from docker.client import DockerClient


SIMULATED_POLICY = "simulation-image"


class TaskStates(dict[str, Any]):
    """A task state store, of one task."""

    def set(self, key: str, value: Any) -> None:
        self[key] = value


def task_context(task_id: str = "task", **more: Any) -> dict[str, Any]:
    """What the image tasks need of Airflow's context."""
    ti = SimpleNamespace(dag_id="enclave_image", task_id=task_id, xcom_push=lambda **_: None)
    return {
        "ti": ti,
        "dag": SimpleNamespace(params={}),
        "dag_run": SimpleNamespace(conf={}),
        "task_state_store": TaskStates(),
        **more,
    }


def run_task(engine: DockerClient, settings: Mapping[str, object], operator: type, **arguments: Any) -> Any:
    """Run one task on an engine, in a deployment that simulates, and return its XCom value.

    :param settings: further ones of the deployment, by their variables.
    """
    task = operator(task_id=operator.__name__, **arguments)
    task.client = engine.api
    with deployed(image_policy=SIMULATED_POLICY, **settings):
        return task.run(task_context())


def built_image(engine: DockerClient, **settings: object) -> EnclaveImage:
    """Return the enclave image of the present sources and settings, signed; built only when they changed."""
    inputs = run_task(engine, settings, ResolveInputsOperator)
    image = run_task(engine, settings, BuildImageOperator, inputs=inputs)
    signed = run_task(engine, settings, SignEnclaveOperator, inputs=inputs, image=image)
    measured = run_task(engine, settings, MeasureEnclaveOperator, image=signed)
    return EnclaveImage.from_xcom(measured["image"])
