"""A year whose months are in Blob: published there in one step, copied, verified, and stale by name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import yaml
from confidential_spark.cli.main import main
from confidential_spark.pipelines.year_operators import FindMonthsOperator, PublishYearOperator

from tests.azure.results.conftest import write
from tests.support.azure.azurite import ACCOUNT, KEY
from tests.support.azure.results import BlobPlace
from tests.support.factories.years import MONTHS, PINNED, month_files, write_files
from tests.unit.pipelines.test_year import DAG_ID, execute

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MONTHLY = "nytaxi_local"


@pytest.fixture
def blobs(blobs) -> BlobPlace:
    """A prefix that is written in an address as it is."""
    return BlobPlace(blobs.endpoint, "years")


@pytest.fixture
def deployment(blobs, tmp_path, monkeypatch, deploy) -> Path:
    connection = {"conn_type": "wasb", "host": blobs.endpoint, "login": ACCOUNT, "password": KEY}
    monkeypatch.setenv("AIRFLOW_CONN_RESULTS", json.dumps(connection))
    policy = yaml.safe_dump(PINNED).encode()
    write_files(tmp_path / "include", {"policies/simulation.yaml": policy, "jobs/nytaxi.py": b"job file"})
    deploy(
        include_dir=tmp_path / "include",
        results_dir=blobs.url,
        results_conn_id="results",
        blob_emulator=blobs.endpoint,
    )
    return tmp_path


@pytest.fixture
def publish(blobs) -> Callable[..., None]:
    def publish(month: str, attempt: str, trips: int = 0) -> None:
        store = blobs.results().store(MONTHLY)
        staging = store.stage(f"month={month}", attempt)
        with store.hold(staging) as folder:
            write(folder, month_files(month, trips=trips))
        store.publish(staging)

    return publish


def test_a_year_is_published_copied_verified_and_stale(blobs, deployment, publish, capsys) -> None:
    for month in MONTHS:
        publish(month, "run.try1")
    execute(FindMonthsOperator)
    value = execute(PublishYearOperator)
    assert value["totals"]["trips"] == 1_266
    assert not [name for name in blobs.names() if "/.staging/" in name]

    copy = deployment / "copy"
    assert main(["results", "get", f"{blobs.url}/{DAG_ID}", "year=2018", str(copy)]) == 0
    command = ["year", "verify", str(copy), "--policy", str(deployment / "include/policies/simulation.yaml")]
    months = f"{blobs.url}/{MONTHLY}"
    assert main([*command, "--published", months]) == 0
    publish("2018-05", "run.try2", trips=5_000)
    assert main([*command, "--published", months]) == 3
    assert "STALE · 2018-05 was replaced by version run.try2" in capsys.readouterr().out
