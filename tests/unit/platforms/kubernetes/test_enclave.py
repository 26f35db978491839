"""`KubernetesEnclave` looks at a try's pods: what ends a run, what is waited for, what it is called."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from confidential_spark.core.errors import EnclaveError
from confidential_spark.enclave.output import EnclaveOutput
from confidential_spark.platforms.kubernetes import enclave as kubernetes_enclave
from confidential_spark.platforms.kubernetes.client.pods import PodState
from confidential_spark.platforms.kubernetes.enclave import KubernetesEnclave
from confidential_spark.platforms.kubernetes.names import TryNames

if TYPE_CHECKING:
    from collections.abc import Callable

START_SECONDS = 900.0
QUOTA = (
    'pods "x-exec-1" is forbidden: exceeded quota: enclaves, requested: pods=1, used: pods=2, limited: pods=2'
)
NO_ROOM = "0/2 nodes are available: 2 Insufficient sgx.intel.com/epc"
DRIVER = PodState(name="d", uid="d", phase="Running", running=True)


@dataclass
class Pods:
    """A namespace with these pods."""

    executors: list[PodState]
    events: list[str] = field(default_factory=list)
    printed: list[str] = field(default_factory=list)

    driver: PodState | None = None

    def find(self, name: str, container: str) -> PodState | None:
        return self.driver

    def pods(self, selector: str, container: str) -> list[PodState]:
        return self.executors

    def warnings(self, pod: str) -> list[str]:
        return self.events

    def lines(self, pod: str, container: str, **_: Any) -> list[tuple[str, str]]:
        return [(f"2026-11-23T00:00:{number:02}Z", line) for number, line in enumerate(self.printed)]


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def look(said, monkeypatch) -> Callable[..., KubernetesEnclave]:
    """Look around at a time, in seconds, after the driver printed lines."""

    def make(pods: Pods, *lines: str) -> KubernetesEnclave:
        output = EnclaveOutput(log=said.append)
        for line in lines:
            output.feed(line)
        cluster: Any = pods
        return KubernetesEnclave(cluster, TryNames("x"), "n", output, lambda: False, START_SECONDS)

    return make


def executor(name: str, **fields: Any) -> PodState:
    return PodState(name=name, uid=name, **{"phase": "Pending", **fields})


def running(name: str) -> PodState:
    return executor(name, phase="Running", running=True)


def at(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    monkeypatch.setattr(kubernetes_enclave.time, "time", lambda: 1_000_000 + seconds)


def test_executors_that_cannot_be_made_are_missed_and_named_by_spark_s_log(look, monkeypatch) -> None:
    enclave = look(Pods([]), QUOTA)
    at(monkeypatch, 0)
    enclave.check_siblings(DRIVER)
    at(monkeypatch, START_SECONDS)
    enclave.check_siblings(DRIVER)
    at(monkeypatch, START_SECONDS + 1)
    with pytest.raises(EnclaveError) as missed:
        enclave.check_siblings(DRIVER)
    assert (missed.value.code, missed.value.retryable) == ("quota-exceeded", True)


def test_executors_that_are_missed_without_any_word_have_a_name_too(look, monkeypatch) -> None:
    enclave = look(Pods([]))
    enclave.executorless_since = 1_000_000 - START_SECONDS - 1
    at(monkeypatch, 0)
    with pytest.raises(EnclaveError) as missed:
        enclave.check_siblings(DRIVER)
    assert missed.value.code == "spark-no-executors"


def test_executors_that_have_ended_beside_one_that_waits_end_no_run_at_once(look, monkeypatch) -> None:
    waiting = executor("e2", unschedulable=NO_ROOM, age=1_000)
    ended = executor("e1", phase="Succeeded", exit_code=0)
    at(monkeypatch, 0)
    enclave = look(Pods([ended, waiting]))
    enclave.check_siblings(DRIVER)
    assert enclave.executorless_since == 1_000_000


def test_a_driver_that_waits_itself_misses_nobody(look, monkeypatch) -> None:
    enclave = look(Pods([]))
    enclave.executorless_since = 1_000_000 - START_SECONDS - 1
    at(monkeypatch, 0)
    enclave.check_siblings(PodState(name="d", uid="d", phase="Pending"))
    assert enclave.executorless_since is None


def test_an_executor_that_runs_ends_the_wait(look, monkeypatch) -> None:
    enclave = look(Pods([running("e1")]))
    enclave.executorless_since = 1_000_000 - START_SECONDS - 1
    at(monkeypatch, 0)
    enclave.check_siblings(DRIVER)
    assert enclave.executorless_since is None


def test_what_an_executor_waits_for_is_not_named_by_its_driver_s_log(look) -> None:
    waiting = executor("e1", unschedulable=NO_ROOM, age=901)
    enclave = look(Pods([waiting]), "WARN TaskSchedulerImpl: Initial job has not accepted any resources;")
    with pytest.raises(EnclaveError) as named:
        enclave.check_siblings(DRIVER)
    assert (named.value.code, named.value.retryable) == ("enclave-capacity-missing", True)


def test_a_replacement_that_waits_ends_no_run_in_which_another_works(look, said) -> None:
    waiting = executor("e3", unschedulable="0/2 nodes are available", age=1_000)
    look(Pods([running("e1"), waiting])).check_siblings(DRIVER)
    assert said == ["Pod e3 waits: FailedScheduling: 0/2 nodes are available"]


def test_executors_that_fail_decide_why_their_driver_did(look) -> None:
    ended = executor("e1", phase="Failed", exit_code=71, ended_message="[release-refused] no")
    driver = PodState(name="d", uid="d", phase="Failed", exit_code=80)
    gave_up = "ERROR ExecutorPodsAllocator: Max number of executor failures (4) reached"
    with pytest.raises(EnclaveError) as failed:
        look(Pods([ended], driver=driver, printed=[gave_up])).follow("d", "enclave")
    assert (failed.value.code, failed.value.retryable) == ("release-refused", False)


DIFFERS = executor(
    "e1", phase="Failed", exit_code=82, ended_message="[executor-input-differs] This executor …"
)


def test_a_host_that_serves_one_executor_another_input_ends_the_run(look) -> None:
    """Spark itself would replace it, and nobody would learn of it."""
    with pytest.raises(EnclaveError) as ended:
        look(Pods([DIFFERS, running("e2")])).check_siblings(DRIVER)
    assert (ended.value.code, ended.value.retryable) == ("executor-input-differs", False)


@pytest.mark.parametrize("code", ["storage-denied", "storage-blob-changed", "storage-blob-missing"])
def test_blobs_that_one_executor_cannot_get_end_the_run(look, code) -> None:
    """Spark itself would make one after the other, for as long as the task may take."""
    without = executor(
        "e1", phase="Failed", exit_code=66, ended_message=f"[{code}] A blob was not downloaded."
    )
    with pytest.raises(EnclaveError) as ended:
        look(Pods([without, running("e2")])).check_siblings(DRIVER)
    assert (ended.value.code, ended.value.retryable) == (code, False)


def test_an_executor_whose_storage_was_busy_may_be_replaced(look) -> None:
    said = "[storage-unavailable] A blob was not downloaded."
    busy = executor("e1", phase="Failed", exit_code=75, ended_message=said)
    look(Pods([busy, running("e2")])).check_siblings(DRIVER)


def test_executors_that_are_all_served_another_input_decide_why_their_driver_failed(look) -> None:
    driver = PodState(name="d", uid="d", phase="Failed", exit_code=80)
    gave_up = "ERROR ExecutorPodsAllocator: Max number of executor failures (4) reached"
    with pytest.raises(EnclaveError) as failed:
        look(Pods([DIFFERS], driver=driver, printed=[gave_up])).follow("d", "enclave")
    assert (failed.value.code, failed.value.retryable) == ("executor-input-differs", False)


def test_an_executor_that_cannot_read_a_file_may_be_replaced(look) -> None:
    lost = executor(
        "e1", phase="Failed", exit_code=66, ended_message="[input-not-read] … · got: no such file: a.parquet"
    )
    enclave = look(Pods([lost, running("e2")]))
    enclave.check_siblings(DRIVER)
    driver = PodState(name="d", uid="d", phase="Failed", exit_code=80)
    gave_up = "ERROR ExecutorPodsAllocator: Max number of executor failures (4) reached"
    with pytest.raises(EnclaveError, match=r"no such file: a\.parquet") as failed:
        look(Pods([lost], driver=driver, printed=[gave_up])).follow("d", "enclave")
    assert (failed.value.code, failed.value.retryable) == ("input-not-read", False)
