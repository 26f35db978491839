"""The demand job against hand-made rows, an independent count, and job nytaxi."""

from __future__ import annotations

import json

import pyarrow.parquet as pq
import pytest
from confidential_spark.core.months import Month
from confidential_spark.jobs.nytaxi_demand.checks import TRIPS
from confidential_spark.jobs.nytaxi_demand.recount import recount
from confidential_spark.simulation.trips.month import write_month

from tests.jobs.conftest import load
from tests.jobs.test_nytaxi import QUIRKS
from tests.jobs.trip_files import MONTH, TYPES, at, write_trips

pytestmark = pytest.mark.spark
CAP = 100_000


@pytest.fixture(scope="module")
def demand():
    return load("nytaxi_demand")


@pytest.fixture
def options(demand, tmp_path):
    def options(folder, month=MONTH, cap=CAP):
        arguments = ["--month", month, "--input", folder.as_uri(), "--output", str(tmp_path)]
        return demand.parse_options([*arguments, "--outlier-cap-cents", str(cap)])

    return options


@pytest.fixture
def count(demand, spark):
    """Run the job's query in the shared session; return (day, zone) → trips, and the rejected rows."""

    def count(parsed):
        demand.read_trips(spark, parsed.input)
        rows = spark.sql(demand.QUERY, args=parsed.parameters()).collect()
        trips = {(row.day, row.zone): row.trips for row in rows if row.accepted}
        return trips, sum(row.trips for row in rows if not row.accepted)

    return count


def test_reads_the_columns_of_its_contract(demand):
    assert list(demand.COLUMNS) == list(TRIPS.columns)


def test_rejects_what_nytaxi_rejects_and_nothing_else(count, options, nytaxi, tmp_path):
    actions = {rule.name: rule.action for rule in nytaxi.RULES}
    rejected = {}
    for case in QUIRKS:
        folder = write_trips(tmp_path / case.id / "a.parquet", [case.values[0]])
        rejected[case.id] = count(options(folder))[1] == 1
    assert rejected == {case.id: actions[case.values[1]] == "reject" for case in QUIRKS}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param({}, {(17, 132): 1}, id="usual"),
        pytest.param({"puLocationId": None}, {(17, 0): 1}, id="no-zone"),
        pytest.param({"puLocationId": "266"}, {(17, 0): 1}, id="zone-266"),
        pytest.param({"puLocationId": "+5"}, {(17, 0): 1}, id="signed-zone"),
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
def test_a_trip_has_the_day_and_zone_of_its_pickup(count, options, tmp_path, change, expected):
    folder = write_trips(tmp_path / "month" / "a.parquet", [change])
    assert count(options(folder))[0] == expected
    assert recount([folder / "a.parquet"], Month.parse(MONTH), CAP) == expected


@pytest.mark.parametrize("text", ["2009-03", "2018-05", "2020-02"])
def test_synthetic_months_agree_with_the_recount(count, options, tmp_path, text):
    month = Month.parse(text)
    folder = write_month(month, 5_000, tmp_path / "trips")
    assert count(options(folder, text))[0] == recount(sorted(folder.glob("*.parquet")), month, CAP)


@pytest.mark.shared
@pytest.mark.parametrize("text", ["2016-01", "2018-08", "2020-03"])
def test_real_months_agree_with_the_recount(count, options, shared_data, text):
    month = Month.parse(text)
    folder = shared_data / "yellow" / f"puYear={month.year}" / f"puMonth={month.month}"
    assert count(options(folder.resolve(), text))[0] == recount(sorted(folder.glob("*.parquet")), month, CAP)


def test_figures_of_a_month_by_hand(demand, options, tmp_path):
    rows = [(1, 5, 2), (1, 264, 1), (2, 5, 1), (2, 7, 3), (2, 0, 4), (31, 5, 8)]
    rows = [{"accepted": True, "day": day, "zone": zone, "trips": n} for day, zone, n in rows]
    rejected = {"accepted": False, "day": 0, "zone": 0, "trips": 6}
    demand.write_results([rejected, *reversed(rows)], 12, options(tmp_path))
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["rows"] == {"input": 25, "accepted": 19, "rejected": 6}
    assert summary["totals"] == {
        "trips": 19,
        "trips_without_zone": 4,
        "trips_in_unknown_zone": 1,
        "zones": 2,
        "busiest_day": 2,
        "busiest_day_trips": 8,
    }
    tables = {name: pq.read_table(tmp_path / f"{name}.parquet").to_pylist() for name in demand.COLUMNS_OF}
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


@pytest.mark.parametrize(
    ("types", "trips", "code"),
    [
        pytest.param(
            {name: kind for name, kind in TYPES.items() if name != "tipAmount"},
            [{}],
            "input-schema",
            id="column",
        ),
        pytest.param(TYPES, [], None, id="empty"),
    ],
)
def test_unusable_input_is_named(demand, spark, options, count, tmp_path, types, trips, code):
    import pyarrow as pa

    from tests.jobs.trip_files import TRIP

    columns = {name: pa.array([TRIP[name] for _ in trips], kind) for name, kind in types.items()}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet", use_deprecated_int96_timestamps=True)
    if code:
        with pytest.raises(demand.InputUnusableError, match=rf"^\[{code}\] .*tipAmount: missing"):
            demand.read_trips(spark, tmp_path.as_uri())
    else:
        assert count(options(tmp_path)) == ({}, 0)


def test_a_month_without_trips_is_refused_and_nothing_written(demand, options, tmp_path):
    rejected = [{"accepted": False, "day": 0, "zone": 0, "trips": 2}]
    with pytest.raises(demand.InputUnusableError, match="month-without-data"):
        demand.write_results(rejected, 1, options(tmp_path))
    assert list(tmp_path.iterdir()) == []
