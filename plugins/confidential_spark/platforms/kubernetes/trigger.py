"""Waits in the triggerer for the end of a driver's pod, so that a long job holds no worker."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from airflow.providers.cncf.kubernetes.hooks.kubernetes import AsyncKubernetesHook
from airflow.triggers.base import BaseTrigger, TriggerEvent
from kubernetes_asyncio import client as async_client
from kubernetes_asyncio.client.exceptions import ApiException

from confidential_spark.platforms.kubernetes.client.pods import PodState, api_time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

POLL_SECONDS = 5.0
# Now and then the task copies the log, and looks what keeps executors from starting.
LOOK_SECONDS = 300.0
REQUEST_TIMEOUT_SECONDS = 30
NOT_FOUND = 404


class EnclavePodTrigger(BaseTrigger):
    """Fires when the driver has ended, is gone, or is worth a look of the task.

    An API that is away is waited for: the pod goes on without it, and its own deadline bounds the wait.

    :param names: the try's pods, the driver first.
    :param connection_extras: of the Kubernetes connection.
    :param start_seconds: how long the driver may take to start.
    :param look_at: when the run's time is up, seconds since 1970; a trigger that an older version stored has
        none, and fires at once.
    """

    def __init__(
        self,
        *,
        names: list[str],
        namespace: str,
        container: str,
        conn_id: str,
        connection_extras: dict[str, Any],
        start_seconds: float,
        look_at: float = 0.0,
    ) -> None:
        """Keep the arguments; they are stored in Airflow's database, encrypted."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.names = names
        self.namespace = namespace
        self.container = container
        self.conn_id = conn_id
        self.connection_extras = connection_extras
        self.start_seconds = start_seconds
        self.look_at = look_at

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return how a triggerer makes this trigger again."""
        names = (
            "names",
            "namespace",
            "container",
            "conn_id",
            "connection_extras",
            "start_seconds",
            "look_at",
        )
        return f"{type(self).__module__}.{type(self).__name__}", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield one event; what it says is only for the log, because the task looks itself."""
        next_look = min(time.time() + LOOK_SECONDS, self.look_at)
        while True:
            found = await self._worth_a_look(next_look)
            if found:
                yield TriggerEvent({"because": found})  # type: ignore[no-untyped-call]
                return
            await asyncio.sleep(POLL_SECONDS)

    async def on_kill(self) -> None:
        """Remove the pods when somebody marks or clears the deferred task."""
        for name in self.names:
            try:
                async with self._hook().get_conn() as connection:
                    await async_client.CoreV1Api(connection).delete_namespaced_pod(
                        name, self.namespace, _request_timeout=REQUEST_TIMEOUT_SECONDS
                    )
            except Exception as error:
                self.log.warning("Pod %s is not removed; the run's teardown tries again: %s", name, error)

    async def _worth_a_look(self, next_look: float) -> str:
        try:
            async with self._hook().get_conn() as connection:
                pod, _, headers = await async_client.CoreV1Api(connection).read_namespaced_pod_with_http_info(
                    self.names[0], self.namespace, _request_timeout=REQUEST_TIMEOUT_SECONDS
                )
        except ApiException as error:
            if error.status == NOT_FOUND:
                return "gone"
            self.log.warning("The Kubernetes API refuses to tell how the pod is: %s", error.reason)
        except Exception as error:
            self.log.warning("The Kubernetes API does not answer: %s", error)
        else:
            state = PodState.of(pod, self.container, now=api_time(headers))
            if state.ended:
                return "ended"
            if state.is_overdue(self.start_seconds):
                return "not started"
        return "time" if time.time() > next_look else ""

    def _hook(self) -> AsyncKubernetesHook:
        # Anew each time, with a token that may have been renewed; `config_dict` would clash with a path.
        return AsyncKubernetesHook(conn_id=self.conn_id, connection_extras=self.connection_extras)
