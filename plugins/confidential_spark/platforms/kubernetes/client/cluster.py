"""A namespace of a cluster, reached by an Airflow connection: pods and Secrets made, looked at, and removed.

Every call is one short request, so a pause or a restart of the API is waited for and never mistaken for the
end of the run. Names follow from the try's nonce, so creating what is there already is no error.
"""

from __future__ import annotations

import math
import time
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.sdk.exceptions import AirflowException
from yaml import YAMLError

from confidential_spark.core.errors import ConfigurationError, EnclaveError
from confidential_spark.core.failures import Diagnosis
from confidential_spark.operators.resumable import ask_patiently
from confidential_spark.platforms.kubernetes.client.failures import (
    API_AWAY,
    FORBIDDEN,
    POD_LOST,
    UNAUTHORIZED,
    WAITED_FOR,
    already_exists,
    api_exception,
    is_being_deleted,
    kubernetes_failures,
)
from confidential_spark.platforms.kubernetes.client.pods import PodState, api_time, stamped_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kubernetes.client import CoreV1Api, V1Pod

T = TypeVar("T")

API_PATIENCE_SECONDS = 300.0
API_PAUSE_SECONDS = 2.0
REQUEST_TIMEOUT_SECONDS = 30
# A kubelet writes a line a moment after it was printed; lines that come twice are told apart by their stamps.
LOG_OVERLAP_SECONDS = 10
MAX_LOG_BYTES = 32 * 1024 * 1024
GONE_POLL_SECONDS = 0.3
# A log that a container runtime has lost does not come back.
LOG_PATIENCE_SECONDS = 30.0
# How far a pod had come when a warning was given, and what is said when it has come further.
WARNED_AT = {
    "FailedScheduling": 0,
    "FailedMount": 1,
    "FailedCreatePodSandBox": 1,
}
REACHED = {"Scheduled": 1, "Pulling": 2, "Pulled": 2, "Created": 2, "Started": 2}
LATER = 3
# What the provider and kubernetes-client raise over a connection or its files; Airflow's own API that is away
# raises none of them, and may be back at the next try.
UNUSABLE = (AirflowException, YAMLError, OSError, ValueError, TypeError, AttributeError)


class Cluster:
    """One namespace, seen by Airflow's service account.

    :param connect: makes a client; called again when the API no longer accepts its credentials.
    :param patience: seconds without any answer of the API before that is an error.
    """

    def __init__(
        self,
        connect: Callable[[], CoreV1Api],
        namespace: str,
        *,
        patience: float = API_PATIENCE_SECONDS,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        """Connect at the first request."""
        self.connect = connect
        self.namespace = namespace
        self.patience = patience
        self.stopped = stopped
        self._client: CoreV1Api | None = None

    @property
    def client(self) -> CoreV1Api:
        """The client in use."""
        if self._client is None:
            self._client = self.connect()
        return self._client

    def ask(self, request: Callable[[CoreV1Api], T], *, patience: float | None = None) -> T:
        """Ask the API until it answers; only its silence is waited for, never a refusal.

        :param request: may be sent more than once.
        :param patience: seconds, where they are not the namespace's own.
        :raises EnclaveError: what it refused, or ``kubernetes-unreachable`` after the patience.
        """

        def attempt() -> T:
            try:
                with kubernetes_failures():
                    return request(self.client)
            except EnclaveError as failure:
                if failure.code != UNAUTHORIZED:
                    raise
            self._client = None
            with kubernetes_failures():
                return request(self.client)

        return ask_patiently(
            attempt,
            service="Kubernetes API",
            # An API server that comes back knows nobody's rights until it has read the Roles.
            passes=lambda failure, waited: (
                failure.code in WAITED_FOR or (waited and failure.code == FORBIDDEN)
            ),
            patience=self.patience if patience is None else patience,
            pause=API_PAUSE_SECONDS,
            stopped=self.stopped,
        )

    def create_pod(self, pod: Any) -> str:
        """Create a pod and return its uid; one of this name that is there already is used.

        :raises EnclaveError: ``pod-lost``: one of this name is being removed, and does not go.
        """
        name = pod["metadata"]["name"] if isinstance(pod, dict) else pod.metadata.name
        deadline = time.monotonic() + self.patience
        while True:
            made = self.ask(lambda client: self._made_or_there(client, name, pod))
            if made is not None and made.metadata.deletion_timestamp is None:
                return str(made.metadata.uid)
            if time.monotonic() >= deadline or self.stopped():
                raise Diagnosis.named(
                    POD_LOST, f"an earlier pod {name} is being removed, and does not go"
                ).error()
            time.sleep(GONE_POLL_SECONDS)

    def _made_or_there(self, client: CoreV1Api, name: str, pod: Any) -> V1Pod | None:
        """Return the new pod or the one that is there, or None when that one has just gone."""
        try:
            return client.create_namespaced_pod(self.namespace, pod, **_timeout())
        except api_exception() as error:
            if not (already_exists(error) or is_being_deleted(error)):
                raise
        with _absence_allowed():
            return client.read_namespaced_pod(name, self.namespace, **_timeout())
        return None

    def create_secret(self, secret: dict[str, Any]) -> None:
        """Create a Secret; one of this name that is there already is used."""

        def create(client: CoreV1Api) -> None:
            try:
                client.create_namespaced_secret(self.namespace, secret, **_timeout())
            except api_exception() as error:
                if not already_exists(error):
                    raise

        self.ask(create)

    def find(self, name: str, container: str) -> PodState | None:
        """Return how a pod is, or None when there is none of this name."""
        return self.ask(lambda client: self._state(client, name, container))

    def _state(self, client: CoreV1Api, name: str, container: str) -> PodState | None:
        with _absence_allowed():
            pod, _, headers = client.read_namespaced_pod_with_http_info(name, self.namespace, **_timeout())
            return PodState.of(pod, container, now=api_time(headers))
        return None

    def pods(self, selector: str, container: str) -> list[PodState]:
        """Return how the pods with these labels are."""
        found, _, headers = self.ask(
            lambda client: client.list_namespaced_pod_with_http_info(
                self.namespace, label_selector=selector, **_timeout()
            )
        )
        return [PodState.of(pod, container, now=api_time(headers)) for pod in found.items]

    def warnings(self, pod: str) -> list[str]:
        """Return the latest warnings about a pod, in the cluster's words, oldest first.

        What it has got over is left out: no node while its volume is mounted, no volume while its image is
        pulled.
        """
        found = self.ask(
            lambda client: (
                client.list_namespaced_event(
                    self.namespace, field_selector=f"involvedObject.name={pod}", **_timeout()
                ).items
            )
        )
        reached = max((REACHED.get(event.reason, 0) for event in found), default=0)
        return [
            f"{event.reason}: {event.message}"
            for event in found
            if event.type == "Warning" and WARNED_AT.get(event.reason, LATER) >= reached
        ][-10:]

    def lines(
        self, pod: str, container: str, *, after: str, within: float | None, patient: bool = True
    ) -> Iterator[tuple[str, str]]:
        """Yield what a container printed after a time stamp: (time stamp in UTC, line).

        :param within: seconds since the log was last read as a whole, or None: read it from its beginning.
        :param patient: whether the container has ended: then an API that is away is waited for, and the last
            line is whole though nothing ends it.
        :raises EnclaveError: ``kubernetes-unreachable``: also where the node has no log to give now.
        """
        since = {"since_seconds": math.ceil(within) + LOG_OVERLAP_SECONDS} if within is not None else {}

        def read(client: CoreV1Api) -> str:
            answer = client.read_namespaced_pod_log(
                pod,
                self.namespace,
                container=container,
                timestamps=True,
                limit_bytes=MAX_LOG_BYTES,
                _preload_content=False,
                **since,
                **_timeout(),
            )
            return bytes(answer.data).decode("utf-8", "replace")

        deadline = time.monotonic() + (LOG_PATIENCE_SECONDS if patient else 0.0)
        while (
            lines := stamped_lines(self.ask(read, patience=None if patient else 0.0), whole=patient)
        ) is None:
            if time.monotonic() >= deadline or self.stopped():
                raise Diagnosis.named(API_AWAY, f"the node has no log of {pod} to give").error()
            time.sleep(API_PAUSE_SECONDS)
        for stamp, line in lines:
            if stamp > after:
                yield stamp, line

    def delete_pod(self, name: str, *, grace: int | None = None) -> None:
        """Ask for a pod's end, and with it for that of everything that belongs to it; it may be gone."""

        def delete(client: CoreV1Api) -> None:
            options = {"grace_period_seconds": grace} if grace is not None else {}
            with _absence_allowed():
                client.delete_namespaced_pod(
                    name, self.namespace, propagation_policy="Background", **options, **_timeout()
                )

        self.ask(delete)

    def await_gone(self, selector: str, seconds: float) -> bool:
        """Wait until no pod has these labels, and return whether that came true in time."""
        deadline = time.monotonic() + seconds
        while self.pods(selector, ""):
            if time.monotonic() > deadline:
                return False
            time.sleep(GONE_POLL_SECONDS)
        return True


def _timeout() -> dict[str, Any]:
    return {"_request_timeout": REQUEST_TIMEOUT_SECONDS}


@contextmanager
def _absence_allowed() -> Iterator[None]:
    try:
        yield
    except api_exception() as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise


def kubernetes_client(conn_id: str) -> CoreV1Api:
    """Return a new client; it reads the connection and its files, and asks the API nothing.

    :raises ConfigurationError: ``kubernetes-connection-invalid``.
    """
    # Imported late: DAG files import this module, and the client is large.
    from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook
    from kubernetes.config.config_exception import ConfigException

    try:
        return KubernetesHook(conn_id=conn_id).core_v1_client
    except (*UNUSABLE, ConfigException) as error:
        raise ConfigurationError(
            "The Kubernetes connection is not usable.",
            code="kubernetes-connection-invalid",
            got=f"{type(error).__name__}: {error}",
            expected="a kubeconfig that this machine can read, or Airflow in a pod",
            action=f"correct the Airflow connection {conn_id}; docs/aks.md has an example",
        ) from error
