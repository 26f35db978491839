"""The demand job against hand-made rows, an independent count, and job nytaxi."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from confidential_spark.core.months import Month
from confidential_spark.jobs.nytaxi_demand.checks import TRIPS
from confidential_spark.jobs.nytaxi_demand.recount import recount
from confidential_spark.simulation.trips.month import write_month

from tests.jobs.test_nytaxi import QUIRKS
from tests.jobs.trip_files import MONTH, TRIP, TYPES, at, write_column, write_trips
from tests.support.job_runs import call, query, write_rows

pytestmark = pytest.mark.spark
CAP = 100_000


def arguments(month=MONTH, cap=CAP):
    return ["--month", month, "--outlier-cap-cents", str(cap)]


@pytest.fixture
def count(demand, runs):
    """Run the job's query; return (day, zone) → trips, and how many rows are rejected."""

    def count(folder, month=MONTH):
        lines = (runs(demand).rows(arguments(month), folder) / "cells.jsonl").read_text().splitlines()
        trips = {(row["day"], row["zone"]): row["trips"] for row in map(json.loads, lines)}
        return trips, trips.pop((None, None), 0)

    return count


def test_reads_the_columns_of_its_contract(demand):
    assert list(demand.TYPES) == list(TRIPS.columns)


def test_rejects_what_nytaxi_rejects_and_nothing_else(count, nytaxi, tmp_path):
    actions = {rule.name: rule.action for rule in nytaxi.RULES}
    rejected = {}
    for case in QUIRKS:
        folder = write_trips(tmp_path / case.id / "a.parquet", [case.values[0]])
        rejected[case.id] = count(folder)[1] == 1
    assert rejected == {case.id: actions[case.values[1]] == "reject" for case in QUIRKS}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param({}, {(17, 132): 1}, id="usual"),
        pytest.param({"puLocationId": None}, {(17, 0): 1}, id="no-zone"),
        pytest.param({"puLocationId": "266"}, {(17, 0): 1}, id="zone-266"),
        pytest.param({"puLocationId": "+5"}, {(17, 0): 1}, id="signed-zone"),
        pytest.param({"puLocationId": "5.9"}, {(17, 0): 1}, id="decimal-zone"),
        pytest.param({"puLocationId": "-5"}, {(17, 0): 1}, id="negative-zone"),
        pytest.param({"puLocationId": ""}, {(17, 0): 1}, id="empty-zone"),
        pytest.param({"puLocationId": "0005"}, {(17, 5): 1}, id="zeros-before"),
        pytest.param({"puLocationId": " 7 "}, {(17, 7): 1}, id="blanks"),
        pytest.param({"puLocationId": "265"}, {(17, 265): 1}, id="outside-the-city"),
        pytest.param(
            {"tpepPickupDateTime": at("2018-05-31 23:59:59"), "tpepDropoffDateTime": at("2018-06-01")},
            {(31, 132): 1},
            id="last-second",
        ),
        pytest.param({"totalAmount": 1000.01}, {}, id="above-the-cap"),
    ],
)
def test_a_trip_has_the_day_and_zone_of_its_pickup(count, tmp_path, change, expected):
    folder = write_trips(tmp_path / "month" / "a.parquet", [change])
    assert count(folder)[0] == expected
    assert recount([folder / "a.parquet"], Month.parse(MONTH), CAP) == expected


@pytest.mark.parametrize("text", ["2009-03", "2018-05", "2020-02"])
def test_synthetic_months_agree_with_the_recount(count, tmp_path, text):
    month = Month.parse(text)
    folder = write_month(month, 5_000, tmp_path / "trips")
    assert count(folder, text)[0] == recount(sorted(folder.glob("*.parquet")), month, CAP)


@pytest.mark.shared
@pytest.mark.parametrize("text", ["2016-01", "2018-08", "2020-03"])
def test_real_months_agree_with_the_recount(count, shared_data, text):
    month = Month.parse(text)
    folder = shared_data / "yellow" / f"puYear={month.year}" / f"puMonth={month.month}"
    assert count(folder.resolve(), text)[0] == recount(sorted(folder.glob("*.parquet")), month, CAP)


def finish(demand, folder, rows):
    write_rows(folder, "cells", rows, 12)
    output = folder / "output"
    output.mkdir()
    return call(demand, "finish", *arguments(), "--rows", str(folder), "--output", str(output)), output


def test_figures_of_a_month_by_hand(demand, tmp_path):
    rows = [(1, 5, 2), (1, 264, 1), (2, 5, 1), (2, 7, 3), (2, 0, 4), (31, 5, 8)]
    cells = [{"day": day, "zone": zone, "trips": n} for day, zone, n in rows]
    ended, output = finish(demand, tmp_path, [{"day": None, "zone": None, "trips": 6}, *reversed(cells)])
    assert ended.lines == [
        "Input DataFrame Count: 25",
        "Input version: tlc-2011",
        "Aggregation duration: 12 ms",
    ]
    summary = json.loads((output / "summary.json").read_text())
    assert summary["rows"] == {"input": 25, "accepted": 19, "rejected": 6}
    assert summary["totals"] == {
        "trips": 19,
        "trips_without_zone": 4,
        "trips_in_unknown_zone": 1,
        "zones": 2,
        "busiest_day": 2,
        "busiest_day_trips": 8,
    }
    tables = {name: pq.read_table(output / f"{name}.parquet").to_pylist() for name in demand.COLUMNS_OF}
    assert [(row["day"], row["zone"]) for row in tables["by_day_zone"]] == [
        *((1, 5), (1, 264), (2, 0), (2, 5), (2, 7), (31, 5))
    ]
    assert tables["by_day"][1] == {"day": 2, "weekday": "wednesday", "trips": 8, "zones": 2}
    assert [row["trips"] for row in tables["by_day"]] == [3, 8, *[0] * 28, 8]
    assert tables["by_weekday"][3] == {"weekday": "thursday", "days": 5, "trips": 8, "trips_per_day": 1.6}
    assert tables["top_zones"] == [
        {"rank": 1, "zone": 5, "trips": 11, "share": 11 / 19},
        {"rank": 2, "zone": 7, "trips": 3, "share": 3 / 19},
    ]


def test_a_month_without_trips_is_refused_and_nothing_written(demand, tmp_path):
    ended, output = finish(demand, tmp_path, [{"day": None, "zone": None, "trips": 2}])
    assert (ended.code, ended.refusal) == (66, "month-without-data")
    assert "got: 2 rows, all rejected" in ended.errors[0]
    assert list(output.iterdir()) == []


def test_every_declared_type_of_every_column_gives_the_same_trips(demand, count, tmp_path):
    different = []
    for column, kinds in demand.TYPES.items():
        for kind in kinds:
            if count(write_column(tmp_path / f"{column}-{kind}", column, kind)) != ({(17, 132): 2}, 0):
                different.append((column, kind))
    assert different == []


@pytest.mark.parametrize("column", list(TRIPS.columns))
def test_a_missing_column_is_named(demand, runner_calls, tmp_path, column):
    columns = {name: pa.array([TRIP[name]], kind) for name, kind in TYPES.items() if name != column}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    refused = runner_calls.refuse(query(demand, *arguments()), tmp_path.as_uri())
    assert (refused.exit, refused.code) == (66, "input-schema")
    assert refused.got == f"a.parquet: {column} is missing (as of azure-open-datasets, the nearest version)"
