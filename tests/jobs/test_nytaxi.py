"""The taxi job against hand-made rows, and against an independent count of real and synthetic months."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from confidential_spark.core.months import Month
from confidential_spark.jobs.nytaxi.recount import recount
from confidential_spark.simulation.trips.month import write_month

from tests.jobs.trip_files import MONTH, TRIP, TYPES, at, write_column, write_trips
from tests.support.job_runs import query

pytestmark = pytest.mark.spark
TABLES = {"by_hour": "hour", "by_pickup_zone": "zone", "by_payment_type": "payment_type"}
MONTHS = [
    ("2016", "1"),
    *(("2018", str(month)) for month in range(1, 13)),
    *(("2019", month) for month in ("1", "3", "5", "7", "9", "11")),
    *(("2020", month) for month in ("1", "3", "4", "6", "8", "10", "12")),
]


@pytest.fixture
def run(nytaxi, runs):
    """Run the job; return its output folder."""

    def run(folder, month=MONTH, *more):
        return runs(nytaxi).run(["--month", month, *more], folder)

    return run


def summary(output):
    return json.loads((output / "summary.json").read_text())


def table(output, name):
    return pq.read_table(output / f"{name}.parquet").to_pylist()


def rules(output):
    return {rule["name"]: rule for rule in summary(output)["rules"]}


QUIRKS = [
    pytest.param({"tpepPickupDateTime": None}, "pickup_time_missing", id="no-pick-up"),
    pytest.param(
        {"tpepPickupDateTime": at("2018-04-30 23:59:59"), "tpepDropoffDateTime": at("2018-05-01 00:10")},
        "pickup_outside_month",
        id="second-before",
    ),
    pytest.param(
        {"tpepPickupDateTime": at("2018-06-01"), "tpepDropoffDateTime": at("2018-06-01 00:10")},
        "pickup_outside_month",
        id="second-after",
    ),
    pytest.param(
        {"tpepPickupDateTime": at("1499-01-01"), "tpepDropoffDateTime": at("1499-01-01 00:10")},
        "pickup_outside_month",
        id="ancient",
    ),
    pytest.param({"tpepDropoffDateTime": None}, "dropoff_time_missing", id="no-drop-off"),
    pytest.param({"tpepDropoffDateTime": at("2018-05-17 08:30:14")}, "dropoff_before_pickup", id="before"),
    pytest.param({"tpepDropoffDateTime": at("2018-05-17 14:30:16")}, "duration_over_6h", id="over-6h"),
    pytest.param({"totalAmount": None}, "amount_unusable", id="no-total"),
    pytest.param({"fareAmount": math.nan}, "amount_unusable", id="fare-nan"),
    pytest.param({"tipAmount": math.inf}, "amount_unusable", id="tip-infinite"),
    pytest.param({"totalAmount": 1e7}, "amount_unusable", id="absurd-total"),
    pytest.param({"fareAmount": -2.5, "totalAmount": -3.3}, "fare_negative", id="reversal"),
    pytest.param({"totalAmount": -0.01}, "fare_negative", id="negative-total"),
    pytest.param({"fareAmount": 429490.20, "totalAmount": 429491.0}, "amount_outlier", id="the-outlier"),
    pytest.param({"tipAmount": 1000.01}, "amount_outlier", id="tip-above-cap"),
    pytest.param({"tripDistance": None}, "distance_unusable", id="no-distance"),
    pytest.param({"tripDistance": -0.1}, "distance_unusable", id="negative-distance"),
    pytest.param({"tripDistance": 500.01}, "distance_unusable", id="501-miles"),
    pytest.param({"tripDistance": 15_420_061.1}, "distance_unusable", id="to-the-moon"),
    pytest.param({"tripDistance": 0.0}, "distance_zero", id="zero-distance"),
    pytest.param({"tpepDropoffDateTime": TRIP["tpepPickupDateTime"]}, "duration_zero", id="zero-duration"),
    pytest.param({"passengerCount": 0}, "passengers_zero", id="no-passenger"),
    pytest.param({"passengerCount": None}, "passengers_missing", id="passengers-null"),
    pytest.param({"vendorID": None}, "vendor_missing", id="vendor-null"),
    pytest.param({"paymentType": None}, "payment_missing", id="payment-null"),
    pytest.param({"paymentType": "Bitcoin"}, "payment_unrecognised", id="payment-unrecognised"),
    pytest.param({"paymentType": "7"}, "payment_unrecognised", id="payment-7"),
    pytest.param({"paymentType": "0"}, "payment_flex_fare", id="payment-flex-fare"),
    pytest.param({"puLocationId": None}, "pickup_zone_missing", id="pick-up-zone-null"),
    pytest.param({"puLocationId": "264"}, "pickup_zone_unknown", id="pick-up-zone-264"),
    pytest.param({"puLocationId": "266"}, "pickup_zone_invalid", id="pick-up-zone-266"),
    pytest.param({"puLocationId": "JFK"}, "pickup_zone_invalid", id="pick-up-zone-text"),
    pytest.param({"puLocationId": "+5"}, "pickup_zone_invalid", id="pick-up-zone-signed"),
    pytest.param({"puLocationId": "5.0"}, "pickup_zone_invalid", id="pick-up-zone-decimal"),
    pytest.param({"doLocationId": None}, "dropoff_zone_missing", id="drop-off-zone-null"),
    pytest.param({"doLocationId": "265"}, "dropoff_zone_unknown", id="drop-off-zone-265"),
    pytest.param({"doLocationId": "0"}, "dropoff_zone_invalid", id="drop-off-zone-0"),
]


def test_every_rule_has_a_quirk_here(nytaxi):
    together = "vendor_payment_passengers_missing"
    assert {case.values[1] for case in QUIRKS} | {together} == {rule.name for rule in nytaxi.RULES}


@pytest.mark.parametrize(("change", "rule"), QUIRKS)
def test_each_quirk_is_counted_by_its_own_rule(run, tmp_path, change, rule):
    output = run(write_trips(tmp_path / "month" / "a.parquet", [{}, change]))
    found = rules(output)
    rejects = found[rule]["action"] == "reject"
    assert {name for name, entry in found.items() if entry["rows"]} == {rule}
    assert summary(output)["rows"] == {"input": 2, "accepted": 2 - rejects, "rejected": int(rejects)}
    if rejects:
        assert {name for name, entry in found.items() if entry.get("first")} == {rule}


def test_values_at_the_limits_are_accepted(run, tmp_path):
    limits = [
        {"tpepPickupDateTime": at("2018-05-01"), "tpepDropoffDateTime": at("2018-05-01 06:00")},
        {
            "tpepPickupDateTime": at("2018-05-31 23:59:59.999999"),
            "tpepDropoffDateTime": at("2018-06-01 00:10"),
        },
        {"totalAmount": 1000.0, "fareAmount": 1000.0, "tipAmount": 1000.0},
        {"tripDistance": 500.0},
        {"puLocationId": " 1 ", "doLocationId": "263"},
    ]
    output = run(write_trips(tmp_path / "month" / "a.parquet", limits))
    assert summary(output)["rows"] == {"input": 5, "accepted": 5, "rejected": 0}
    assert all(rule["rows"] == 0 for rule in summary(output)["rules"])
    assert summary(output)["first_pickup"] == "2018-05-01T00:00:00Z"
    assert summary(output)["last_pickup"] == "2018-05-31T23:59:59Z"


def test_a_row_with_many_faults_is_rejected_once_for_the_first(run, tmp_path):
    faults = {"tpepDropoffDateTime": None, "totalAmount": None, "tripDistance": -1.0, "passengerCount": 0}
    output = run(write_trips(tmp_path / "month" / "a.parquet", [{}, faults]))
    found = {name: (r["rows"], r.get("first")) for name, r in rules(output).items() if r["rows"]}
    assert found == {
        "dropoff_time_missing": (1, 1),
        "amount_unusable": (1, 0),
        "distance_unusable": (1, 0),
        "passengers_zero": (1, None),
    }


def test_nulls_that_come_together_are_counted_together(run, tmp_path):
    nulls = {"vendorID": None, "paymentType": None, "passengerCount": None}
    output = run(write_trips(tmp_path / "month" / "a.parquet", [nulls, {"vendorID": None}]))
    assert rules(output)["vendor_payment_passengers_missing"]["rows"] == 1
    assert rules(output)["vendor_missing"]["rows"] == 2


def test_figures_of_a_month_by_hand(run, tmp_path):
    trips = [
        {},
        {"paymentType": "2", "tipAmount": 0.0, "totalAmount": 0.29, "puLocationId": "1"},
        {"fareAmount": 2000.0, "totalAmount": 2001.0},
    ]
    output = run(write_trips(tmp_path / "month" / "a.parquet", trips))
    assert summary(output)["totals"] == {
        "trips": 2,
        "revenue_cents": 1494,
        "fare_cents": 2300,
        "tip_cents": 235,
        "distance_millimiles": 5000,
        "duration_s": 1800,
        "tip_share": 235 / 1494,
        "speed_mph": 10.0,
    }
    assert summary(output)["all_rows"] == {
        "rows": 3, "revenue_cents": 201594, "fare_cents": 202300, "tip_cents": 470
    }  # fmt: skip
    hours = table(output, "by_hour")
    assert [row["hour"] for row in hours] == list(range(24))
    assert [row["trips"] for row in hours] == [0] * 8 + [2] + [0] * 15
    assert hours[0]["tip_share"] is None
    assert [(row["zone"], row["trips"]) for row in table(output, "by_pickup_zone")] == [(1, 1), (132, 1)]
    assert [(row["payment_type"], row["revenue_cents"]) for row in table(output, "by_payment_type")] == [
        ("credit", 1465), ("cash", 29), ("no_charge", 0), ("dispute", 0), ("unknown", 0), ("voided", 0),
        ("flex_fare", 0),
    ]  # fmt: skip


def test_the_outlier_cap_is_an_option(run, tmp_path):
    month = write_trips(tmp_path / "month" / "a.parquet", [{}, {"totalAmount": 14.66}])
    output = run(month, MONTH, "--outlier-cap-cents", "1465")
    assert rules(output)["amount_outlier"]["rows"] == 1
    assert summary(output)["options"] == {"outlier_cap_cents": 1465}


SPELLINGS = {
    "credit": ["1", "Credit", "CREDIT", "CRD", "Cre", "CRE", "credit card", "Card", " Cr "],
    "cash": ["2", "CASH", "Cash", "CSH", "Cas", "cas", "CAS "],
    "no_charge": ["3", "No Charge", "NOC", "No", "NO "],
    "dispute": ["4", "Dispute", "DIS", "Dis"],
    "unknown": ["5", "Unknown", "UNK", "NA ", "", "7", "00", "?", "1.0", "Пустота", "١"],
    "voided": ["6", "Voided trip", "VOI"],
    "flex_fare": ["0"],
}


def test_payment_spellings_are_normalised(run, tmp_path):
    trips = [{"paymentType": spelling} for spellings in SPELLINGS.values() for spelling in spellings]
    output = run(write_trips(tmp_path / "month" / "a.parquet", trips))
    assert {row["payment_type"]: row["trips"] for row in table(output, "by_payment_type")} == {
        name: len(spellings) for name, spellings in SPELLINGS.items()
    }


def test_cents_are_exact_for_many_values(run, tmp_path):
    values = random.Random(1)  # noqa: S311 - the same values every time
    amounts = [round(values.uniform(0, 999), 2) for _ in range(20_000)]
    month = write_trips(tmp_path / "month" / "a.parquet", [{"totalAmount": amount} for amount in amounts])
    assert summary(run(month))["totals"]["revenue_cents"] == sum(round(amount * 100) for amount in amounts)


def test_every_declared_type_of_every_column_gives_the_same_month(nytaxi, run, tmp_path):
    plain = run(write_trips(tmp_path / "plain" / "a.parquet", [{}, {}]))
    declared = [(column, kind) for column, kinds in nytaxi.TYPES.items() for kind in kinds]
    different = []
    for column, kind in declared:
        found = run(write_column(tmp_path / f"{column}-{kind}", column, kind))
        if any((found / file.name).read_bytes() != file.read_bytes() for file in plain.iterdir()):
            different.append((column, kind))
    assert different == []


@pytest.mark.parametrize("column", TYPES)
@pytest.mark.parametrize("kind", [None, pa.bool_()], ids=["missing", "of-another-type"])
def test_a_column_that_is_not_as_declared_is_named(nytaxi, runner_calls, tmp_path, column, kind):
    columns = {name: pa.array([TRIP[name]], stored) for name, stored in TYPES.items() if name != column}
    if kind:
        columns[column] = pa.array([None], kind)
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    refused = runner_calls.refuse(query(nytaxi, "--month", MONTH), tmp_path.as_uri())
    found = "boolean" if kind else "missing"
    got = f"a.parquet: {column} is {found} (as of azure-open-datasets, the nearest version)"
    assert (refused.exit, refused.code, refused.got) == (66, "input-schema", got)


def test_the_order_of_rows_and_files_changes_no_byte(run, tmp_path):
    values = random.Random(2)  # noqa: S311 - the same values every time
    trips = [
        {
            "totalAmount": values.uniform(0, 99),
            "puLocationId": str(values.randint(1, 265)),
            "paymentType": "Cas",
        }
        for _ in range(500)
    ]
    one = run(write_trips(tmp_path / "one" / "a.parquet", trips))
    values.shuffle(trips)
    write_trips(tmp_path / "two" / "a.parquet", trips[:100])
    two = run(write_trips(tmp_path / "two" / "b.parquet", trips[100:]))
    for file in one.iterdir():
        assert (two / file.name).read_bytes() == file.read_bytes()


@pytest.mark.parametrize(
    ("trips", "text"),
    [
        pytest.param([], "no rows at all", id="no-rows"),
        pytest.param(
            [{"tpepPickupDateTime": at("2017-05-01")}], "pickup_outside_month': 1", id="other-month"
        ),
    ],
)
def test_a_month_without_trips_is_refused_and_nothing_written(nytaxi, runs, tmp_path, trips, text):
    month = write_trips(tmp_path / "month" / "a.parquet", trips)
    ended, output = runs(nytaxi).end(["--month", MONTH], month)
    assert (ended.code, ended.refusal) == (66, "month-without-data")
    assert text in ended.errors[0]
    assert list(output.iterdir()) == []


def compare(output, month, files):
    """Compare everything the job wrote with DuckDB's count of the same files."""
    counted = recount(files, month, 100_000)
    found = summary(output)
    assert {name: found["totals"][name] for name in counted.totals} == counted.totals
    assert found["rows"]["input"] == found["all_rows"].pop("rows") == counted.rows
    assert found["all_rows"] == counted.all_rows
    assert (found["first_pickup"], found["last_pickup"]) == (counted.first_pickup, counted.last_pickup)
    assert {r["name"]: (r["rows"], r.get("first", 0)) for r in found["rules"]} == counted.rules
    for name, key in TABLES.items():
        expected = getattr(counted, name)
        rows = {row[key]: {m: row[m] for m in counted.totals} for row in table(output, name) if row["trips"]}
        assert rows == expected


ZONES = [
    *(
        None,
        "",
        " ",
        "5",
        "05",
        "0005",
        "+5",
        "-5",
        "5.9",
        "5.",
        ".5",
        "5e0",
        "5 ",
        " 5",
        "\t5\r\n",
        "5 5",
        "+",
        "-0",
    ),
    *("0", "1", "263", "264", "265", "266", "0x5", "5L", "JFK", "٥", "99999999999999999999", "4294967301"),
]
PAYMENTS = [
    None,
    "",
    " ",
    "1",
    "01",
    "+1",
    " 1",
    "1.0",
    "7",
    "CRD",
    " crd ",
    "\tcrd",
    "Cas",
    "NA ",
    "no",
    "x",
    "Nö",
]


def test_texts_are_judged_as_the_recount_judges_them(run, tmp_path):
    trips = [{"puLocationId": text} for text in ZONES]
    trips += [{"doLocationId": text} for text in ZONES]
    trips += [{"paymentType": text} for text in PAYMENTS]
    folder = write_trips(tmp_path / "month" / "a.parquet", trips)
    compare(run(folder), Month.parse(MONTH), [folder / "a.parquet"])


@pytest.mark.shared
@pytest.mark.parametrize(("year", "month"), MONTHS, ids=lambda part: part)
def test_real_months_to_the_cent(run, shared_data, year, month):
    folder = shared_data / "yellow" / f"puYear={year}" / f"puMonth={month}"
    asked = Month(int(year), int(month))
    compare(run(folder, str(asked)), asked, sorted(folder.glob("*.parquet")))


@pytest.mark.parametrize("text", ["2009-03", "2014-02", "2018-05"])
def test_synthetic_months_of_each_era_to_the_cent(run, tmp_path, text):
    month = Month.parse(text)
    folder = Path(write_month(month, 5_000, tmp_path / "trips"))
    folder = folder if list(folder.glob("*.parquet")) else next(folder.rglob("*.parquet")).parent
    compare(run(folder, text), month, sorted(folder.glob("*.parquet")))
