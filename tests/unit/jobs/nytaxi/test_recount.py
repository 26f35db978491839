import math
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from confidential_spark.core.errors import ResultError
from confidential_spark.core.months import Month
from confidential_spark.jobs.nytaxi.recount import Recount, recount
from confidential_spark.jobs.nytaxi.summary import COUNT_RULES, MEASURES, PAYMENT_TYPES, REJECT_RULES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.jobs.trip_files import TYPES
from tests.support.places import SHARED

MAY = Month(2018, 5)
CAP = 100_000
NOON = datetime(2018, 5, 17, 12, 30)
USUAL = {
    "vendorID": "1",
    "tpepPickupDateTime": NOON,
    "tpepDropoffDateTime": NOON + timedelta(minutes=10),
    "passengerCount": 1,
    "tripDistance": 1.5,
    "puLocationId": "237",
    "doLocationId": "48",
    "paymentType": "1",
    "fareAmount": 10.0,
    "tipAmount": 2.0,
    "totalAmount": 12.8,
}


def count(folder: Path, rows: list[dict], types: dict | None = None, **options) -> Recount:
    schema = pa.schema(list((types or TYPES).items()))
    path = folder / "trips.parquet"
    table = pa.Table.from_pylist([USUAL | row for row in rows], schema)
    pq.write_table(table, path, **({"use_deprecated_int96_timestamps": True} | options))
    return recount([path], MAY, CAP)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def oracle(rows: list[dict]) -> dict:
    """Recount rows one by one in plain Python, straight from docs/results.md."""
    rules = {name: [0, 0] for name in (*REJECT_RULES, *COUNT_RULES)}
    tables = {
        key: defaultdict(lambda: dict.fromkeys(MEASURES, 0)) for key in ("total", "hour", "zone", "payment")
    }
    for row in (USUAL | row for row in rows):
        facts = measures(row)
        met = [name for name, test in rule_tests(facts).items() if test]
        for name in met:
            rules[name][0] += 1
        rejected = [name for name in REJECT_RULES if name in met]
        if rejected:
            rules[rejected[0]][1] += 1
            continue
        keys = {
            "total": None,
            "hour": facts["pickup"] % 86_400 // 3_600,
            "zone": max(facts["pickup_zone"], 0),
            "payment": facts["payment"] or "unknown",
        }
        values = (1, facts["total"], facts["fare"], facts["tip"], facts["distance"], facts["duration"])
        for key, value in keys.items():
            for name, number in zip(MEASURES, values, strict=True):
                tables[key][value][name] += number
    return {"rules": {name: tuple(found) for name, found in rules.items()}, **tables}


def measures(row: dict) -> dict:
    pickup, dropoff = (seconds(row[name]) for name in ("tpepPickupDateTime", "tpepDropoffDateTime"))
    return row | {
        "pickup": pickup,
        "dropoff": dropoff,
        "duration": None if pickup is None or dropoff is None else dropoff - pickup,
        "fare": whole(row["fareAmount"], 100, 1e7),
        "tip": whole(row["tipAmount"], 100, 1e7),
        "total": whole(row["totalAmount"], 100, 1e7),
        "distance": whole(row["tripDistance"], 1000, 1e6),
        "pickup_zone": zone(row["puLocationId"]),
        "dropoff_zone": zone(row["doLocationId"]),
        "payment": payment(row["paymentType"]),
    }


def rule_tests(f: dict) -> dict[str, bool]:
    money = [f["fare"], f["tip"], f["total"]]
    month = (
        at("2018-05-01").replace(tzinfo=UTC).timestamp(),
        at("2018-06-01").replace(tzinfo=UTC).timestamp(),
    )
    return {
        "pickup_time_missing": f["pickup"] is None,
        "pickup_outside_month": f["pickup"] is not None and not month[0] <= f["pickup"] < month[1],
        "dropoff_time_missing": f["dropoff"] is None,
        "dropoff_before_pickup": f["duration"] is not None and f["duration"] < 0,
        "duration_over_6h": f["duration"] is not None and f["duration"] > 21_600,
        "amount_unusable": None in money,
        "fare_negative": any(x is not None and x < 0 for x in (f["fare"], f["total"])),
        "amount_outlier": any(x is not None and x > CAP for x in money),
        "distance_unusable": f["distance"] is None or not 0 <= f["distance"] <= 500_000,
        "distance_zero": f["distance"] == 0,
        "duration_zero": f["duration"] == 0,
        "passengers_zero": f["passengerCount"] == 0,
        "passengers_missing": f["passengerCount"] is None,
        "vendor_missing": f["vendorID"] is None,
        "payment_missing": f["paymentType"] is None,
        "vendor_payment_passengers_missing": f["vendorID"] is f["paymentType"] is f["passengerCount"] is None,
        "payment_unrecognised": f["payment"] is None,
        "payment_flex_fare": f["payment"] == "flex_fare",
        "pickup_zone_missing": f["pickup_zone"] == 0,
        "pickup_zone_unknown": f["pickup_zone"] in (264, 265),
        "pickup_zone_invalid": f["pickup_zone"] == -1,
        "dropoff_zone_missing": f["dropoff_zone"] == 0,
        "dropoff_zone_unknown": f["dropoff_zone"] in (264, 265),
        "dropoff_zone_invalid": f["dropoff_zone"] == -1,
    }


def seconds(moment: datetime | None) -> int | None:
    return None if moment is None else math.floor(moment.replace(tzinfo=UTC).timestamp())


def whole(value: float | None, units: int, below: float) -> int | None:
    usable = value is not None and abs(value) < below
    return math.floor(value * units + 0.5) if usable else None


def zone(text: str | None) -> int:
    if text is None:
        return 0
    digits = text.strip(" \t\r\n")
    return int(digits) if digits.isascii() and digits.isdigit() and 1 <= int(digits) <= 265 else -1


def payment(text: str | None) -> str | None:
    if text is None:
        return "unknown"
    if text in ("1", "2", "3", "4", "5", "6", "0"):
        return PAYMENT_TYPES[int(text) - 1]
    word = text.strip(" ").lower()
    prefixes = {
        "car": "credit",
        "cr": "credit",
        "ca": "cash",
        "cs": "cash",
        "no": "no_charge",
        "di": "dispute",
    }
    prefixes |= {"un": "unknown", "na": "unknown", "vo": "voided"}
    return next((name for prefix, name in prefixes.items() if word.startswith(prefix)), None)


def test_a_usual_trip_is_counted_in_whole_units(tmp_path):
    counted = count(tmp_path, [{}])
    expected = dict(zip(MEASURES, (1, 1280, 1000, 200, 1500, 600), strict=True))
    assert counted.totals == expected
    assert counted.by_hour == {12: expected}
    assert counted.by_pickup_zone == {237: expected}
    assert counted.by_payment_type == {"credit": expected}
    assert counted.all_rows == {"revenue_cents": 1280, "fare_cents": 1000, "tip_cents": 200}
    assert (counted.first_pickup, counted.last_pickup) == ("2018-05-17T12:30:00Z", "2018-05-17T12:30:00Z")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        pytest.param({"tpepPickupDateTime": None}, "pickup_time_missing", id="no-pickup"),
        pytest.param(
            {"tpepPickupDateTime": at("2018-04-30T23:59:59")}, "pickup_outside_month", id="second-early"
        ),
        pytest.param(
            {"tpepPickupDateTime": at("2018-06-01T00:00:00")}, "pickup_outside_month", id="second-late"
        ),
        pytest.param({"tpepPickupDateTime": at("2003-01-01")}, "pickup_outside_month", id="stray-year"),
        pytest.param({"tpepDropoffDateTime": None}, "dropoff_time_missing", id="no-dropoff"),
        pytest.param(
            {"tpepDropoffDateTime": NOON - timedelta(seconds=1)}, "dropoff_before_pickup", id="backwards"
        ),
        pytest.param(
            {"tpepDropoffDateTime": NOON + timedelta(hours=6, seconds=1)}, "duration_over_6h", id="six-hours"
        ),
        pytest.param({"fareAmount": None}, "amount_unusable", id="no-fare"),
        pytest.param({"tipAmount": math.nan}, "amount_unusable", id="nan-tip"),
        pytest.param({"totalAmount": math.inf}, "amount_unusable", id="infinite-total"),
        pytest.param({"totalAmount": 1e7}, "amount_unusable", id="senseless-total"),
        pytest.param({"fareAmount": -0.01}, "fare_negative", id="negative-fare"),
        pytest.param({"totalAmount": -3.3}, "fare_negative", id="negative-total"),
        pytest.param({"fareAmount": 429_490.2}, "amount_outlier", id="the-outlier"),
        pytest.param({"tipAmount": 1000.01}, "amount_outlier", id="cent-above-cap"),
        pytest.param({"tripDistance": None}, "distance_unusable", id="no-distance"),
        pytest.param({"tripDistance": -0.1}, "distance_unusable", id="negative-distance"),
        pytest.param({"tripDistance": 500.001}, "distance_unusable", id="501-miles"),
    ],
)
def test_unusable_rows_are_rejected_for_the_first_reason(tmp_path, row, reason):
    counted = count(tmp_path, [{}, row])
    assert counted.rules[reason] == (1, 1)
    assert sum(first for _, first in counted.rules.values()) == 1
    assert counted.totals["trips"] == 1
    assert counted.rows == 2


@pytest.mark.parametrize(
    "row",
    [
        pytest.param({"tpepPickupDateTime": at("2018-05-01T00:00:00")}, id="first-second"),
        pytest.param({"tpepDropoffDateTime": NOON + timedelta(hours=6)}, id="exactly-six-hours"),
        pytest.param({"totalAmount": 1000.0}, id="exactly-the-cap"),
        pytest.param({"tripDistance": 500.0}, id="500-miles"),
        pytest.param({"tipAmount": -1.0}, id="negative-tip-is-no-reversal"),
    ],
)
def test_rows_on_the_bounds_are_accepted(tmp_path, row):
    # A pick-up at the month's start would make the usual drop-off two weeks late.
    dropoff = {"tpepDropoffDateTime": row["tpepPickupDateTime"]} if "tpepPickupDateTime" in row else {}
    assert count(tmp_path, [row | dropoff]).totals["trips"] == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *((str(number % 7), name) for number, name in enumerate(PAYMENT_TYPES, 1)),
        (None, "unknown"),
        ("CRD", "credit"),
        ("Cre", "credit"),
        ("card", "credit"),
        (" CASH ", "cash"),
        ("CSH", "cash"),
        ("Cas", "cash"),
        ("No Charge", "no_charge"),
        ("Dis", "dispute"),
        ("UNK", "unknown"),
        ("NA ", "unknown"),
        ("void", "voided"),
        ("-73.98", "unknown"),
        ("", "unknown"),
        (" 1", "unknown"),
        ("7", "unknown"),
        ("00", "unknown"),
        ("11", "unknown"),
    ],
)
def test_payment_types_are_normalised(tmp_path, text, expected):
    assert list(count(tmp_path, [{"paymentType": text}]).by_payment_type) == [expected]


@pytest.mark.parametrize(
    ("text", "zone_counted"),
    [
        *(("1", 1), ("265", 265), (" 48 ", 48), ("048", 48), (None, 0), ("0", 0), ("266", 0), ("-5", 0)),
        *(("4.0", 0), ("", 0), ("x", 0), ("99999999999999999999", 0)),
    ],
)
def test_zones_outside_the_list_count_as_zero(tmp_path, text, zone_counted):
    assert list(count(tmp_path, [{"puLocationId": text}]).by_pickup_zone) == [zone_counted]


@pytest.mark.parametrize(
    ("types", "options"),
    [
        pytest.param({}, {"use_deprecated_int96_timestamps": False}, id="int64"),
        pytest.param(
            {"tpepPickupDateTime": pa.timestamp("us", "UTC")},
            {"use_deprecated_int96_timestamps": False},
            id="utc",
        ),
        pytest.param(
            {"tpepPickupDateTime": pa.timestamp("ms")}, {"use_deprecated_int96_timestamps": False}, id="ms"
        ),
    ],
)
def test_every_way_to_store_time_is_read_as_utc(tmp_path, types, options, monkeypatch):
    monkeypatch.setenv("TZ", "America/New_York")
    counted = count(tmp_path, [{}], TYPES | types, **options)
    assert counted.first_pickup == "2018-05-17T12:30:00Z"


def test_cents_are_exact_where_binary_fractions_are_not(tmp_path):
    counted = count(tmp_path, [{"totalAmount": value} for value in (0.1, 0.2, 1.005, 0.07, 8.8)] * 1_000)
    # 1.005 is stored as 1.00499…: the double is below the half cent.
    assert counted.totals["revenue_cents"] == (10 + 20 + 100 + 7 + 880) * 1_000


def test_a_month_without_accepted_rows_has_no_bounds(tmp_path):
    counted = count(tmp_path, [{"fareAmount": None}])
    assert (counted.first_pickup, counted.last_pickup, counted.by_hour) == (None, None, {})
    assert counted.totals == dict.fromkeys(MEASURES, 0)


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda path: path.unlink(), id="gone"),
        pytest.param(lambda path: path.write_bytes(b"PAR1"), id="truncated"),
        pytest.param(lambda path: pq.write_table(pa.table({"a": [1]}), path), id="other-columns"),
    ],
)
def test_an_unreadable_input_is_a_clear_error(tmp_path, spoil):
    count(tmp_path, [{}])
    spoil(tmp_path / "trips.parquet")
    with pytest.raises(ResultError, match="recount-failed"):
        recount([tmp_path / "trips.parquet"], MAY, CAP)


def maybe(strategy):
    return st.none() | strategy


MOMENTS = st.datetimes(at("2018-04-30T22:00:00"), at("2018-06-01T02:00:00"))
AMOUNTS = st.floats(-20, 1_200, width=32) | st.sampled_from([math.nan, math.inf, 1e8, 0.005, -0.005, 999.995])
ROWS = st.fixed_dictionaries(
    {},
    optional={
        "vendorID": maybe(st.just("2")),
        "tpepPickupDateTime": maybe(MOMENTS),
        "tpepDropoffDateTime": maybe(MOMENTS),
        "passengerCount": maybe(st.integers(0, 2)),
        "tripDistance": maybe(AMOUNTS),
        "puLocationId": maybe(st.sampled_from(["1", "264", "265", "266", "0", " 7", "x", ""])),
        "doLocationId": maybe(st.sampled_from(["1", "264", "-1"])),
        "paymentType": maybe(
            st.sampled_from(["0", "1", "2", "CRD", "car", "cAsh", "no", "x", "\ncsh", "voided"])
        ),
        "fareAmount": maybe(AMOUNTS),
        "tipAmount": maybe(AMOUNTS),
        "totalAmount": maybe(AMOUNTS),
    },
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ROWS, min_size=1, max_size=30))
def test_agrees_with_a_row_by_row_count(tmp_path, rows):
    counted, expected = count(tmp_path, rows), oracle(rows)
    assert counted.rules == expected["rules"]
    assert counted.totals == (expected["total"].get(None) or dict.fromkeys(MEASURES, 0))
    assert counted.by_hour == expected["hour"]
    assert counted.by_pickup_zone == expected["zone"]
    assert counted.by_payment_type == expected["payment"]


@pytest.mark.shared
def test_real_months_agree_with_a_row_by_row_count():
    root = SHARED / "data" / "yellow" / "puYear=2018" / "puMonth=5"
    if not root.is_dir():
        pytest.skip(f"no real months: {root} is absent")
    (file,) = root.glob("*.parquet")
    with pq.ParquetFile(file) as parquet:
        rows = parquet.read(list(TYPES)).to_pylist()
    counted, expected = recount([file], MAY, CAP), oracle(rows)
    assert counted.totals == expected["total"][None]
    assert counted.by_pickup_zone == expected["zone"]
    assert counted.totals["revenue_cents"] == 16_711_801
