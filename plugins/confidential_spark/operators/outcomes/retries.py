"""Which failures use up a task's retries: its own faults, and not what Airflow itself interrupts or refuses.

Airflow counts every try alike: a worker that was shut down, an API server that was restarted, a killed
supervisor. So a task gets more retries than its own faults may use, and its own faults are counted here.
"""

from __future__ import annotations

import logging
import signal
import threading
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from airflow.sdk.definitions.retry_policy import (
    ExceptionRetryPolicy,
    RetryAction,
    RetryDecision,
    RetryRule,
)
from airflow.sdk.exceptions import AirflowException, AirflowRuntimeError, ErrorType

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from airflow.sdk import Context

log = logging.getLogger(__name__)

FIRST_DELAY = timedelta(seconds=10)
LONGEST_DELAY = timedelta(minutes=10)


class InterruptedTaskError(AirflowException):
    """Airflow ended the task: the machine or Airflow shuts down, or the API server is out of reach."""


@contextmanager
def interruptions() -> Iterator[None]:
    """Turn whatever error follows a TERM signal into :class:`InterruptedTaskError`.

    An enclave that the signal has ended looks like one that failed.
    """
    airflow_handler = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread() or not callable(airflow_handler):
        yield
        return
    received: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        received.append(number)
        airflow_handler(number, frame)

    signal.signal(signal.SIGTERM, remember)
    try:
        yield
    except Exception as error:
        if received:
            raise InterruptedTaskError(f"Airflow ended the task with a signal: {error}") from error
        raise
    finally:
        signal.signal(signal.SIGTERM, airflow_handler)


class OwnFaultsPolicy(ExceptionRetryPolicy):
    """Fail a task when its own faults exceed their retries, however often it was interrupted besides.

    :param retries: how many own faults are retried.
    :param rules: which faults are final at once.
    """

    def __init__(self, retries: int, rules: list[RetryRule]) -> None:
        """Keep both."""
        super().__init__(rules)
        self.retries = retries

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Context | None = None
    ) -> RetryDecision:
        """Decide in the task's process; the scheduler only ever sees the decision."""
        ruled = super().evaluate(exception, try_number, max_tries, context)
        if ruled.action is RetryAction.FAIL:
            return ruled
        if is_interruption(exception):
            return RetryDecision.retry(FIRST_DELAY, "interrupted or refused by Airflow: not counted")
        faults = count_fault(context, try_number)
        if faults > self.retries:
            return RetryDecision.fail(f"failed {faults} times")
        delay = min(FIRST_DELAY * 2 ** (faults - 1), LONGEST_DELAY)
        return RetryDecision.retry(delay, f"failure {faults}, of which {self.retries} are retried")


def is_interruption(exception: BaseException) -> bool:
    """Say whether Airflow itself, and not the task, is the cause."""
    if isinstance(exception, AirflowRuntimeError):
        return exception.error.error is ErrorType.API_SERVER_ERROR
    return isinstance(exception, InterruptedTaskError)


def count_fault(context: Context | None, try_number: int) -> int:
    """Return how many tries failed by themselves, this one included, since the task was last cleared."""
    try:
        assert context is not None  # noqa: S101 - Airflow's worker passes it
        store = context["task_state_store"]
        # Whoever clears a task wants it to begin anew, while Airflow keeps the store.
        key = f"own_faults_{getattr(context['dag_run'], 'clear_number', None) or 0}"
        earlier = store.get(key, default=0)
        faults = (earlier if isinstance(earlier, int) else 0) + 1
        store.set(key, faults)
    except Exception as error:
        # Without the API server nothing is remembered; then every try counts, as it does for Airflow.
        log.warning("The task's own faults are not remembered, so every try counts as one: %s", error)
        return try_number
    return faults
