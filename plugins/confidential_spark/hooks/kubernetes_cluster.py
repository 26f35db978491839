"""A namespace of a cluster: pods and Secrets made once, looked at, and removed.

Every call is one short request, so a pause or a restart of the API is waited for and never mistaken for the
end of the run. Names follow from the try's nonce, so creating what is there already is no error.
"""

from __future__ import annotations

import logging
import math
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar

from kubernetes.client.exceptions import ApiException

from confidential_spark.core.errors import EnclaveError
from confidential_spark.hooks.kubernetes_failures import API_AWAY, UNAUTHORIZED, kubernetes_failures
from confidential_spark.hooks.kubernetes_pods import PodState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kubernetes.client import CoreV1Api

log = logging.getLogger(__name__)
T = TypeVar("T")

API_PATIENCE_SECONDS = 300.0
API_PAUSE_SECONDS = 2.0
REQUEST_TIMEOUT_SECONDS = 30
# A kubelet writes a line a moment after it was printed; lines that come twice are told apart by their stamps.
LOG_OVERLAP_SECONDS = 10
MAX_LOG_BYTES = 32 * 1024 * 1024
GONE_POLL_SECONDS = 0.3


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

    def ask(self, request: Callable[[CoreV1Api], T]) -> T:
        """Ask the API until it answers; only its silence is waited for, never a refusal.

        :param request: may be sent more than once.
        :raises EnclaveError: what it refused, or ``kubernetes-unreachable`` after the patience.
        """
        deadline = time.monotonic() + self.patience
        waits = renewed = False
        while True:
            try:
                with kubernetes_failures():
                    return request(self.client)
            except EnclaveError as failure:
                if failure.code == UNAUTHORIZED and not renewed:
                    renewed, self._client = True, None
                    continue
                if failure.code != API_AWAY or time.monotonic() > deadline or self.stopped():
                    raise
                if not waits:
                    log.warning("The Kubernetes API does not answer; waiting for it: %s", failure)
                waits = True
                time.sleep(API_PAUSE_SECONDS)

    def create_pod(self, pod: Any) -> str:  # noqa: ANN401 - V1Pod or its JSON
        """Create a pod and return its uid; one of this name that is there already is used."""
        name = pod["metadata"]["name"] if isinstance(pod, dict) else pod.metadata.name

        def create(client: CoreV1Api) -> str:
            try:
                made = client.create_namespaced_pod(self.namespace, pod, **_timeout())
            except ApiException as error:
                if error.status != HTTPStatus.CONFLICT:
                    raise
                made = client.read_namespaced_pod(name, self.namespace, **_timeout())
            return str(made.metadata.uid)

        return self.ask(create)

    def create_secret(self, secret: dict[str, Any]) -> None:
        """Create a Secret; one of this name that is there already is used."""

        def create(client: CoreV1Api) -> None:
            try:
                client.create_namespaced_secret(self.namespace, secret, **_timeout())
            except ApiException as error:
                if error.status != HTTPStatus.CONFLICT:
                    raise

        self.ask(create)

    def find(self, name: str, container: str) -> PodState | None:
        """Return how a pod is, or None when there is none of this name."""

        def read(client: CoreV1Api) -> PodState | None:
            try:
                pod = client.read_namespaced_pod(name, self.namespace, **_timeout())
            except ApiException as error:
                if error.status != HTTPStatus.NOT_FOUND:
                    raise
                return None
            return PodState.of(pod, container)

        return self.ask(read)

    def pods(self, selector: str, container: str) -> list[PodState]:
        """Return how the pods with these labels are."""
        found = self.ask(
            lambda client: (
                client.list_namespaced_pod(self.namespace, label_selector=selector, **_timeout()).items
            )
        )
        return [PodState.of(pod, container) for pod in found]

    def warnings(self, pod: str) -> list[str]:
        """Return the latest warnings about a pod, in the cluster's words, oldest first."""
        fields = f"involvedObject.name={pod},type=Warning"
        found = self.ask(
            lambda client: (
                client.list_namespaced_event(self.namespace, field_selector=fields, **_timeout()).items
            )
        )
        return [f"{event.reason}: {event.message}" for event in found[-10:]]

    def lines(
        self, pod: str, container: str, *, after: str, within: float | None, patient: bool = True
    ) -> Iterator[tuple[str, str]]:
        """Yield what a container printed after a time stamp: (time stamp, line).

        :param within: seconds since the log was last read as a whole, or None: read it from its beginning.
        :param patient: whether an API that is away is waited for.
        """
        since = {"since_seconds": math.ceil(within) + LOG_OVERLAP_SECONDS} if within is not None else {}

        def read(client: CoreV1Api) -> bytes:
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
            return bytes(answer.data)

        if patient:
            raw = self.ask(read)
        else:
            with kubernetes_failures():
                raw = read(self.client)
        for line in raw.decode("utf-8", "replace").split("\n"):
            stamp, _, text = line.partition(" ")
            # Of one width and in one zone, so they compare as text.
            if stamp > after:
                yield stamp, text

    def delete_pod(self, name: str, *, grace: int | None = None) -> None:
        """Ask for a pod's end, and with it for that of everything that belongs to it; it may be gone."""

        def delete(client: CoreV1Api) -> None:
            options = {"grace_period_seconds": grace} if grace is not None else {}
            try:
                client.delete_namespaced_pod(
                    name, self.namespace, propagation_policy="Background", **options, **_timeout()
                )
            except ApiException as error:
                if error.status != HTTPStatus.NOT_FOUND:
                    raise

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
