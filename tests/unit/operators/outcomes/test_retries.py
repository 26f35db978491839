"""Interruptions by Airflow are retried without being counted, a task's own faults are counted."""

from __future__ import annotations

import os
import signal
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import RetryAction, RetryRule
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time.comms import ErrorResponse
from confidential_spark.operators.outcomes.retries import InterruptedTaskError, OwnFaultsPolicy, interruptions
from confidential_spark.pipelines.defaults import DEFAULT_ARGS, INTERRUPTIONS, RETRIES, RETRY_POLICY

if TYPE_CHECKING:
    from collections.abc import Iterator

OWN = AirflowException("the service is away")
SIGNALLED = InterruptedTaskError("TERM")
API_AWAY = AirflowRuntimeError(ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail={"status_code": None}))
NO_CONNECTION = AirflowRuntimeError(ErrorResponse(error=ErrorType.CONNECTION_NOT_FOUND))
POLICY = OwnFaultsPolicy(
    2, [RetryRule(exception=KeyError, action=RetryAction.FAIL, reason="a defect in the code")]
)


class Store(dict[str, Any]):
    def set(self, key: str, value: Any) -> None:
        self[key] = value

    def get(self, key: str, default: Any = None) -> Any:
        return super().get(key, default)


class Broken:
    def get(self, key: str, default: Any = None) -> Any:
        raise API_AWAY


def context(store: object, cleared: int = 0) -> Any:
    return {"task_state_store": store, "dag_run": SimpleNamespace(clear_number=cleared)}


def tries(errors: list[BaseException], store: object, cleared: int = 0, first: int = 1) -> list[RetryAction]:
    return [
        POLICY.evaluate(error, number, 12, context(store, cleared)).action
        for number, error in enumerate(errors, first)
    ]


@pytest.mark.parametrize(
    ("errors", "final"),
    [
        pytest.param([OWN] * 3, True, id="own-faults"),
        pytest.param([OWN] * 2, False, id="own-faults-that-may-be-retried"),
        pytest.param([SIGNALLED] * 9, False, id="signals"),
        pytest.param([API_AWAY] * 9, False, id="api-server-away"),
        pytest.param([OWN, SIGNALLED, API_AWAY, SIGNALLED, OWN], False, id="mixed"),
        pytest.param([OWN, SIGNALLED, OWN, API_AWAY, OWN], True, id="mixed-with-too-many-own"),
        pytest.param([NO_CONNECTION] * 3, True, id="connection-not-defined"),
        pytest.param([KeyError("x")], True, id="defect"),
        pytest.param([SIGNALLED, KeyError("x")], True, id="defect-after-an-interruption"),
    ],
)
def test_only_own_faults_use_up_the_retries(errors: list[BaseException], final: bool) -> None:
    *earlier, last = tries(errors, Store())
    assert earlier == [RetryAction.RETRY] * (len(errors) - 1)
    assert last is (RetryAction.FAIL if final else RetryAction.RETRY)


def test_who_clears_a_task_gives_it_all_its_retries_again() -> None:
    store = Store()
    assert tries([OWN] * 3, store)[-1] is RetryAction.FAIL
    assert tries([OWN] * 2, store, cleared=1, first=4) == [RetryAction.RETRY] * 2


def test_where_nothing_can_be_remembered_every_try_counts_and_the_log_says_so(caplog) -> None:
    assert tries([OWN] * 3, Broken()) == [RetryAction.RETRY, RetryAction.RETRY, RetryAction.FAIL]
    assert caplog.text.count("own faults are not remembered, so every try counts as one") == 3


def test_own_faults_wait_longer_each_time_and_interruptions_do_not() -> None:
    store = Store()
    delays = [
        POLICY.evaluate(error, 1, 12, context(store)).retry_delay.total_seconds()
        for error in (OWN, SIGNALLED, OWN, SIGNALLED)
    ]
    assert delays == [10, 10, 20, 10]


def test_every_task_has_room_for_both() -> None:
    assert DEFAULT_ARGS["retry_policy"] is RETRY_POLICY
    assert RETRY_POLICY.retries == RETRIES
    assert DEFAULT_ARGS["retries"] == RETRIES + INTERRUPTIONS


@pytest.fixture
def airflow_handler() -> Iterator[list[int]]:
    """Stands for Airflow's, which calls `on_kill`."""
    calls: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: calls.append(number))
    yield calls
    signal.signal(signal.SIGTERM, before)


def test_an_error_after_a_signal_is_an_interruption(airflow_handler: list[int]) -> None:
    def task() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        raise AirflowFailException("the enclave is gone")

    with pytest.raises(InterruptedTaskError, match="the enclave is gone"), interruptions():
        task()
    assert airflow_handler == [signal.SIGTERM]


def test_an_error_without_a_signal_stays_what_it_is(airflow_handler: list[int]) -> None:
    with pytest.raises(AirflowFailException), interruptions():
        raise AirflowFailException("refused")
    os.kill(os.getpid(), signal.SIGTERM)
    assert airflow_handler == [signal.SIGTERM]


def test_a_task_that_ends_well_in_spite_of_a_signal_has_succeeded(airflow_handler: list[int]) -> None:
    with interruptions():
        os.kill(os.getpid(), signal.SIGTERM)
