"""The buttons on a task's page."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from confidential_spark.operators.base import ConfidentialOperator
from confidential_spark.operators.outcomes.links import LINKS, remember_failure

TI = SimpleNamespace(dag_id="nytaxi_local", run_id="manual__2018-05-01T00:00:00+00:00")


@pytest.mark.parametrize(
    ("base_url", "below"),
    [
        pytest.param("", "", id="no-address"),
        pytest.param("https://airflow.example", "", id="own-host"),
        pytest.param("https://example.org/team/airflow/", "/team/airflow", id="below-a-path"),
    ],
)
def test_links_are_on_airflow_s_own_host(monkeypatch, base_url: str, below: str) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", base_url)
    remember_failure("spark.run_spark", "spark-failed")
    failed = SimpleNamespace(task_id="spark.run_spark")
    report, runbook = (link.get_link(failed, ti_key=TI) for link in LINKS)
    run = "manual__2018-05-01T00%3A00%3A00%2B00%3A00"
    assert report == f"{below}/confidential-spark/runs/nytaxi_local/{run}"
    assert runbook == f"{below}/confidential-spark/runbooks/spark-failed"


def test_without_a_failure_the_runbook_is_the_task_s() -> None:
    (runbook,) = [link for link in LINKS if link.name == "Runbook"]
    address = runbook.get_link(SimpleNamespace(task_id="spark.run_spark"), ti_key=TI)
    assert address.endswith("/runbooks/spark.run_spark")


def test_every_operator_has_the_buttons() -> None:
    assert [link.name for link in ConfidentialOperator.operator_extra_links] == ["Enclave report", "Runbook"]
