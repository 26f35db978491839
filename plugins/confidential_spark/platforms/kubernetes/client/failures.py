"""What the Kubernetes API's refusals, its silence and a pod's end mean, as this project's errors.

Every name comes from the failure table, so the log, the page and the runbook use the same one.
Sources: kubernetes-client `exceptions.py`, the API's `Status`, and `PodStatus` of Kubernetes 1.34.
"""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from confidential_spark.core.errors import EnclaveError, shorten
from confidential_spark.core.failures import UNNAMED, Diagnosis, LogWatcher

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kubernetes.client.exceptions import ApiException

    from confidential_spark.platforms.kubernetes.client.pods import PodState

API_AWAY = "kubernetes-unreachable"
UNAUTHORIZED = "kubernetes-unauthorized"
WEBHOOK_FAILING = "webhook-failing"
REFUSED = "kubernetes-refused"
POD_LOST = "pod-lost"
TERMINATED = "terminated"
# What passes by itself: an overloaded or restarting server, and one that could not be asked at all.
PASSING = frozenset({0, None, 408, 429, 500, 502, 503, 504})
# An API server that has just started forbids everything until it has read the admission plugins' objects.
NOT_READY = re.compile(r"not yet ready to handle request")
ALREADY_EXISTS = "AlreadyExists"
# Said of an object that is there already, and on its way out.
BEING_DELETED = "object is being deleted"
FORBIDDEN = "pod-forbidden"
WAITED_FOR = frozenset({API_AWAY, WEBHOOK_FAILING})
"""What a request is repeated for: nothing is refused, and nothing is lost by asking again."""
EXECUTORS_FAILED = "spark-executors-failed"
SIGKILL_CODE = 137
NOT_FOR_MEMORY = "[killed-from-outside] SIGKILL, and the kubelet says: not for the container's memory limit"


def api_exception() -> Any:
    """Return the class of the client's errors.

    Imported late: the client has hundreds of modules, and DAG files that need none of them import this one.
    """
    from kubernetes.client.exceptions import ApiException

    return ApiException


@contextmanager
def kubernetes_failures() -> Iterator[None]:
    """Turn what the client raises within the block into this project's errors.

    :raises EnclaveError: named by the failure table, retryable where the table says so.
    """
    from urllib3.exceptions import HTTPError

    try:
        yield
    except (api_exception(), HTTPError, OSError) as error:
        raise api_error(error) from error


def api_error(error: Exception) -> EnclaveError:
    """Return this project's error for what the client raised."""
    said = words_of(error)
    passing = is_passing(error)
    watcher = LogWatcher()
    watcher.feed(said)
    diagnosis = watcher.diagnose()
    if diagnosis.failure is not UNNAMED and (diagnosis.failure.name in WAITED_FOR or not passing):
        return diagnosis.error()
    if passing:
        return Diagnosis.named(API_AWAY, said).error()
    unauthorized = isinstance(error, api_exception()) and error.status == HTTPStatus.UNAUTHORIZED
    return Diagnosis.named(UNAUTHORIZED if unauthorized else REFUSED, said).error()


def is_passing(error: Exception) -> bool:
    """Whether the API says nothing about the request itself, so that it may be sent again."""
    if not isinstance(error, api_exception()) or error.status in PASSING:
        return True
    if error.status == HTTPStatus.CONFLICT:
        # Two requests changed one object, a quota for example, or one of this name is on its way out.
        return not already_exists(error)
    return error.status == HTTPStatus.FORBIDDEN and bool(NOT_READY.search(words_of(error)))


def already_exists(error: ApiException) -> bool:
    """Whether an object of this name is there, to stay."""
    return _status_of(error).get("reason") == ALREADY_EXISTS and not is_being_deleted(error)


def is_being_deleted(error: ApiException) -> bool:
    """Whether an object of this name is on its way out."""
    status = _status_of(error)
    return status.get("reason") == ALREADY_EXISTS and BEING_DELETED in str(status.get("message"))


def words_of(error: Exception) -> str:
    """Return what the server, or the library, says is wrong."""
    if isinstance(error, api_exception()) and error.body:
        return str(_status_of(error).get("message") or shorten(_text(error.body)))
    return f"{type(error).__name__}: {getattr(error, 'reason', None) or error}"


def _status_of(error: ApiException) -> dict[str, Any]:
    """Return the `Status` in an error's body, or nothing where there is none."""
    try:
        status = json.loads(error.body or "")
    except ValueError:
        return {}
    return status if isinstance(status, dict) else {}


def _text(body: str | bytes) -> str:
    return body.decode("utf-8", "replace") if isinstance(body, bytes) else body


def pod_diagnosis(state: PodState, watcher: LogWatcher) -> Diagnosis | None:
    """Return why an ended pod failed, or None when its program ended with exit code 0.

    :param watcher: has been fed the container's log; the kubelet's words are added.
    """
    if state.exit_code == 0 and not state.reason:
        return None
    for line in state.words():
        watcher.feed(line)
    if state.exit_code == SIGKILL_CODE and not state.out_of_memory:
        watcher.feed(NOT_FOR_MEMORY)
        # The exit code alone would say "out of memory", which the kubelet has just denied.
        return replace(watcher.diagnose(), exit_code=state.exit_code)
    return watcher.diagnose(state.exit_code)


def attribute_to_executors(driver: Diagnosis, executors: Iterable[Diagnosis]) -> Diagnosis:
    """Return why a driver failed, given how its executors ended: they decide where Spark has given them up.

    A cause that no retry can help stands above one that passes, whichever executor had it.

    :param executors: of those that nobody removed, by :func:`pod_diagnosis` with a watcher of each one's own.
    """
    known = [each for each in executors if each.failure is not UNNAMED]
    if driver.failure.name != EXECUTORS_FAILED or not known:
        return driver
    cause = next((each for each in known if not each.failure.retryable), known[0]).cause
    return replace(driver, cause=cause, also_seen=(driver.cause, *driver.also_seen))
