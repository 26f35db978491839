"""The life of one pod on its node."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import signal
from typing import TYPE_CHECKING

from tests.support.fakes.kubernetes_api import events
from tests.support.fakes.kubernetes_api.environment import (
    ContainerConfigError,
    command_line,
    container_environment,
)
from tests.support.fakes.kubernetes_api.pod_status import Record, pod_status
from tests.support.fakes.kubernetes_api.processes import Container
from tests.support.fakes.kubernetes_api.resources import PODS
from tests.support.fakes.kubernetes_api.store import timestamp
from tests.support.fakes.kubernetes_api.volumes import MountError, PodFolders

if TYPE_CHECKING:
    from tests.support.fakes.kubernetes_api.machine import Machine
    from tests.support.fakes.kubernetes_api.refusals import Json

# A real kubelet takes 10 s and more for each of these; their order is the same.
RETRY_SECONDS = 0.2
RESTART_SECONDS = 0.2
_DEADLINE = ("DeadlineExceeded", "Pod was active on the node longer than the specified deadline")


class PodWorker:
    """Runs a pod's containers and writes its status, until it has ended or is taken away."""

    def __init__(self, machine: Machine, pod: Json) -> None:
        self._machine, self._spec = machine, pod["spec"]
        self._namespace, self._name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        self.uid = pod["metadata"]["uid"]
        self.folders = PodFolders(machine, pod)
        self._inits = [Record(copy.deepcopy(each)) for each in self._spec.get("initContainers") or []]
        self._records = [Record(copy.deepcopy(each)) for each in self._spec["containers"]]
        for record in self._records if self._inits else []:
            record.wait_for("PodInitializing")
        self._phase = "Pending"
        self._task: asyncio.Task[None] | None = None
        self._waits: dict[str, asyncio.Task[None]] = {}

    @property
    def records(self) -> dict[str, Record]:
        return {record.name: record for record in (*self._inits, *self._records)}

    @property
    def phase(self) -> str:
        return self._phase

    def start(self) -> None:
        self._task = asyncio.create_task(self._live())

    async def stop(self, grace: float) -> None:
        """TERM, and KILL after the grace period in seconds; returns when nothing runs."""
        await self._cancel()
        running = [record.process for record in self.records.values() if record.process]
        for process in running if grace > 0 else []:
            process.signal(signal.SIGTERM)
        if grace > 0 and self._waits:
            await asyncio.wait(self._waits.values(), timeout=grace)
        for record in self.records.values():
            if record.process:
                record.process.signal(signal.SIGKILL)
        await asyncio.gather(*self._waits.values())

    async def fail(self, reason: str, message: str, grace: float = 0) -> None:
        """End the pod for a reason of the node, e.g. ``Evicted``."""
        await self.stop(grace)
        for record in self._records:
            if record.exit_code is None and record.root is not None:
                record.end(137, "ContainerStatusUnknown")
        self._publish("Failed", reason=reason, message=message)

    async def vanish(self) -> None:
        """The node is lost: processes are gone, and nobody writes a status."""
        self._phase = "Unknown"
        await self.stop(grace=0)

    def finish(self) -> None:
        """Write down the final phase of a pod that was stopped from outside."""
        if self._phase not in ("Succeeded", "Failed", "Unknown"):
            self._publish(self._final_phase())

    async def _cancel(self) -> None:
        if self._task and self._task is not asyncio.current_task():
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _live(self) -> None:
        seconds = self._spec.get("activeDeadlineSeconds")
        try:
            async with asyncio.timeout(seconds):
                await self._run()
        except TimeoutError:
            await self.fail(*_DEADLINE, grace=self._spec["terminationGracePeriodSeconds"])
            self._event("DeadlineExceeded", _DEADLINE[1], warning=True)

    async def _run(self) -> None:
        self._publish("Pending", startTime=timestamp(), hostIP="127.0.0.1", podIP=self._machine.new_address())
        await self._mount()
        for record in self._inits:
            await self._supervise(record)
            if record.exit_code != 0:
                self._publish("Failed")
                return
        await asyncio.gather(*(self._supervise(record) for record in self._records))
        self._publish(self._final_phase())

    def _final_phase(self) -> str:
        done = all(record.exit_code == 0 for record in self._records)
        return "Succeeded" if done else "Failed"

    async def _mount(self) -> None:
        while True:
            try:
                self.folders.mount()
            except MountError as error:
                self._event("FailedMount", f"MountVolume.SetUp failed for volume: {error}", warning=True)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return

    async def _supervise(self, record: Record) -> None:
        """Run a container, and again as its pod's restart policy says."""
        policy = self._spec["restartPolicy"]
        is_init = record in self._inits
        while True:
            await self._pull(record)
            await self._once(record)
            again = (policy != "Never" and record.exit_code != 0) or (policy == "Always" and not is_init)
            if not again:
                return
            record.last_state, record.restarts = record.state, record.restarts + 1
            message = (
                f"back-off {RESTART_SECONDS}s restarting failed container={record.name} pod={self._name}"
            )
            record.wait_for("CrashLoopBackOff", message)
            self._publish()
            self._event(
                "BackOff", "Back-off restarting failed container", warning=True, container=record.name
            )
            await asyncio.sleep(RESTART_SECONDS * record.restarts)

    async def _pull(self, record: Record) -> None:
        image, images = record.spec["image"], self._machine.images
        if not images.is_reference(image):
            message = f'Failed to apply default image tag "{image}": invalid reference format'
            await self._hold(record, "InvalidImageName", message, "InspectFailed")
        if record.spec["imagePullPolicy"] == "Never" and not images.is_present(image):
            message = f'Container image "{image}" is not present with pull policy of Never'
            await self._hold(record, "ErrImageNeverPull", message, "ErrImageNeverPull")
        while error := images.pull_error(image):
            message = f'Failed to pull image "{image}": {error}'
            self._wait(record, "ErrImagePull", error)
            self._event("Failed", message, warning=True, container=record.name)
            await asyncio.sleep(RETRY_SECONDS)
            self._wait(record, "ImagePullBackOff", f'Back-off pulling image "{image}": ErrImagePull: {error}')
            self._event("BackOff", f'Back-off pulling image "{image}"', container=record.name)
            await asyncio.sleep(RETRY_SECONDS)
        self._event("Pulled", f'Successfully pulled image "{image}"', container=record.name)

    async def _hold(self, record: Record, reason: str, message: str, event: str) -> None:
        """Wait for ever: only a deletion or the deadline ends it."""
        self._wait(record, reason, message)
        self._event(event, message, warning=True, container=record.name)
        await asyncio.Event().wait()

    async def _once(self, record: Record) -> None:
        """Run a container once, until it has ended."""
        try:
            process = await self._start(record)
        except OSError as error:
            message = (
                "failed to create containerd task: failed to create shim task: OCI runtime create failed: "
                f'exec: "{error.filename}": {error.strerror}'
            )
            record.end(128, "StartError", message)
            self._event("Failed", f"Error: {message}", warning=True, container=record.name)
            self._publish()
            return
        record.run(process)
        # Shielded: the task that waits is needed by `stop` when this one is cancelled.
        self._waits[record.name] = asyncio.create_task(self._wait_end(record, process))
        self._event("Started", f"Started container {record.name}", container=record.name)
        self._publish("Pending" if record in self._inits else "Running")
        await asyncio.shield(self._waits[record.name])

    async def _wait_end(self, record: Record, process: Container) -> None:
        record.end(await process.wait())
        if self._phase != "Unknown":
            self._publish()

    async def _start(self, record: Record) -> Container:
        record.root = self.folders.container_root(record.spec)
        while True:
            pod = self._machine.store.get(PODS, self._namespace, self._name)
            try:
                environment = container_environment(self._machine, pod, record.spec, record.root)
            except ContainerConfigError as error:
                self._wait(record, "CreateContainerConfigError", str(error))
                self._event("Failed", f"Error: {error}", warning=True, container=record.name)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                break
        argv = command_line(self._machine, record.spec, environment, record.root)
        if not argv:
            raise FileNotFoundError(2, "no command specified", "")
        mark = f"{self._machine.mark}/{self.uid}/{record.name}/{record.restarts}."
        return await Container.start(argv, environment, record.root, mark)

    def _wait(self, record: Record, reason: str, message: str) -> None:
        record.wait_for(reason, message)
        self._publish()

    def _publish(self, phase: str | None = None, **fields: str) -> None:
        """Write the pod's status; a pod that is gone has none."""
        pod = self._machine.store.find(PODS, self._namespace, self._name)
        if pod is None or pod["metadata"]["uid"] != self.uid:
            return
        self._phase = phase or self._phase
        base = {**pod["status"], **fields}
        if address := fields.get("podIP"):
            base["podIPs"] = [{"ip": address}]
        status = pod_status(base, self._inits, self._records, self._phase)
        self._machine.store.replace(PODS, {**pod, "status": status})

    def _event(self, reason: str, message: str, *, warning: bool = False, container: str = "") -> None:
        pod = self._machine.store.find(PODS, self._namespace, self._name)
        if pod is not None and pod["metadata"]["uid"] == self.uid:
            events.record(self._machine.store, pod, reason, message, warning=warning, container=container)
