"""The buttons on a task's page."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from confidential_spark.core.platforms import Platform
from confidential_spark.jobs.nytaxi import NYTAXI
from confidential_spark.operators.base import ConfidentialOperator
from confidential_spark.operators.outcomes.links import (
    LINKS,
    PLACE_KEY,
    EnclavePlace,
    remember_failure,
)
from confidential_spark.operators.resumable import ResumableTask
from confidential_spark.platforms import operators_of

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


@pytest.mark.parametrize("platform", Platform, ids=str)
def test_a_task_on_another_machine_has_a_button_to_its_container_or_pod(platform) -> None:
    names = [link.name for link in operators_of(platform).run_spark.operator_extra_links]
    assert ("Container or pod" in names) is (platform is not Platform.LOCAL)
    assert names[:2] == ["Enclave report", "Runbook"]


def pushed_by(place: EnclavePlace, push) -> None:
    ti = SimpleNamespace(**vars(TI), xcom_push=push)
    ResumableTask(task_id="run_spark", job=NYTAXI).show_place({"ti": ti}, place)


def test_the_button_is_there_while_the_enclave_runs() -> None:
    xcoms: dict[str, object] = {}
    pushed_by(
        EnclavePlace.container("0123456789abcdef", "docker_sgx"),
        lambda key, value: xcoms.update({key: value}),
    )
    assert str(xcoms["_link_EnclavePlaceLink"]).endswith(
        "/confidential-spark/runs/nytaxi_local/manual__2018-05-01T00%3A00%3A00%2B00%3A00#place"
    )
    assert xcoms[PLACE_KEY] == {
        "kind": "container",
        "name": "0123456789ab",
        "where": "the engine of connection docker_sgx",
        "commands": ["docker logs --follow 0123456789ab", "docker inspect 0123456789ab"],
    }


def test_a_pod_is_looked_at_with_its_executors() -> None:
    place = EnclavePlace.pod("nytaxi-1-driver", "spark jobs", "org/nonce=abc")
    assert place.commands == (
        "kubectl --namespace 'spark jobs' logs --follow nytaxi-1-driver",
        "kubectl --namespace 'spark jobs' describe pod nytaxi-1-driver",
        "kubectl --namespace 'spark jobs' get pods --selector org/nonce=abc",
    )


def test_a_run_is_not_lost_for_a_button(capsys) -> None:
    def away(key: str, value: object) -> None:
        raise ConnectionError("the API server is away")

    pushed_by(EnclavePlace.pod("p", "n", "s"), away)
    assert "The pod has no button on the task's page" in capsys.readouterr().out
