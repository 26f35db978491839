"""The small Kubernetes, as its real clients see it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.fakes.kubernetes_api import FakeCluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kubernetes.client import CoreV1Api, V1Pod


@pytest.fixture
def cluster(tmp_path) -> Iterator[FakeCluster]:
    with FakeCluster(tmp_path / "cluster") as cluster:
        yield cluster


@pytest.fixture
def core(cluster) -> CoreV1Api:
    return cluster.core()


@pytest.fixture
def start(cluster, core) -> Callable[..., V1Pod]:
    """Create a pod that runs a shell script; keywords are fields of its spec, or of its container."""

    def make(script: str = "true", name: str = "pod", container: Any = None, **spec: Any) -> V1Pod:
        base = {
            "name": "base",
            "image": "debian:bookworm",
            "command": ["sh", "-c", script],
            **(container or {}),
        }
        labels = spec.pop("labels", {})
        body = {
            "metadata": {"name": name, "labels": labels},
            "spec": {"restartPolicy": "Never", "containers": [base], **spec},
        }
        return core.create_namespaced_pod(cluster.namespace, body)

    return make


@pytest.fixture
def ended(cluster, core) -> Callable[..., V1Pod]:
    """Wait until a pod has ended, and return it."""

    def read(name: str = "pod") -> V1Pod:
        return core.read_namespaced_pod(name, cluster.namespace)

    def wait(name: str = "pod") -> V1Pod:
        cluster.wait(lambda: read(name).status.phase in ("Succeeded", "Failed"))
        return read(name)

    return wait


@pytest.fixture
def text(cluster, core) -> Callable[..., str]:
    """Read a log as text; keywords are those of the API."""

    def read(name: str = "pod", **options: Any) -> str:
        answer = core.read_namespaced_pod_log(name, cluster.namespace, _preload_content=False, **options)
        return answer.data.decode()

    return read
