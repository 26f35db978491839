"""The cluster a scenario runs on: the fake one, or the real one that `$KUBECONFIG` names."""

from __future__ import annotations

import os
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from confidential_spark.platforms.kubernetes.names import EPC_RESOURCE as EPC
from kubernetes import client, config

if TYPE_CHECKING:
    from collections.abc import Callable

# On the node itself nobody serves images: no name has to be looked up, no time-out waited for.
NOWHERE = "127.0.0.1:1/spark:1"


class Cluster(Protocol):
    """What every scenario may ask of its cluster."""

    @property
    def kubeconfig(self) -> Path: ...

    @property
    def namespace(self) -> str: ...

    @property
    def image(self) -> str:
        """An image with a POSIX shell, which this cluster can run."""

    @property
    def missing_image(self) -> str:
        """An image that cannot be pulled, which the node knows at once."""

    def set_epc(self, amount: int) -> None:
        """How much `sgx.intel.com/epc` each node has."""

    def set_quota(self, **hard: str) -> None: ...

    def label_namespace(self, **labels: str) -> None: ...

    def core(self) -> client.CoreV1Api: ...


class RealCluster:
    """A namespace of its own on a real cluster, removed at the end.

    :raises KeyError: `$KUBERNETES_TEST_IMAGE` does not name an image that the cluster can run.
    """

    def __init__(self) -> None:
        self.kubeconfig = Path(os.environ["KUBECONFIG"])
        self.image = os.environ["KUBERNETES_TEST_IMAGE"]
        self.missing_image = NOWHERE
        self.namespace = f"confidential-spark-test-{uuid.uuid4().hex[:8]}"
        self._epc_before: dict[str, str] = {}

    def __enter__(self) -> RealCluster:
        self.core().create_namespace({"metadata": {"name": self.namespace}})
        # Its controller makes it a moment later, and no pod is admitted before.
        wait(self._default_account)
        return self

    def __exit__(self, *_: object) -> None:
        self.core().delete_namespace(self.namespace)
        for node, amount in self._epc_before.items():
            self._patch_epc(node, amount)

    def _default_account(self) -> bool:
        accounts = self.core().list_namespaced_service_account(self.namespace).items
        return "default" in [account.metadata.name for account in accounts]

    def core(self) -> client.CoreV1Api:
        return client.CoreV1Api(config.new_client_from_config(str(self.kubeconfig)))

    def set_epc(self, amount: int) -> None:
        for node in self.core().list_node().items:
            self._epc_before.setdefault(node.metadata.name, node.status.capacity.get(EPC, "0"))
            self._patch_epc(node.metadata.name, str(amount))

    def _patch_epc(self, node: str, amount: str) -> None:
        # The scheduler goes by the second, which a kubelet derives from the first when it starts.
        patch = {"status": {key: {EPC: amount} for key in ("capacity", "allocatable")}}
        self.core().patch_node_status(node, patch)

    def set_quota(self, **hard: str) -> None:
        body = {"metadata": {"name": "quota"}, "spec": {"hard": hard}}
        self.core().create_namespaced_resource_quota(self.namespace, body)

    def label_namespace(self, **labels: str) -> None:
        self.core().patch_namespace(self.namespace, {"metadata": {"labels": labels}})


def wait(done: Callable[[], Any], seconds: float = 60) -> Any:
    """Wait until something is true and return it.

    :raises TimeoutError: it was not.
    """
    end = time.monotonic() + seconds
    while not (found := done()):
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds} s")
        time.sleep(0.05)
    return found
