"""What the Kubernetes API's refusals, its silence and a pod's end mean, as this project's errors.

Every name comes from the failure table, so the log, the page and the runbook use the same one.
Sources: kubernetes-client `exceptions.py`, the API's `Status`, and `PodStatus` of Kubernetes 1.34.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING

from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError
from websocket import WebSocketException

from confidential_spark.core.errors import EnclaveError, shorten
from confidential_spark.core.failures import UNNAMED, Diagnosis, LogWatcher, Sighting, failure_named

if TYPE_CHECKING:
    from collections.abc import Iterator

    from confidential_spark.hooks.kubernetes_pods import PodState

API_AWAY = "kubernetes-unreachable"
UNAUTHORIZED = "kubernetes-unauthorized"
FORBIDDEN = "pod-forbidden"
REFUSED = "kubernetes-refused"
POD_LOST = "pod-lost"
API_ERRORS = (ApiException, HTTPError, WebSocketException, OSError)
# What passes by itself: an overloaded or restarting server, and one that could not be asked at all.
PASSING = frozenset({0, None, 408, 429, 500, 502, 503, 504})
BY_STATUS = {HTTPStatus.UNAUTHORIZED: UNAUTHORIZED, HTTPStatus.FORBIDDEN: FORBIDDEN}
SIGKILL_CODE = 137
NOT_FOR_MEMORY = "[killed-from-outside] SIGKILL, and the kubelet says: not for the container's memory limit"


@contextmanager
def kubernetes_failures() -> Iterator[None]:
    """Turn what the client raises within the block into this project's errors.

    :raises EnclaveError: named by the failure table, retryable where the table says so.
    """
    try:
        yield
    except API_ERRORS as error:
        raise api_error(error) from error


def api_error(error: Exception) -> EnclaveError:
    """Return this project's error for what the client raised."""
    said = words_of(error)
    if not isinstance(error, ApiException) or error.status in PASSING:
        return named(API_AWAY, said).error()
    watcher = LogWatcher()
    watcher.feed(said)
    diagnosis = watcher.diagnose()
    if diagnosis.failure is not UNNAMED:
        return diagnosis.error()
    return named(BY_STATUS.get(error.status, REFUSED), said).error()


def words_of(error: Exception) -> str:
    """Return what the server, or the library, says is wrong."""
    if isinstance(error, ApiException) and error.body:
        try:
            return str(json.loads(error.body)["message"])
        except (ValueError, KeyError, TypeError):
            return shorten(str(error.body))
    return f"{type(error).__name__}: {getattr(error, 'reason', None) or error}"


def pod_diagnosis(state: PodState, watcher: LogWatcher) -> Diagnosis | None:
    """Return why an ended pod failed, or None when its program ended with exit code 0.

    :param watcher: has been fed the container's log; the kubelet's words are added.
    """
    if state.exit_code == 0 and not state.reason:
        return None
    for line in state.words():
        watcher.feed(line)
    if state.exit_code == SIGKILL_CODE and not state.out_of_memory and not state.reason:
        watcher.feed(NOT_FOR_MEMORY)
        # The exit code alone would say "out of memory", which the kubelet has just denied.
        return replace(watcher.diagnose(), exit_code=state.exit_code)
    return watcher.diagnose(state.exit_code)


def named(name: str, line: str) -> Diagnosis:
    """Return the diagnosis with this row of the failure table.

    :raises LookupError: there is no such row.
    """
    failure = failure_named(name)
    if failure is None:
        raise LookupError(name)
    return Diagnosis(Sighting(failure, shorten(line)), None)
