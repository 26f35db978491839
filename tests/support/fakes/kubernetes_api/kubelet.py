"""The kubelets of all nodes: they take the pods that are bound, and end those that are to be deleted."""

from __future__ import annotations

import asyncio
import contextlib
import copy
from typing import TYPE_CHECKING

from tests.support.fakes.kubernetes_api import events
from tests.support.fakes.kubernetes_api.pod_worker import PodWorker
from tests.support.fakes.kubernetes_api.refusals import Refusal
from tests.support.fakes.kubernetes_api.resources import NODES, PODS
from tests.support.fakes.kubernetes_api.store import timestamp

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from tests.support.fakes.kubernetes_api.machine import Machine
    from tests.support.fakes.kubernetes_api.refusals import Json
    from tests.support.fakes.kubernetes_api.store import Change

_UNREACHABLE = {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute", "timeAdded": None}


class Kubelet:
    """One worker for each pod that has a node."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._workers: dict[str, PodWorker] = {}
        self._lost_nodes: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._endings: dict[str, asyncio.Event] = {}
        machine.store.subscribe(self._on_change)

    def worker(self, namespace: str, name: str) -> PodWorker:
        """Return the worker of a pod.

        :raises Refusal: 400 when no node has it yet; 500 when its node is lost.
        """
        pod = self._machine.store.get(PODS, namespace, name)
        worker = self._workers.get(pod["metadata"]["uid"])
        node = pod["spec"].get("nodeName", "")
        if node in self._lost_nodes:
            message = f'Get "https://{node}:10250/": dial tcp: connect: no route to host'
            raise Refusal(500, "InternalError", message)
        if worker is None:
            raise Refusal(400, "BadRequest", f"pod {name} does not have a host assigned")
        return worker

    def phase(self, namespace: str, name: str) -> str:
        """Return the phase of a pod, or nothing where it has none yet."""
        return str(self._machine.store.get(PODS, namespace, name)["status"].get("phase") or "")

    def request_deletion(self, pod: Json, grace: float | None) -> Json:
        """Mark a pod for deletion, or shorten the grace period it already has. Returns it as it is then."""
        grace = pod["spec"].get("terminationGracePeriodSeconds", 30) if grace is None else grace
        marked = copy.deepcopy(pod)
        again = "deletionTimestamp" in pod["metadata"]
        marked["metadata"].setdefault("deletionTimestamp", timestamp())
        marked["metadata"]["deletionGracePeriodSeconds"] = int(grace)
        marked = self._machine.store.replace(PODS, marked)
        forced = self._endings.setdefault(pod["metadata"]["uid"], asyncio.Event())
        if grace == 0:
            forced.set()
        if not again:
            self._spawn(self._end(marked, grace))
        return marked

    async def lose_node(self, node: str) -> None:
        """A node goes dark: its processes are gone, its pods' statuses stay as they were, but not ready."""
        self._lost_nodes.add(node)
        found = copy.deepcopy(self._machine.store.get(NODES, "", node))
        found["spec"].setdefault("taints", []).append(_UNREACHABLE)
        for condition in found["status"]["conditions"]:
            if condition["type"] == "Ready":
                message = "Kubelet stopped posting node status."
                condition.update(status="Unknown", reason="NodeStatusUnknown", message=message)
        self._machine.store.replace(NODES, found)
        for pod in self._pods_of(node):
            await self._workers[pod["metadata"]["uid"]].vanish()
            self._mark_lost(pod, node)

    async def evict(self, namespace: str, name: str, message: str) -> None:
        pod = self._machine.store.get(PODS, namespace, name)
        events.record(self._machine.store, pod, "Evicted", message, warning=True)
        await self.worker(namespace, name).fail("Evicted", message)

    async def stop(self) -> None:
        """End all pods at once."""
        await asyncio.gather(*(worker.stop(grace=0) for worker in self._workers.values()))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _on_change(self, change: Change) -> None:
        if change.resource is not PODS:
            return
        uid = change.object["metadata"]["uid"]
        bound = change.object["spec"].get("nodeName")
        if change.type == "DELETED":
            self._workers.pop(uid, None)
        elif bound and uid not in self._workers and not change.object["metadata"].get("deletionTimestamp"):
            self._workers[uid] = PodWorker(self._machine, change.object)
            self._workers[uid].start()

    async def _end(self, pod: Json, grace: float) -> None:
        metadata = pod["metadata"]
        worker = self._workers.get(metadata["uid"])
        if worker is not None and pod["spec"]["nodeName"] in self._lost_nodes:
            # Nobody is there to confirm the end: the pod stays Terminating until it is deleted by force.
            await self._endings[metadata["uid"]].wait()
        elif worker is not None:
            events.record(self._machine.store, pod, "Killing", "Stopping container")
            stopping = asyncio.create_task(worker.stop(grace))
            forced = asyncio.create_task(self._endings[metadata["uid"]].wait())
            await asyncio.wait({stopping, forced}, return_when=asyncio.FIRST_COMPLETED)
            if not stopping.done():
                await worker.stop(grace=0)
            await stopping
            forced.cancel()
            worker.finish()
        self._forget(pod)

    def _forget(self, pod: Json) -> None:
        metadata = pod["metadata"]
        self._endings.pop(metadata["uid"], None)
        if worker := self._workers.get(metadata["uid"]):
            worker.folders.remove()
        with contextlib.suppress(Refusal):  # the whole namespace may be gone already
            self._machine.store.remove(PODS, metadata["namespace"], metadata["name"])

    def _pods_of(self, node: str) -> list[Json]:
        return [pod for pod in self._machine.store.select(PODS) if pod["spec"].get("nodeName") == node]

    def _mark_lost(self, pod: Json, node: str) -> None:
        current = copy.deepcopy(
            self._machine.store.get(PODS, pod["metadata"]["namespace"], pod["metadata"]["name"])
        )
        for condition in current["status"].get("conditions") or []:
            if condition["type"] == "Ready":
                condition["status"] = "False"
        lost = self._machine.store.replace(PODS, current)
        message = f"Node {node} which was running pod {pod['metadata']['name']} is unresponsive"
        events.record(self._machine.store, lost, "NodeNotReady", message, warning=True)
        self.request_deletion(lost, None)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
