"""One try on a Kubernetes cluster: its pods made, its log followed, everything removed."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NoReturn

from confidential_spark.agent.protocol import TRUST_SIMULATED
from confidential_spark.core.errors import EnclaveError
from confidential_spark.core.failures import UNNAMED, Diagnosis, LogWatcher
from confidential_spark.enclave import occlum_config
from confidential_spark.enclave.image import PREFIX
from confidential_spark.enclave.spark import memory_bytes
from confidential_spark.hooks.blob.settings import blob_settings
from confidential_spark.operators.resumable import Leftover, Pauses, raise_if_cancelled
from confidential_spark.platforms.kubernetes.client.cluster import (
    API_PATIENCE_SECONDS,
    Cluster,
    kubernetes_client,
)
from confidential_spark.platforms.kubernetes.client.failures import (
    API_AWAY,
    POD_LOST,
    REFUSED,
    attribute_to_executors,
    pod_diagnosis,
)
from confidential_spark.platforms.kubernetes.names import (
    DEPLOYMENT_LABEL,
    ENCLAVE_CONTAINER,
    NONCE_LABEL,
    ROLE_DRIVER,
    ROLE_EXECUTOR,
    ROLE_LABEL,
    RUN_ANNOTATIONS,
    RUN_LABELS,
    TryNames,
    label_value,
    nonce_digest,
    selector,
)
from confidential_spark.platforms.kubernetes.pod_specs import PodPlan
from confidential_spark.platforms.kubernetes.spark_conf import whole_cores

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from confidential_spark.enclave.occlum_config import EnclaveSizing
    from confidential_spark.enclave.output import EnclaveOutput
    from confidential_spark.platforms.kubernetes.client.pods import PodState
    from confidential_spark.platforms.kubernetes.settings import KubernetesSettings

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 2.0
LOOK_SECONDS = 10.0
# A pod that somebody removed ends by itself within its grace period, unless its node is gone.
LOST_PATIENCE_SECONDS = 120.0
GONE_SECONDS = 60.0
SETTLE_SECONDS = 3.0
# SIGKILL and SIGTERM: by a person, the kernel, a deadline or an eviction.
STOPPED_CODES = (137, 143)
NOT_STARTED = "pod-unschedulable"
NO_EXECUTORS = "spark-no-executors"
INPUT_DIFFERS, STORAGE = "executor-input-differs", "storage-"


def connect(settings: KubernetesSettings, *, patience: float = API_PATIENCE_SECONDS, **more: Any) -> Cluster:
    """Return the namespace that the deployment's settings and connection name."""

    return Cluster(lambda: kubernetes_client(settings.conn_id), settings.namespace, patience=patience, **more)


def run_labels(dag_id: str, run_id: str) -> dict[str, str]:
    """Return the labels that all pods of a run have."""
    return dict(zip(RUN_LABELS, (label_value(dag_id), label_value(run_id)), strict=True))


@dataclass(frozen=True)
class PodOwner:
    """Whose pods they are: by labels, to be found by, and by the ids that Airflow knows."""

    labels: dict[str, str]
    annotations: dict[str, str]


def pod_owner(ti: Any, nonce: str, deployment: str) -> PodOwner:
    """Return the try of a task as the owner of its pods."""
    labels = {
        **run_labels(ti.dag_id, ti.run_id),
        f"{PREFIX}task": label_value(ti.task_id),
        f"{PREFIX}try": str(ti.try_number),
        f"{PREFIX}map-index": label_value(str(ti.map_index)),
        NONCE_LABEL: nonce_digest(nonce),
        DEPLOYMENT_LABEL: deployment,
    }
    return PodOwner(labels, dict(zip(RUN_ANNOTATIONS, (ti.dag_id, ti.run_id), strict=True)))


def leftovers(cluster: Cluster) -> list[Leftover]:
    """Return the pods of all runs, but for those that somebody is removing.

    :raises EnclaveError: ``kubernetes-…``.
    """
    dag, run = RUN_ANNOTATIONS
    return [
        Leftover(
            kind="pod",
            name=pod.name,
            deployment=pod.labels.get(DEPLOYMENT_LABEL, ""),
            dag_id=pod.annotations.get(dag, ""),
            run_id=pod.annotations.get(run, ""),
            age=pod.age,
            ended=pod.ended,
        )
        for pod in cluster.pods(NONCE_LABEL, "")
        if not pod.deleted
    ]


def pod_plan(
    settings: KubernetesSettings,
    sizing: EnclaveSizing,
    image: str,
    trust: str,
    names: TryNames,
    owner: PodOwner,
) -> PodPlan:
    """Return what the pods of a try have in common.

    :param sizing: of the image's enclave.
    :param image: its reference.
    """
    return PodPlan(
        image=image,
        names=names,
        labels=owner.labels,
        annotations=owner.annotations,
        cpu_request=settings.cpu_request,
        cpu_limit=whole_cores(settings.cpu_request),
        memory_bytes=memory_bytes(settings.driver_memory),
        epc_bytes=epc_bytes(settings, sizing, trust),
        aesm=settings.quote_access == "aesm" and trust != TRUST_SIMULATED,
        groups=settings.supplemental_groups,
        deadline_seconds=settings.deadline_minutes * 60,
        emulator=blob_settings().emulator_forward(settings.emulator) if trust == TRUST_SIMULATED else None,
        node_selector=settings.node_selector,
        tolerations=settings.tolerations,
        pull_secret=settings.pull_secret,
    )


def epc_bytes(settings: KubernetesSettings, sizing: EnclaveSizing, trust: str) -> int | None:
    """Return how much enclave memory one pod asks for, or None: none, for it has no SGX."""
    if settings.epc != "auto":
        return occlum_config.size_bytes(settings.epc)
    if trust == TRUST_SIMULATED:
        return None
    return occlum_config.enclave_bytes(sizing)


@dataclass
class KubernetesEnclave:
    """The pods of one try.

    :param output: reads what the enclave prints.
    :param stopped: says whether somebody asked the task to end.
    :param start_seconds: how long a pod may take to start, and a driver may be without any executor.
    :param executorless_since: seconds since 1970 since when no executor has run, as far as was looked.
    """

    cluster: Cluster
    names: TryNames
    nonce: str
    output: EnclaveOutput
    stopped: Callable[[], bool]
    start_seconds: float
    executorless_since: float | None = None
    _told: set[str] = field(default_factory=set)
    _ended_executors: dict[str, Diagnosis] = field(default_factory=dict)

    @property
    def selector(self) -> str:
        """Selects every pod of the try, executors included."""
        return selector({NONCE_LABEL: nonce_digest(self.nonce)})

    def await_running(self, pod: str, container: str, *, or_ended: bool = False) -> PodState:
        """Wait until a container runs.

        :param or_ended: whether it may be over already.
        :raises EnclaveError: named by the failure table; ``terminated``.
        """
        pauses = Pauses(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
        while True:
            raise_if_cancelled(self.stopped)
            state = self.require(pod, container)
            if state.running or (or_ended and state.ended):
                return state
            if state.ended:
                self._fail(state, container)
            self.check_startup(state)
            pauses.wait()

    def follow(
        self,
        pod: str,
        container: str,
        *,
        known_until: str = "",
        on_position: Callable[[str], None] = lambda stamp: None,
        on_look: Callable[[PodState], None] = lambda state: None,
        until_ended: bool = True,
    ) -> bool:
        """Copy what a container prints until it has ended well; return whether it has.

        :param known_until: time stamp up to which an earlier try has logged already.
        :param on_position: takes the time stamp up to which the log is complete.
        :param on_look: is called every ten seconds, as long as the container has not ended.
        :param until_ended: False: copy what is there, and return.
        :raises EnclaveError: the program failed, by name; ``pod-lost``; ``terminated``.
        """
        tail = _LogTail(self.cluster, pod, container)
        lost = _LostPod()
        pauses = Pauses(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
        next_look = time.monotonic() + LOOK_SECONDS
        while True:
            raise_if_cancelled(self.stopped)
            state = self.require(pod, container)
            for stamp, line in tail.read(patient=state.ended):
                self.output.feed(line, known=stamp <= known_until)
            on_position(tail.position)
            if state.ended:
                break
            if not until_ended:
                # The next look begins behind these lines.
                self.output.close()
                return False
            lost.require_alive(state)
            if time.monotonic() >= next_look:
                on_look(state)
                next_look = time.monotonic() + LOOK_SECONDS
            pauses.wait()
        self.output.close()
        if state.exit_code in STOPPED_CODES:
            state = self._settled(state, container)
        if diagnosis := pod_diagnosis(state, self.output.watcher):
            # Spark names no cause of its own when its executors fail.
            self.poll_executors()
            self.output.fail(attribute_to_executors(diagnosis, self._ended_executors.values()))
        return True

    def _settled(self, state: PodState, container: str) -> PodState:
        """Return a stopped pod with the reason, which the kubelet may give a moment after the exit code."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while not (state.reason or state.deleted) and time.monotonic() < deadline:
            time.sleep(FIRST_PAUSE_SECONDS)
            state = self.cluster.find(state.name, container) or replace(state, deleted=True)
        return state

    def require(self, pod: str, container: str) -> PodState:
        """Return how a pod is.

        :raises EnclaveError: ``pod-lost`` when there is none.
        """
        state = self.cluster.find(pod, container)
        if state is None:
            raise Diagnosis.named(POD_LOST, f"pod {pod} is not there").error()
        return state

    def check_siblings(self, driver: PodState) -> None:
        """Look at the other pods of a driver that has not ended: has it executors?

        :raises EnclaveError: named by the failure table.
        """
        executors = self.poll_executors()
        self._check_executors_input()
        waiting = [state for state in executors if not (state.running or state.ended)]
        for state in waiting:
            self._tell_obstacle(state)
        if not driver.running or any(state.running for state in executors):
            self.executorless_since = None
            return
        if len(waiting) == len(executors):
            # None has ever run: each has the time that any pod has.
            for state in waiting:
                self.check_startup(state)
        self._check_missing_executors(waiting)

    def poll_executors(self) -> list[PodState]:
        """Return the executors' pods; how those ended that nobody removed counts for the driver's end."""
        labels = f"{self.selector},{ROLE_LABEL}={ROLE_EXECUTOR}"
        executors = self.cluster.pods(labels, ENCLAVE_CONTAINER)
        for state in executors:
            if state.ended and not state.deleted and (diagnosis := pod_diagnosis(state, LogWatcher())):
                self._ended_executors[state.name] = diagnosis
                for line in state.words():
                    self._tell(f"Executor pod {state.name}: {line}")
        return executors

    def _check_executors_input(self) -> None:
        """End a run with an executor that was served another input, or cannot get it.

        Spark would replace it, time and again.
        """
        for diagnosis in self._ended_executors.values():
            name, lasts = diagnosis.failure.name, not diagnosis.failure.retryable
            if name == INPUT_DIFFERS or (lasts and name.startswith(STORAGE)):
                self.output.fail(diagnosis)

    def _check_missing_executors(self, waiting: Sequence[PodState]) -> None:
        """Give a driver up that has had no executor for too long; those that it has lost may come back."""
        now = time.time()
        self.executorless_since = self.executorless_since or now
        if now - self.executorless_since <= self.start_seconds:
            return
        if waiting:
            self.output.fail(self._why_not_started(waiting[0]))
        # No pod was made at all: only Spark's log says why.
        diagnosis = self.output.watcher.diagnose()
        if diagnosis.failure is UNNAMED:
            diagnosis = Diagnosis.named(
                NO_EXECUTORS, f"no executor has run for {now - self.executorless_since:.0f} s"
            )
        self.output.fail(diagnosis)

    def leftover(self) -> str | None:
        """Return the driver that a dead worker has left, unless somebody is removing it.

        :raises EnclaveError: ``kubernetes-…``.
        """
        found = self.cluster.find(self.names.driver, ENCLAVE_CONTAINER)
        return f"pod {found.name} ({found.phase})" if found and not found.deleted else None

    def remove(self) -> None:
        """Remove the try's pods, and with them its Secret.

        :raises EnclaveError: ``kubernetes-…``.
        """
        self.cluster.delete_pod(self.names.driver)
        readers = f"{ROLE_DRIVER},{ROLE_EXECUTOR}"
        selected = f"{self.selector},{ROLE_LABEL} in ({readers})"
        # Kubernetes removes what the driver owned, later; an intruder belongs to nobody.
        for state in self.cluster.pods(selected, ""):
            self.cluster.delete_pod(state.name)
        self.cluster.await_gone(selected, GONE_SECONDS)
        self.cluster.delete_pod(self.names.attest)
        self.cluster.await_gone(self.selector, GONE_SECONDS)

    def check_startup(self, state: PodState) -> None:
        """Log what keeps a pod from starting, and give it up when that takes too long.

        :raises EnclaveError: named by the failure table.
        """
        self._tell_obstacle(state)
        if state.is_overdue(self.start_seconds):
            self.output.fail(self._why_not_started(state))

    def _why_not_started(self, state: PodState) -> Diagnosis:
        """Name what keeps a pod from starting; what its driver says is of no concern here."""
        watcher = LogWatcher()
        for line in (state.obstacle, *self.cluster.warnings(state.name)):
            self._tell(line)
            watcher.feed(line)
        diagnosis = watcher.diagnose()
        if diagnosis.failure is UNNAMED:
            return Diagnosis.named(NOT_STARTED, f"pod {state.name} has not started in {state.age:.0f} s")
        return diagnosis

    def _tell_obstacle(self, state: PodState) -> None:
        if state.obstacle:
            self._tell(f"Pod {state.name} waits: {state.obstacle}")

    def _tell(self, line: str) -> bool:
        """Log a line once, and return whether it was new."""
        if not line or line in self._told:
            return False
        self._told.add(line)
        self.output.log(line)
        return True

    def _fail(self, state: PodState, container: str) -> NoReturn:
        """Fail with the words of a pod that should run and has ended."""
        for _, line in _LogTail(self.cluster, state.name, container).read(patient=True):
            self.output.feed(line)
        self.output.close()
        diagnosis = pod_diagnosis(state, self.output.watcher)
        self.output.fail(diagnosis or Diagnosis.named(POD_LOST, f"pod {state.name} has ended"))


@dataclass
class _LogTail:
    """Reads a container's log bit by bit."""

    cluster: Cluster
    pod: str
    container: str
    position: str = ""
    _read_at: float | None = None

    def read(self, *, patient: bool = False) -> list[tuple[str, str]]:
        """Return the lines since the last time; none where the log is not to be had now.

        :param patient: whether an API that is away is waited for.
        """
        began = time.monotonic()
        within = None if self._read_at is None else began - self._read_at
        try:
            lines = list(
                self.cluster.lines(
                    self.pod, self.container, after=self.position, within=within, patient=patient
                )
            )
        except EnclaveError as error:
            # The container has not started, or its node is away: the pod's status decides what follows.
            if error.code in (API_AWAY, REFUSED):
                return []
            raise
        self._read_at = began
        if lines:
            self.position = lines[-1][0]
        return lines


@dataclass
class _LostPod:
    """Notices a pod that was removed and does not end: its node is gone."""

    _since: float | None = None

    def require_alive(self, state: PodState) -> None:
        if not state.deleted:
            self._since = None
            return
        self._since = self._since or time.monotonic()
        if time.monotonic() - self._since > LOST_PATIENCE_SECONDS:
            raise Diagnosis.named(
                POD_LOST, f"pod {state.name} was removed, and its node does not answer"
            ).error()
