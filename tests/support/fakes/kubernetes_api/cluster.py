"""A cluster for tests: start it, point a client at its kubeconfig, and let things go wrong."""

from __future__ import annotations

import asyncio
import base64
import threading
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from kubernetes import client, config

from tests.support.fakes.kubernetes_api.faults import Fault, Faults
from tests.support.fakes.kubernetes_api.images import Image, Images
from tests.support.fakes.kubernetes_api.kubelet import Kubelet
from tests.support.fakes.kubernetes_api.machine import Machine
from tests.support.fakes.kubernetes_api.objects import Objects
from tests.support.fakes.kubernetes_api.processes import marked_processes
from tests.support.fakes.kubernetes_api.rbac import Authorizer
from tests.support.fakes.kubernetes_api.resources import (
    CONFIG_MAPS,
    NAMESPACES,
    NODES,
    PODS,
    QUOTAS,
    SERVICE_ACCOUNTS,
)
from tests.support.fakes.kubernetes_api.scheduler import Scheduler
from tests.support.fakes.kubernetes_api.server import ApiServer
from tests.support.fakes.kubernetes_api.store import Store, timestamp
from tests.support.fakes.kubernetes_api.tls import new_authority
from tests.support.fakes.kubernetes_api.watches import Watches

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from tests.support.fakes.kubernetes_api.pod_worker import PodWorker
    from tests.support.fakes.kubernetes_api.refusals import Json

EPC = "sgx.intel.com/epc"
_CALL_SECONDS = 120


class FakeCluster:
    """An API server, a scheduler and kubelets in one thread; pods are local processes.

    :param root: a folder of its own, for volumes and the kubeconfig.
    :param namespace: made at the start, and the kubeconfig's default.
    :ivar certificate: file of the authority that signed the API server's certificate, PEM.
    """

    def __init__(self, root: Path, namespace: str = "confidential-spark") -> None:
        self.root, self.namespace, self.image = root, namespace, "debian:bookworm"
        self.missing_image = "registry.invalid/spark:1"
        self.kubeconfig, self.certificate = root / "kubeconfig", root / "ca.crt"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fake-kubernetes", daemon=True)
        self._mark = uuid.uuid4().hex

    def __enter__(self) -> FakeCluster:
        self.root.mkdir(parents=True, exist_ok=True)
        self._thread.start()
        self._call(self._start())
        self.certificate.write_bytes(self._authority.certificate)
        self.kubeconfig.write_text(self.kubeconfig_for(self._authorizer.token()))
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._server.port}"

    def kubeconfig_for(self, token: str) -> str:
        """The text of a kubeconfig with this bearer token."""
        authority = base64.b64encode(self._authority.certificate).decode()
        cluster = {"server": self.url, "certificate-authority-data": authority}
        context = {"cluster": "fake", "user": "user", "namespace": self.namespace}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "fake", "cluster": cluster}],
            "users": [{"name": "user", "user": {"token": token}}],
            "contexts": [{"name": "fake", "context": context}],
            "current-context": "fake",
        }
        return yaml.safe_dump(config)

    def account_kubeconfig(self, service_account: str) -> Path:
        """Write a kubeconfig of a service account, which may do what its Roles in the cluster say."""
        path = self.root / f"kubeconfig-{service_account}"
        path.write_text(self.kubeconfig_for(self.account_token(service_account)))
        return path

    def account_token(self, service_account: str) -> str:
        """Return a bearer token of a service account of the namespace."""
        token: str = self._do(lambda: self._authorizer.account_token(self.namespace, service_account))
        return token

    # --- how the cluster is

    def set_epc(self, amount: int | str, node: str = "node-1") -> None:
        """How much of `sgx.intel.com/epc` a node has."""
        self._set_capacity(node, EPC, str(amount))

    def set_capacity(self, resource: str, amount: str, node: str = "node-1") -> None:
        self._set_capacity(node, resource, amount)

    def set_quota(self, **hard: str) -> None:
        """Give the namespace a quota named ``quota``; keys as in `spec.hard`."""
        body = {"metadata": {"name": "quota"}, "spec": {"hard": hard}}
        self._do(lambda: self._store.create(QUOTAS, self.namespace, body))

    def label_namespace(self, **labels: str) -> None:
        """Set labels of the namespace, e.g. its Pod Security level."""

        def change() -> None:
            found = self._store.get(NAMESPACES, "", self.namespace)
            metadata = {**found["metadata"], "labels": {**(found["metadata"].get("labels") or {}), **labels}}
            self._store.replace(NAMESPACES, {**found, "metadata": metadata})

        self._do(change)

    def add_image(self, reference: str, image: Image) -> None:
        self._do(lambda: self._images.add(reference, image))

    # --- what goes wrong

    def deny(self, verb: str, resource: str) -> None:
        """Answer 403 as for a missing right; ``*`` stands for every verb or resource."""
        self._do(lambda: self._authorizer.deny(verb, resource))

    def inject(self, fault: Fault) -> None:
        self._do(lambda: self._faults.add(fault))

    def heal(self) -> None:
        """Take back denials and faults."""
        self._do(self._authorizer.allow_again)
        self._do(self._faults.clear)

    def break_pull(self, image: str, message: str) -> None:
        self._do(lambda: self._images.break_pull(image, message))

    def go_away(self, seconds: float) -> None:
        """Close the API's port now and open it again later; pods go on."""

        async def later() -> None:
            await asyncio.sleep(seconds)
            await self._server.open()

        self._call(self._server.close())
        self._background = asyncio.run_coroutine_threadsafe(later(), self._loop)

    def oom_kill(self, pod: str, container: str = "base") -> None:
        self.kill(pod, container, reason="OOMKilled")

    def kill(self, pod: str, container: str = "base", reason: str | None = None) -> None:
        """SIGKILL everything in a container, as the kernel or a person does."""

        def kill() -> None:
            record = self._worker(pod).records[container]
            assert record.process is not None, f"{container} does not run: {record.state}"
            record.forced_reason = reason
            record.process.signal(9)

        self._do(kill)

    def evict(self, pod: str, message: str = "The node was low on resource: memory.") -> None:
        self._call(self._kubelet.evict(self.namespace, pod, message))

    def lose_node(self, node: str = "node-1") -> None:
        """Its processes die and nobody says so: pods stay Terminating until deleted by force."""
        self._call(self._kubelet.lose_node(node))

    # --- what is seen

    def core(self) -> client.CoreV1Api:
        """Return a client of the API, as the administrator."""
        return client.CoreV1Api(config.new_client_from_config(str(self.kubeconfig)))

    def pods(self) -> list[Json]:
        """All pods of the namespace, as they are now."""
        found: list[Json] = self._do(lambda: self._store.select(PODS, self.namespace))
        return found

    def processes(self) -> list[int]:
        """The living processes of all containers."""
        return marked_processes(self._mark)

    def pod_folder(self, pod: str, container: str = "base") -> Path:
        """A container's `$FAKE_ROOT`."""
        root = self._do(lambda: self._worker(pod).records[container].root)
        assert isinstance(root, Path)
        return root

    def wait(self, done: Callable[[], object], seconds: float = 60) -> None:
        """Wait until something holds.

        :raises TimeoutError: it did not; the message lists the pods.
        """
        end = time.monotonic() + seconds
        while not done():
            if time.monotonic() > end:
                states = [(pod["metadata"]["name"], pod["status"]) for pod in self.pods()]
                raise TimeoutError(f"not within {seconds} s; pods: {states}")
            time.sleep(0.02)

    # --- inside

    async def _start(self) -> None:
        self._store, self._images, self._faults = Store(), Images(), Faults()
        self._authorizer = Authorizer(self._store)
        machine = Machine(self._store, self._images, self._authorizer, self.root, self._mark)
        self._scheduler = Scheduler(self._store)
        self._kubelet = Kubelet(machine)
        objects = Objects(self._store, self._kubelet)
        self._authority = new_authority(self.root)
        watches, context = Watches(self._store), self._authority.context
        self._server = ApiServer(objects, watches, self._kubelet, self._authorizer, self._faults, context)
        await self._server.open()
        machine.address = ("127.0.0.1", self._server.port)
        for namespace in ("default", "kube-system", self.namespace):
            self._store.create(
                NAMESPACES, "", {"metadata": {"name": namespace}, "status": {"phase": "Active"}}
            )
            self._store.create(SERVICE_ACCOUNTS, namespace, {"metadata": {"name": "default"}})
            root = {
                "metadata": {"name": "kube-root-ca.crt"},
                "data": {"ca.crt": self._authority.certificate.decode()},
            }
            self._store.create(CONFIG_MAPS, namespace, root)
        self._store.create(NODES, "", _node("node-1"))

    async def _stop(self) -> None:
        await self._kubelet.stop()
        await self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._loop.shutdown_asyncgens()

    def _set_capacity(self, node: str, resource: str, amount: str) -> None:
        def change() -> None:
            found = self._store.get(NODES, "", node)
            capacity = {**found["status"]["capacity"], resource: amount}
            status = {**found["status"], "capacity": capacity, "allocatable": capacity}
            self._store.replace(NODES, {**found, "status": status})

        self._do(change)

    def _worker(self, pod: str) -> PodWorker:
        return self._kubelet.worker(self.namespace, pod)

    def _do(self, action: Callable[[], Any]) -> Any:
        """Run a function in the cluster's thread."""

        async def run() -> Any:
            return action()

        return self._call(run())

    def _call(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_CALL_SECONDS)


def _node(name: str, labels: dict[str, str] | None = None, taints: list[Json] | None = None) -> Json:
    capacity = {"cpu": "16", "memory": "64Gi", "pods": "110", "ephemeral-storage": "100Gi"}
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "KubeletReady",
        "message": "kubelet is posting ready status",
        "lastHeartbeatTime": timestamp(),
        "lastTransitionTime": timestamp(),
    }
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **(labels or {})}},
        "spec": {"taints": taints or []},
        "status": {
            "capacity": capacity,
            "allocatable": capacity,
            "conditions": [ready],
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "nodeInfo": {
                "kubeletVersion": _KUBELET_VERSION,
                "architecture": "amd64",
                "operatingSystem": "linux",
            },
        },
    }


_KUBELET_VERSION = "v1.34.0+fake"
