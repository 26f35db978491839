"""When the VM is deallocated; Airflow's answer and Azure's hook are fakes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException
from confidential_spark.platforms.docker import vm as azure_vm
from confidential_spark.platforms.docker.vm import DeallocateIdleVmOperator


@pytest.fixture
def stopped(monkeypatch) -> list[str]:
    """The VMs that were deallocated; no waiting."""
    names: list[str] = []
    hook = SimpleNamespace(stop_instance=lambda vm_name, **_: names.append(vm_name))
    monkeypatch.setattr(DeallocateIdleVmOperator, "hook", hook)
    monkeypatch.setattr(azure_vm, "PAUSE_SECONDS", 0.0)
    return names


def execute(*answers: dict[str, int]) -> None:
    """Run the task; each answer is how many runs of each DAG are not over, the last one for good."""
    left = list(answers)
    calls: list[Any] = []

    def get_dr_count(dag_id: str, states: list[str]) -> int:
        calls.append(dag_id)
        assert states == ["queued", "running"]
        current = left[0]
        if len(calls) % 2 == 0 and len(left) > 1:
            left.pop(0)
        return current.get(dag_id, 0)

    operator = DeallocateIdleVmOperator(
        task_id="deallocate_vm", dag_ids=["a_dcsv3", "b_dcsv3"], resource_group_name="group", vm_name="vm"
    )
    operator.execute({"ti": SimpleNamespace(get_dr_count=get_dr_count)})  # type: ignore[typeddict-item]


def test_the_last_run_deallocates_it(stopped) -> None:
    execute({"a_dcsv3": 1})
    assert stopped == ["vm"]


@pytest.mark.parametrize(
    "others", [{"a_dcsv3": 2}, {"a_dcsv3": 1, "b_dcsv3": 1}], ids=["same-dag", "another-dag"]
)
def test_another_run_keeps_it(stopped, monkeypatch, others) -> None:
    monkeypatch.setattr(azure_vm, "OTHERS_END_WITHIN_SECONDS", 0.0)
    with pytest.raises(AirflowSkipException, match="1 other runs need the VM"):
        execute(others)
    assert stopped == []


def test_a_run_that_is_just_ending_is_waited_for(stopped) -> None:
    execute({"a_dcsv3": 2}, {"a_dcsv3": 1})
    assert stopped == ["vm"]
