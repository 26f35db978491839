"""Every published layout, and every type that its columns may have, through preflight, jobs and recounts."""

from __future__ import annotations

import json
import math
from datetime import timedelta
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from confidential_spark.core.months import Month
from confidential_spark.jobs.input.manifest import read_manifest
from confidential_spark.jobs.nytaxi.recount import recount
from confidential_spark.jobs.nytaxi.summary import MEASURES
from confidential_spark.jobs.nytaxi.trip_schema import TRIPS
from confidential_spark.jobs.nytaxi_demand.checks import TRIPS as DEMAND_TRIPS
from confidential_spark.jobs.nytaxi_demand.recount import recount as recount_demand

from tests.jobs.published_layouts import DOUBLE, INT64, LAYOUTS, TEXT
from tests.jobs.trip_files import MONTH, at
from tests.support.places import SHARED

if TYPE_CHECKING:
    from confidential_spark.jobs.input.contract import SchemaVersion

pytestmark = pytest.mark.spark
MAY = Month.parse(MONTH)
CAP = 100_000
NOT_ROUND = {"tpepPickupDateTime": at("2018-05-01"), "tpepDropoffDateTime": at("2018-05-01 00:10:59")}
# Three usual trips, and one of the first second of the month.
CHANGES = [{}, {}, {}, NOT_ROUND]
EXPECTED = dict(zip(MEASURES, (4, 5860, 4600, 940, 10_000, 3_359), strict=True))
TLC = {"today": LAYOUTS["tlc-2021"], "old": LAYOUTS["tlc-2009"]}


@pytest.fixture
def agree(nytaxi, demand, runs, tmp_path):
    """Run a month through all that reads it; return the summary, once all have counted the same."""

    def agree(place=None, month=MAY):
        manifest = read_manifest(str(place or tmp_path), month, TRIPS)
        (first, *_) = manifest.paths
        source = first if manifest.uri.endswith(".parquet") else first.parent
        output = runs(nytaxi).run(["--month", str(month)], source)
        found = json.loads((output / "summary.json").read_text())
        counted = recount(manifest.paths, month, CAP)
        assert found["input_version"] == manifest.version
        assert {name: found["totals"][name] for name in MEASURES} == counted.totals
        rules = {rule["name"]: (rule["rows"], rule.get("first", 0)) for rule in found["rules"]}
        assert rules == counted.rules
        zones = pq.read_table(output / "by_pickup_zone.parquet").to_pylist()
        assert {row["zone"]: row["trips"] for row in zones} == {
            zone: sums["trips"] for zone, sums in counted.by_pickup_zone.items()
        }
        payments = pq.read_table(output / "by_payment_type.parquet").to_pylist()
        assert {row["payment_type"]: row["trips"] for row in payments if row["trips"]} == {
            name: sums["trips"] for name, sums in counted.by_payment_type.items()
        }
        narrow = read_manifest(str(place or tmp_path), month, DEMAND_TRIPS)
        output = runs(demand).run(["--month", str(month)], source)
        days = pq.read_table(output / "by_day_zone.parquet").to_pylist()
        trips = recount_demand(narrow.paths, month, CAP)
        assert {(row["day"], row["zone"]): row["trips"] for row in days} == trips
        assert json.loads((output / "summary.json").read_text())["input_version"] == narrow.version
        assert sum(trips.values()) == found["totals"]["trips"]
        return found

    return agree


def test_jobs_and_preflight_declare_the_same_versions(nytaxi, demand):
    def declared(version: SchemaVersion):
        columns = {
            name: {"types": list(column.types)} | ({"from": column.source} if column.source else {})
            for name, column in version.columns.items()
        }
        return {"name": version.name, "columns": columns} | (
            {"one_of": list(version.one_of)} if version.one_of else {}
        )

    for job, contract in ((nytaxi, TRIPS), (demand, DEMAND_TRIPS)):
        assert json.loads(json.dumps(job.versions())) == [declared(version) for version in contract.versions]
        assert set(LAYOUTS) == set(job.VERSIONS)


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_gives_the_same_figures(agree, tmp_path, name):
    LAYOUTS[name].write(tmp_path / f"yellow_tripdata_{MONTH}.parquet", CHANGES)
    found = agree()
    assert found["input_version"] == name
    assert {measure: found["totals"][measure] for measure in MEASURES} == EXPECTED
    counted = {rule["name"] for rule in found["rules"] if rule["rows"]}
    has_zones = "puLocationId" in LAYOUTS[name].columns
    assert counted == (set() if has_zones else {"pickup_zone_missing", "dropoff_zone_missing"})


IDS = ("vendorID", "puLocationId", "doLocationId", "paymentType")
AMOUNTS = ("fareAmount", "tipAmount", "totalAmount", "tripDistance")
TIMES = ("tpepPickupDateTime", "tpepDropoffDateTime")
DRIFT = {
    **{f"ids-{kind}": dict.fromkeys(IDS, kind) for kind in (TEXT, pa.int32(), INT64, DOUBLE, pa.int16())},
    **{f"passengers-{kind}": {"passengerCount": kind} for kind in (pa.int32(), INT64, pa.int8(), DOUBLE)},
    **{
        f"amounts-{kind}": dict.fromkeys(AMOUNTS, kind)
        for kind in (pa.float32(), pa.decimal128(10, 2), pa.decimal128(30, 3))
    },
    "times-text": dict.fromkeys(TIMES, TEXT),
    **{
        f"times-{unit}-{zone or 'local'}": dict.fromkeys(TIMES, pa.timestamp(unit, zone))
        for unit in ("s", "ms", "us", "ns")
        for zone in (None, "UTC", "America/New_York")
    },
}


@pytest.mark.parametrize("drift", DRIFT)
@pytest.mark.parametrize("layout", TLC)
def test_types_may_drift(agree, tmp_path, layout, drift):
    types = {} if layout == "old" and drift.startswith("ids-") else DRIFT[drift]
    TLC[layout].write(tmp_path / f"yellow_tripdata_{MONTH}.parquet", CHANGES, types=types)
    found = agree()
    assert {measure: found["totals"][measure] for measure in MEASURES} == EXPECTED


def test_int96_is_a_time_in_any_layout(agree, tmp_path):
    path = tmp_path / f"yellow_tripdata_{MONTH}.parquet"
    pq.write_table(TLC["today"].table(CHANGES), path, use_deprecated_int96_timestamps=True)
    assert agree()["totals"]["trips"] == 4


def test_whole_amounts_are_dollars(agree, tmp_path):
    types = dict.fromkeys(AMOUNTS, INT64)
    TLC["today"].write(tmp_path / f"yellow_tripdata_{MONTH}.parquet", CHANGES, types=types)
    found = agree()["totals"]
    assert (found["revenue_cents"], found["distance_millimiles"]) == (4 * 1400, 4 * 2000)


@pytest.mark.parametrize("spell", [str.lower, str.upper, str.swapcase])
@pytest.mark.parametrize("name", LAYOUTS)
def test_names_may_be_in_another_case(agree, tmp_path, name, spell):
    LAYOUTS[name].write(tmp_path / f"yellow_tripdata_{MONTH}.parquet", CHANGES, spell=spell)
    assert agree()["input_version"] == name


def test_an_exact_name_goes_before_one_in_another_case(agree, tmp_path):
    table = TLC["today"].table(CHANGES)
    for place, name in ((0, "TIP_AMOUNT"), (3, "passenger_COUNT"), (13, "PulocationID")):
        table = table.add_column(place, name, pa.array([["?"]] * 4))
    pq.write_table(table, tmp_path / f"yellow_tripdata_{MONTH}.parquet")
    assert {measure: agree()["totals"][measure] for measure in MEASURES} == EXPECTED


NUMBERS = [
    {"puLocationId": value, "doLocationId": value}
    for value in (None, math.nan, 0, 1, 263, 264, 265, 266, -1, 1.5, math.inf, -math.inf, 1e300)
]
PAYMENTS = [{"paymentType": value} for value in (None, math.nan, *range(-1, 11), 1.5, math.inf, 1e18)]
PASSENGERS = [{"passengerCount": value} for value in (None, math.nan, 0, 0.5, 6, math.inf)]
VENDORS = [{"vendorID": value} for value in (None, math.nan, 1, 2.5)]


def is_whole(value: float | None) -> bool:
    return value is None or (math.isfinite(value) and value == int(value) and abs(value) < 2**60)


@pytest.mark.parametrize("kind", [DOUBLE, pa.float32(), INT64], ids=str)
def test_numbers_that_are_none_of_the_codes_are_judged_alike(agree, tmp_path, kind):
    rows = [*NUMBERS, *PAYMENTS, *PASSENGERS, *VENDORS]
    if kind == INT64:
        rows = [row for row in rows if all(map(is_whole, row.values()))]
    types = dict.fromkeys((*IDS, "passengerCount"), kind)
    TLC["today"].write(tmp_path / f"yellow_tripdata_{MONTH}.parquet", rows, types=types)
    found = {rule["name"]: rule["rows"] for rule in agree()["rules"]}
    assert found["pickup_zone_missing"] == found["dropoff_zone_missing"] == (1 if kind == INT64 else 2)
    assert found["payment_missing"] == found["passengers_missing"] == found["vendor_missing"]
    assert found["vendor_missing"] == (1 if kind == INT64 else 2)
    assert found["payment_flex_fare"] == 1
    assert found["pickup_zone_unknown"] == 2


TEXTS = [
    *("2018-05-17 08:30", "2018-05-17", "2018-05-17T08:30:15", "2018-05-17 08:30:15Z", " 2018-05-17 08:30:1"),
    *("2018-05-17 08:30:15.5", "2018-05-17 24:00:00", "2018-05-17 23:59:60", "2018-02-30 00:00:00", ""),
    *("17/05/2018 08:30:15", "2018-5-17 08:30:15 ", "2018-05-17  8:30:15", "٢٠١٨-05-17 08:30:15", "now"),
    *("0000-01-01 00:00:00", "9999-12-31 23:59:59", "1969-12-31 23:59:59", "2018-05-17 08:60:15", "NaN"),
]


@pytest.mark.parametrize("text", TEXTS)
def test_text_that_is_no_time_is_none(agree, tmp_path, text):
    rows = [{}, {"tpepPickupDateTime": text}, {"tpepDropoffDateTime": text}]
    TLC["old"].write(tmp_path / f"yellow_tripdata_{MONTH}.parquet", rows)
    found = {rule["name"]: rule["rows"] for rule in agree()["rules"]}
    missing = text not in ("0000-01-01 00:00:00", "9999-12-31 23:59:59", "1969-12-31 23:59:59")
    assert (found["pickup_time_missing"], found["dropoff_time_missing"]) == (missing, missing)


@pytest.mark.parametrize("nanoseconds", [999, -1, -1_000_000_001])
def test_nanoseconds_are_rounded_down(agree, tmp_path, nanoseconds):
    path = tmp_path / f"yellow_tripdata_{MONTH}.parquet"
    table = TLC["today"].table(CHANGES, types=dict.fromkeys(TIMES, pa.timestamp("ns")))
    moments = pa.array([table[1][0].as_py().replace(tzinfo=None)] * 3, pa.timestamp("ns"))
    odd = pa.array([nanoseconds], INT64).cast(pa.timestamp("ns"))
    table = table.set_column(1, "tpep_pickup_datetime", pa.concat_arrays([moments, odd]))
    pq.write_table(table, path)
    assert agree()["totals"]["trips"] == 3


def test_files_of_one_month_may_differ_in_types_and_spelling(agree, tmp_path):
    folder = tmp_path / "puYear=2018" / "puMonth=5"
    later = [{name: TLC_TIME + timedelta(minutes=5 * n) for n, name in enumerate(TIMES)}]
    LAYOUTS["tlc-2021"].write(folder / "a.parquet", [{}])
    LAYOUTS["tlc-2011"].write(
        folder / "b.parquet", later, types={"passengerCount": pa.int32(), "vendorID": TEXT}, spell=str.lower
    )
    LAYOUTS["tlc-2025"].write(
        folder / "c.parquet", [{}, *later], types=dict.fromkeys(TIMES, pa.timestamp("ns", "UTC"))
    )
    found = agree()
    assert (found["input_version"], found["totals"]["trips"]) == ("tlc-2011", 4)


TLC_TIME = at("2018-05-20 10:00")


@pytest.mark.shared
@pytest.mark.parametrize("month", ["2018-05", "2020-04"])
def test_the_same_real_rows_in_two_layouts_give_the_same_figures(agree, month):
    if not SHARED.is_dir():
        pytest.skip(f"no real months: {SHARED} is absent")
    azure, tlc = (agree(SHARED / "data" / name, Month.parse(month)) for name in ("yellow", "tlc"))
    versions = [found.pop("input_version") for found in (azure, tlc)]
    assert versions == ["azure-open-datasets", "tlc-2021"]
    assert azure == tlc


@pytest.mark.shared
@pytest.mark.parametrize("place", ["", "yellow_tripdata_2018-05.parquet"])
def test_the_known_download_runs(agree, place):
    case = SHARED / "trouble" / "data" / "tlc-download-flat"
    if not case.is_dir():
        pytest.skip(f"no cases: {case} is absent")
    assert agree(case / place)["totals"]["trips"] == 50
