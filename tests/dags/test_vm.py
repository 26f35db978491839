"""A DCsv3 VM that is on only while runs need it."""

from __future__ import annotations

import pytest
from confidential_spark.core.platforms import Platform
from confidential_spark.jobs import JOBS
from confidential_spark.pipelines.job import confidential_dag
from confidential_spark.settings import forget_settings


@pytest.fixture
def with_vm(monkeypatch):
    monkeypatch.setenv("CONFIDENTIAL_SPARK_DCSV3_VM", "group/vm")
    forget_settings()
    yield
    forget_settings()


def dag_of(platform: Platform):
    return confidential_dag(JOBS["sparkpi"], platform, doc_md="", params={})


def test_it_is_started_first_and_deallocated_last_whatever_happens(with_vm) -> None:
    dag = dag_of(Platform.DCSV3)
    start, stop = dag.get_task("start_vm"), dag.get_task("deallocate_vm")
    others = set(dag.task_dict) - {"start_vm", "deallocate_vm"}
    assert others <= start.get_flat_relative_ids(upstream=False)
    assert others <= stop.get_flat_relative_ids(upstream=True)
    assert start.is_setup
    assert stop.is_teardown
    assert stop.pool == "azure_vm"
    assert stop.dag_ids == [job.dag_id(Platform.DCSV3) for job in JOBS.values()]


@pytest.mark.parametrize("platform", [Platform.LOCAL, Platform.DCSV3])
def test_it_is_left_alone_by_default(platform) -> None:
    assert not {"start_vm", "deallocate_vm"} & set(dag_of(platform).task_dict)


def test_other_platforms_have_none(with_vm) -> None:
    assert "start_vm" not in dag_of(Platform.LOCAL).task_dict
