"""The real months, from Blob to Blob: each downloaded and recounted, and back-filled by a real scheduler.

`FULL_BACKFILL=1 make test-azure` back-fills all of them; otherwise it is a few of different eras.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from confidential_spark.core.months import Month
from confidential_spark.hooks.blob.month import BlobMonth, judge_copy
from confidential_spark.jobs.input.manifest import read_manifest
from confidential_spark.jobs.nytaxi import NYTAXI
from confidential_spark.jobs.nytaxi.recount import recount

from tests.integration.live_airflow import LiveAirflow, end_all, wait_until
from tests.support.azure.azurite import HOST, KEY, wasb_connection
from tests.support.azure.tables import tables_in, tables_in_blob
from tests.support.places import SHARED

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.support.azure.azurite import Azurite

DAG = "nytaxi_local"
YELLOW = SHARED / "data" / "yellow"
CONTRACT = NYTAXI.rules().input
CAP = 100_000
# Coordinates in place of zones; zones; a turn of the year; the pandemic, and rows without passengers.
OF_EACH_ERA = ["2016-01", "2018-12", "2019-01", "2020-04"]


def months_there() -> list[str]:
    """Return the months that the machine has, in order."""
    found = (re.fullmatch(r".*/puYear=(\d+)/puMonth=(\d+)", str(path)) for path in YELLOW.glob("*/*"))
    return sorted(f"{part[1]}-{int(part[2]):02d}" for part in found if part)


MONTHS = months_there()
FILLED = MONTHS if os.environ.get("FULL_BACKFILL") else [month for month in OF_EACH_ERA if month in MONTHS]


def spans(months: Sequence[str]) -> list[list[str]]:
    """Return the months in groups without a gap: a back-fill takes every month from one to another."""
    groups = [[month] for month in months[:1]]
    for before, month in pairwise(months):
        if Month.parse(before).shift(1) == Month.parse(month):
            groups[-1].append(month)
        else:
            groups.append([month])
    return groups


@pytest.fixture(scope="module")
def trips(shared_data: Path, upload) -> str:
    """The container with all real months."""
    return upload("all-months", shared_data / "yellow", "yellow/")


@pytest.fixture
def reached(trips: str, connect) -> str:
    """The months' address, which this process may read."""
    connect(password=KEY)
    return f"wasbs://{trips}@{HOST}/yellow"


def test_every_real_month_is_read_from_blobs_as_from_files(reached: str, tmp_path: Path) -> None:
    assert len(MONTHS) >= len(OF_EACH_ERA)
    for text in MONTHS:
        month, folder = Month.parse(text), tmp_path / text
        folder.mkdir()
        listed = BlobMonth(reached).manifest(month, CONTRACT)
        digests = BlobMonth(listed.uri).copy(listed.summary()["blobs"], timedelta(hours=1), folder)
        of_blobs = judge_copy(listed, folder, digests, month, CONTRACT)
        of_files = read_manifest(YELLOW.as_uri(), month, CONTRACT)
        assert [replace(file, etag="") for file in of_blobs.files] == list(of_files.files), text
        assert (of_blobs.version, of_blobs.rows) == (of_files.version, of_files.rows), text
        place = YELLOW / f"puYear={month.year}" / f"puMonth={month.month}"
        copied, local = ([root / file.name for file in of_files.files] for root in (folder, place))
        assert recount(copied, month, CAP) == recount(local, month, CAP), text


@pytest.fixture
def airflow(storage: Azurite, trips: str, tmp_path: Path) -> Iterator[LiveAirflow]:
    """A scheduler whose months and results are in Blob."""
    storage.client().create_container("all-results")
    variables = {
        "AIRFLOW_CONN_TRIPS": wasb_connection(storage.endpoint),
        "CONFIDENTIAL_SPARK_BLOB_EMULATOR": storage.endpoint,
        "CONFIDENTIAL_SPARK_BLOB_CONN_ID": "trips",
        "CONFIDENTIAL_SPARK_INPUT_URI": f"wasbs://{trips}@{HOST}/yellow",
        "CONFIDENTIAL_SPARK_RESULTS_DIR": f"wasbs://all-results@{HOST}/spark",
    }
    live = LiveAirflow(tmp_path, variables=variables)
    try:
        live.ensure_running()
        yield live
    finally:
        end_all(tmp_path)


def back_fill(airflow: LiveAirflow, first: str, last: str) -> None:
    """Run the months from one to another to their end."""
    dates = {"from_date": f"{first}-01T00:00:00Z", "to_date": f"{last}-01T00:00:00Z"}
    answer = airflow.post("backfills", {"dag_id": DAG, "max_active_runs": 4, **dates})
    assert answer.status == 200, answer

    def has_ended() -> bool:
        return airflow.get(f"backfills/{answer.body['id']}").body["completed_at"] is not None

    wait_until(has_ended, f"the back-fill from {first} to {last} has ended", 1200)


@pytest.mark.spark
@pytest.mark.timeout(3600)
def test_back_filled_months_in_blob_are_those_of_local_files(
    airflow: LiveAirflow, storage: Azurite, run_dag, results_dir: Path
) -> None:
    for span in spans(FILLED):
        back_fill(airflow, span[0], span[-1])
    states = airflow.rows("select state from dag_run where run_type = 'backfill'")
    assert states == [("success",)] * len(FILLED)
    airflow.end()
    results = storage.client().get_container_client("all-results")
    for month in FILLED:
        assert run_dag(DAG, month, input=YELLOW.as_uri()).state == "success"
        tables = tables_in(results_dir / DAG / f"month={month}")
        assert tables
        assert tables_in_blob(results, DAG, month) == tables, month
