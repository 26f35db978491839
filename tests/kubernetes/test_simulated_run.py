"""What `make run PLATFORM=aks` says where something is missing; the run itself needs a cluster."""

from __future__ import annotations

from contextlib import ExitStack
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from confidential_spark.core.errors import ConfigurationError
from confidential_spark.settings import forget_settings
from docker.errors import ImageNotFound

from tests.kubernetes.simulated_run import CLUSTER_CONNECTION, approved_image, brought_up

if TYPE_CHECKING:
    from collections.abc import Callable

WORK = "wasbs://work@account.blob.core.windows.net/spark"


@pytest.fixture
def nothing_configured(deploy, monkeypatch, tmp_path) -> Callable[[dict[str, str]], None]:
    """A deployment that simulates, on a machine without a cluster; variables are added to it."""
    for name in ("KUBECONFIG", CLUSTER_CONNECTION):
        monkeypatch.delenv(name, raising=False)

    def add(variables: dict[str, str]) -> None:
        deploy(aks_policy="simulation-image", cache_dir=tmp_path / "cache")
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        forget_settings()

    return add


@pytest.mark.parametrize(
    ("variables", "code"),
    [
        pytest.param({}, "cluster-missing", id="no-cluster"),
        pytest.param({"KUBECONFIG": "/somewhere"}, "emulator-address-missing", id="no-address"),
        pytest.param({CLUSTER_CONNECTION: "{}"}, "emulator-address-missing", id="connection-and-no-address"),
        pytest.param(
            {"KUBECONFIG": "/somewhere", "CONFIDENTIAL_SPARK_AKS_EMULATOR": "192.0.2.1:10000"},
            "emulator-address-missing",
            id="not-this-machine's",
        ),
    ],
)
def test_what_is_missing_is_said(nothing_configured, variables, code) -> None:
    nothing_configured(variables)
    with ExitStack() as stack, pytest.raises(ConfigurationError, match=rf"\[{code}\]"):
        brought_up(stack)


@pytest.mark.parametrize(
    "variables",
    [
        pytest.param({"CONFIDENTIAL_SPARK_AKS_WORK": WORK}, id="storage"),
        pytest.param(
            {"CONFIDENTIAL_SPARK_BLOB_EMULATOR": "http://127.0.0.1:10000/devstoreaccount1"}, id="emulator"
        ),
        pytest.param({"CONFIDENTIAL_SPARK_AKS_POLICY": "production"}, id="hardware"),
    ],
)
def test_what_somebody_has_configured_is_left_alone(nothing_configured, variables) -> None:
    nothing_configured(variables)
    with ExitStack() as stack:
        assert brought_up(stack) == {}


def test_without_an_approved_image_there_is_no_run(nothing_configured) -> None:
    nothing_configured({})

    def missing(digest: str) -> None:
        raise ImageNotFound(digest)

    with pytest.raises(ConfigurationError, match=r"\[image-not-published\]"):
        approved_image(SimpleNamespace(images=SimpleNamespace(get=missing)))
