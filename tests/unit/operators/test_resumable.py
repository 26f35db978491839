"""What outlives a worker: the wait for a service that is away, and an enclave that the next try continues."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowTaskTimeout, TaskDeferred
from confidential_spark.core.errors import EnclaveError
from confidential_spark.hooks.results.folder_store import FolderStore
from confidential_spark.jobs.sparkpi import SPARKPI
from confidential_spark.operators.attempt import EnclaveRun, StoredTry
from confidential_spark.operators.resumable import (
    Leftover,
    ResumableTask,
    abandoned,
    ask_patiently,
    raise_if_cancelled,
)

AWAY = "service-away"


def failure(code: str) -> EnclaveError:
    return EnclaveError("it failed", code=code)


class Service:
    """Answers each request with the next of the codes, and at last with `answer`."""

    def __init__(self, *codes: str) -> None:
        self.codes = list(codes)
        self.asked = 0

    def __call__(self) -> str:
        self.asked += 1
        if self.codes:
            raise failure(self.codes.pop(0))
        return "answer"


def ask(service: Service, patience: float = 60.0, *, stopped: bool = False) -> str:
    return ask_patiently(
        service,
        service="service",
        passes=lambda error, waited: error.code == AWAY or (waited and error.code == "returning"),
        patience=patience,
        pause=0.0,
        stopped=lambda: stopped,
    )


@pytest.mark.parametrize(
    ("codes", "asked"),
    [
        pytest.param([], 1, id="at-once"),
        pytest.param([AWAY, AWAY], 3, id="away-twice"),
        pytest.param([AWAY, "returning", AWAY], 4, id="refuses-as-it-returns"),
    ],
)
def test_silence_is_waited_for(codes: list[str], asked: int) -> None:
    service = Service(*codes)
    assert ask(service) == "answer"
    assert service.asked == asked


@pytest.mark.parametrize(
    ("codes", "patience", "stopped", "asked"),
    [
        pytest.param(["refused"], 60.0, False, 1, id="refusal"),
        pytest.param(["returning"], 60.0, False, 1, id="refusal-without-silence"),
        pytest.param([AWAY, "refused"], 60.0, False, 2, id="refusal-after-silence"),
        pytest.param([AWAY], 0.0, False, 1, id="no-patience"),
        pytest.param([AWAY], 60.0, True, 1, id="nobody-waits"),
    ],
)
def test_everything_else_is_raised(codes: list[str], patience: float, stopped: bool, asked: int) -> None:
    service = Service(*codes)
    last = codes[-1]
    with pytest.raises(EnclaveError) as raised:
        ask(service, patience, stopped=stopped)
    assert (raised.value.code, service.asked) == (last, asked)


def test_a_cancelled_task_stops_and_may_be_tried_again() -> None:
    raise_if_cancelled(lambda: False)
    with pytest.raises(EnclaveError) as raised:
        raise_if_cancelled(lambda: True)
    assert (raised.value.code, raised.value.retryable) == ("terminated", True)


class Enclave:
    """Counts how often it is removed."""

    def __init__(self, leftover: str | None = None, refuses: str = "") -> None:
        self.found = leftover
        self.refuses = refuses
        self.removals = 0

    def leftover(self) -> str | None:
        return self.found

    def remove(self) -> None:
        self.removals += 1
        if self.refuses:
            raise failure(self.refuses)


class Task(ResumableTask):
    """A task whose enclave is this one."""

    away = frozenset({AWAY})
    made: Enclave

    def enclave(self, context: Any, nonce: str) -> Enclave:
        return self.made


class Store(dict[str, Any]):
    """Airflow's task state store."""

    def set(self, key: str, value: Any) -> None:
        self[key] = value

    def delete(self, key: str) -> None:
        self.pop(key, None)


@pytest.fixture
def context() -> Any:
    pushed: dict[str, Any] = {}
    ti = SimpleNamespace(
        dag_id="d", max_tries=2, xcoms=pushed, xcom_push=lambda key, value: pushed.update({key: value})
    )
    return {"ti": ti, "task_state_store": Store()}


@pytest.fixture
def run(tmp_path, deploy) -> EnclaveRun:
    deploy(results_dir=tmp_path)
    staging = FolderStore(tmp_path, "d").stage("run=r", "r.try1")
    return EnclaveRun("d/r", "nonce", "2026-11-23T10:00:00+00:00", "run=r", str(staging))


def task_with(enclave: Enclave) -> Task:
    task = Task(task_id="run_spark", job=SPARKPI)
    task.made = enclave
    return task


@pytest.mark.parametrize(
    ("error", "removals"),
    [
        pytest.param(failure("pod-lost"), 1, id="failed"),
        pytest.param(AirflowTaskTimeout("too long"), 1, id="timed-out"),
        pytest.param(KeyboardInterrupt(), 1, id="interrupted"),
        pytest.param(ValueError("a defect"), 1, id="defect"),
        pytest.param(failure(AWAY), 0, id="service-away"),
        pytest.param(BrokenPipeError(), 0, id="supervisor-gone"),
        pytest.param(ConnectionResetError(), 0, id="supervisor-reset"),
        pytest.param(TaskDeferred(trigger=None, method_name="go_on"), 0, id="deferred"),
    ],
)
def test_what_ends_the_task_ends_the_enclave_unless_the_next_try_goes_on(
    context, run, error: BaseException, removals: int
) -> None:
    enclave = Enclave()
    StoredTry.store(context, run)
    with pytest.raises(type(error)), task_with(enclave).ended_with_the_task(context, enclave):
        raise error
    assert enclave.removals == removals
    assert (StoredTry.load(context) is None) is bool(removals)


def test_an_enclave_that_cannot_be_removed_now_stays_known(context, run) -> None:
    enclave = Enclave(refuses=AWAY)
    StoredTry.store(context, run)
    task_with(enclave).remove(context, enclave)
    assert StoredTry.load(context) is not None


def test_a_try_goes_on_with_what_a_dead_worker_has_left(context, run) -> None:
    enclave = Enclave(leftover="container 1a (Up 2 minutes)")
    StoredTry.store(context, run)
    assert task_with(enclave).continued(context) == run
    assert context["ti"].xcoms["enclave_run"] == run.to_xcom()
    assert enclave.removals == 0


@pytest.mark.parametrize(
    ("leftover", "max_tries"),
    [
        pytest.param(None, 2, id="nothing-of-use"),
        pytest.param("container 1a (Up 2 minutes)", 3, id="cleared-task"),
    ],
)
def test_what_cannot_be_continued_is_removed(context, run, leftover, max_tries) -> None:
    enclave = Enclave(leftover=leftover)
    StoredTry.store(context, run)
    context["ti"].max_tries = max_tries
    assert task_with(enclave).continued(context) is None
    assert enclave.removals == 1


OURS, THEIRS, UNSAID = "ours", "theirs", ""
DAYS = 86_400.0


@pytest.mark.parametrize(
    ("deployment", "run_id", "age", "ended", "removed"),
    [
        pytest.param(OURS, "over", 1.0, False, True, id="ours-still-at-work-for-a-run-that-is-over"),
        pytest.param(OURS, "over", 1.0, True, True, id="ours-ended"),
        pytest.param(OURS, "running", 1.0, True, False, id="may-be-continued"),
        pytest.param(OURS, "running", 5 * DAYS, False, False, id="long-run"),
        pytest.param(OURS, "running", 5 * DAYS, True, True, id="ended-days-ago"),
        pytest.param(THEIRS, "over", 1.0, True, False, id="another-deployments"),
        pytest.param(THEIRS, "over", 5 * DAYS, False, False, id="another-deployments-at-work"),
        pytest.param(THEIRS, "over", 5 * DAYS, True, True, id="another-deployments-ended-days-ago"),
        pytest.param(UNSAID, "over", 1.0, True, False, id="of-an-older-version"),
    ],
)
def test_what_nobody_will_continue_is_abandoned(deployment, run_id, age, ended, removed) -> None:
    asked: list[tuple[str, list[str], list[str]]] = []

    def count(*, dag_id: str, run_ids: list[str], states: list[str]) -> int:
        asked.append((dag_id, run_ids, states))
        return int(run_ids == ["running"])

    found = [Leftover("container", name, deployment, "d", run_id, age, ended) for name in ("one", "two")]
    left = abandoned(found, OURS, SimpleNamespace(get_dr_count=count))
    assert [each.name for each in left] == (["one", "two"] if removed else [])
    assert asked in ([], [("d", [run_id], ["queued", "running"])])


def test_a_first_try_has_nothing_to_continue(context) -> None:
    enclave = Enclave(leftover="somebody else's")
    assert task_with(enclave).continued(context) is None
    assert enclave.removals == 0
