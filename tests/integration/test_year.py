"""A real scheduler starts a year by its months' events, and a year by hand."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from confidential_spark.cli.main import main
from confidential_spark.hooks.results.folder_store import FolderStore

from tests.integration.live_airflow import LiveAirflow, end_all, wait_until
from tests.support.factories.years import MONTHS, PINNED, month_files, write_files
from tests.support.places import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.scheduler, pytest.mark.timeout(900)]
DAG = "nytaxi_year_local"
MONTHLY = "nytaxi_local"


@pytest.fixture(scope="module")
def airflow(tmp_path_factory) -> Iterator[LiveAirflow]:
    """An Airflow that knows years only, with twelve months of an enclave that a policy of its own accepts."""
    folder = tmp_path_factory.mktemp("year")
    include = folder / "include"
    policy = yaml.safe_dump(PINNED).encode()
    write_files(include, {"policies/simulation.yaml": policy, "jobs/nytaxi.py": b"job file"})
    dags = folder / "dags"
    dags.mkdir()
    shutil.copy(ROOT / "dags" / "years.py", dags)
    bundle = {
        "name": "dags-folder",
        "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
        "kwargs": {"path": str(dags)},
    }
    variables = {
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps([bundle]),
        "CONFIDENTIAL_SPARK_INCLUDE_DIR": str(include),
    }
    live = LiveAirflow(folder, dag_id=DAG, variables=variables, scheduled=True)
    store = FolderStore(live.results, MONTHLY)
    for month in MONTHS:
        publish(store, month)
    try:
        live.ensure_running()
        yield live
    finally:
        end_all(live.folder)


def publish(store: FolderStore, month: str, **changed: Any) -> None:
    staging = store.stage(f"month={month}", f"run.try{changed.get('trips', 1)}")
    write_files(staging, month_files(month, **changed))
    store.publish(staging)


def withdraw_years(airflow: LiveAirflow) -> None:
    """Forget the published years: the tests run in any order, in one Airflow."""
    shutil.rmtree(airflow.results / DAG, ignore_errors=True)


def runs(airflow: LiveAirflow) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = airflow.get(f"dags/{DAG}/dagRuns?order_by=id").body["dag_runs"]
    return found


def event(airflow: LiveAirflow, month: str) -> dict[str, Any]:
    """Say that a month was published, as the task `publish` does; return the year's run that this starts."""
    before = {run["dag_run_id"] for run in runs(airflow)}
    assets = airflow.get(f"assets?name_pattern={MONTHLY}_months").body["assets"]
    body = {"asset_id": assets[0]["id"], "partition_key": month, "extra": {}}
    answer = airflow.post("assets/events", body)
    assert answer.status == 200, answer

    def started() -> dict[str, Any] | None:
        return next((run for run in runs(airflow) if run["dag_run_id"] not in before), None)

    run = wait_until(started, "the year's run has started")
    airflow.wait_for_end(DAG, run["dag_run_id"])
    return run


def states(airflow: LiveAirflow, run: dict[str, Any]) -> dict[str, str]:
    return {name: task["state"] for name, task in airflow.tasks(DAG, run["dag_run_id"]).items()}


def verify(airflow: LiveAirflow, *options: str) -> int:
    policy = airflow.folder / "include" / "policies" / "simulation.yaml"
    year: Path = airflow.results / DAG / "year=2018"
    return main(["year", "verify", str(year), "--policy", str(policy), *options])


def test_each_event_of_a_month_starts_a_run_of_its_year(airflow, capsys) -> None:
    """In order: the year is made, left alone, made anew after a month was published again, or named."""
    withdraw_years(airflow)
    store = FolderStore(airflow.results, MONTHLY)
    months = ("--published", str(airflow.results / MONTHLY))

    first = event(airflow, "2018-12")
    assert first["partition_key"] == "2018"
    assert states(airflow, first) == {"find_months": "success", "publish_year": "success"}
    assert verify(airflow, *months) == 0

    assert states(airflow, event(airflow, "2018-03")) == {
        "find_months": "skipped",
        "publish_year": "skipped",
    }

    publish(store, "2018-05", trips=5_000)
    assert verify(airflow, *months) == 3
    assert "STALE · 2018-05 was replaced by version run.try5000" in capsys.readouterr().out
    assert states(airflow, event(airflow, "2018-05"))["publish_year"] == "success"
    assert verify(airflow, *months) == 0

    other = event(airflow, "2019-01")
    assert other["partition_key"] == "2019"
    assert states(airflow, other)["find_months"] == "skipped"


def test_a_year_by_hand(airflow) -> None:
    run = airflow.trigger(DAG, year="2018")
    assert airflow.wait_for_end(DAG, run) == "success"
    assert airflow.xcom(DAG, run, "publish_year")["year"] == "2018"
    run = airflow.trigger(DAG, year="2017")
    assert airflow.wait_for_end(DAG, run) == "failed"
    assert "year-incomplete" in airflow.xcom(DAG, run, "find_months", "failure")
