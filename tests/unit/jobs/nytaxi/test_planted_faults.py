"""Real months pass every check; with a fault planted into them they fail the check that is there for it."""

import re
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from confidential_spark.core.months import Month
from confidential_spark.jobs.checks.limits import load_limits
from confidential_spark.jobs.nytaxi.checks import CHECKS as JOB_CHECKS
from confidential_spark.jobs.nytaxi.month_limits import NytaxiLimits

from tests.support.places import ROOT, SHARED
from tests.unit.jobs.month_under_test import CHECKS, MonthUnderTest, month_of

pytestmark = pytest.mark.shared
PICKUP, DROPOFF = "tpepPickupDateTime", "tpepDropoffDateTime"
AMOUNTS = ("fareAmount", "extra", "mtaTax", "tipAmount", "tollsAmount", "totalAmount")


def real_months() -> list[Month]:
    folders = (SHARED / "data" / "yellow").glob("puYear=*/puMonth=*")
    return sorted(Month(*map(int, re.findall(r"=(\d+)", "/".join(folder.parts[-2:])))) for folder in folders)


def folder_of(month: Month) -> Path:
    return Path(f"puYear={month.year}", f"puMonth={month.month}")


@pytest.mark.parametrize("month", real_months(), ids=str)
def test_a_real_month_passes_every_check(shared_data, tmp_path, month):
    assert month_of(shared_data / "yellow", month, tmp_path / "results").failed() == set()


@pytest.mark.parametrize("case", ["payment-type-0", "share-passengers-zero"])
def test_rows_that_leave_unsaid_what_no_figure_needs_are_published(tmp_path, case):
    if not (SHARED / "trouble").is_dir():
        pytest.skip("real troubles are not on this machine: ../shared/trouble is absent")
    assert (
        month_of(SHARED / "trouble" / "data" / case, Month(2018, 5), tmp_path / "results").failed() == set()
    )


def change(column: str, function):
    """Return a fault: one column's values, computed from them."""

    def plant(trips: pa.Table) -> pa.Table:
        changed = function(trips[column]).cast(trips.schema.field(column).type)
        return trips.set_column(trips.column_names.index(column), column, changed)

    return plant


def both(*faults):
    def plant(trips: pa.Table) -> pa.Table:
        for fault in faults:
            trips = fault(trips)
        return trips

    return plant


def constant(column: str, value: object):
    return change(column, lambda values: pa.array([value] * len(values), values.type))


def every(n: int, column: str, value: object):
    """Return a fault: one value in every n-th row."""

    def spoil(values: pa.ChunkedArray) -> pa.Array:
        spoilt = [value if not row % n else old for row, old in enumerate(values.to_pylist())]
        return pa.array(spoilt, values.type)

    return change(column, spoil)


def times(column: str, factor: float):
    return change(column, lambda values: pc.multiply(values, factor))


def later(column: str, hours: float):
    return change(column, lambda values: pc.add(values, pa.scalar(timedelta(hours=hours))))


def clocks(hours: float):
    return both(later(PICKUP, hours), later(DROPOFF, hours))


def keep(condition):
    return lambda trips: trips.filter(condition(trips))


def twice(condition):
    """Return a fault: the rows of a condition are there a second time."""
    return lambda trips: pa.concat_tables([trips, trips.filter(condition(trips))])


def only(condition, fault):
    """Return a fault of the rows of a condition; the others stay as they are."""

    def plant(trips: pa.Table) -> pa.Table:
        meant = condition(trips)
        return pa.concat_tables([trips.filter(pc.invert(meant)), fault(trips.filter(meant))])

    return plant


def vendor(code: str):
    return lambda trips: pc.fill_null(pc.equal(trips["vendorID"], code), False)


def days(test):
    return lambda trips: pa.array([bool(test(moment.day)) for moment in trips[PICKUP].to_pylist()])


def hour_of_day_15(trips: pa.Table) -> pa.Array:
    return pa.array([(moment.day, moment.hour) == (15, 18) for moment in trips[PICKUP].to_pylist()])


def swapped(trips: pa.Table) -> pa.Table:
    names = trips.column_names
    other = {PICKUP: DROPOFF, DROPOFF: PICKUP}
    return trips.rename_columns([other.get(name, name) for name in names]).select(names)


def stopped(trips: pa.Table) -> pa.Table:
    return trips.set_column(trips.column_names.index(DROPOFF), DROPOFF, trips[PICKUP])


def paid(old: str, new: str):
    return change("paymentType", lambda values: pc.replace_substring(values, old, new))


def negative(n: int):
    """Return a fault: the fare of every n-th row has the wrong sign."""

    def spoil(values: pa.ChunkedArray) -> pa.Array:
        return pa.array([-abs(v) - 0.01 if not row % n else v for row, v in enumerate(values.to_pylist())])

    return change("fareAmount", spoil)


# What went wrong with the month → the check that finds it.
FAULTS = {
    "an-hour-twice": (twice(hour_of_day_15), "share_equal_rows"),
    "a-day-twice": (twice(days(lambda day: day == 9)), "share_equal_rows"),
    "half-the-days": (keep(days(lambda day: day % 2)), "days_complete"),
    "the-end-missing": (keep(days(lambda day: day < 25)), "days_complete"),
    "a-day-almost-empty": (
        lambda trips: pa.concat_tables(
            [keep(days(lambda day: day != 9))(trips), keep(days(lambda day: day == 9))(trips).slice(0, 2)]
        ),
        "quietest_day",
    ),
    "another-month-s-rows": (
        only(days(lambda day: day == 9), clocks(-24 * 40)),
        "share_pickup_outside_month",
    ),
    "clock-in-utc": (clocks(5), "clock_all"),
    "clock-of-summer": (clocks(1), "clock_shift"),
    "clock-of-winter": (clocks(-1), "clock_shift"),
    "clock-of-12-hours": (clocks(12), "clock_all"),
    "clock-behind": (clocks(-4), "clock_all"),
    "one-vendor-s-clock-in-utc": (only(vendor("2"), clocks(4)), "clock_curb"),
    "the-other-vendor-s-clock-in-utc": (only(vendor("1"), clocks(4)), "clock_creative_mobile"),
    "clock-of-the-drop-offs": (later(DROPOFF, 1), "mean_speed_mph"),
    "drop-offs-next-week": (only(days(lambda day: day == 9), later(DROPOFF, 168)), "share_duration_over_6h"),
    "pick-up-and-drop-off-swapped": (swapped, "share_dropoff_before_pickup"),
    "drop-off-is-pick-up": (stopped, "share_duration_zero"),
    "cents-as-dollars": (both(*(times(name, 100) for name in AMOUNTS)), "share_amount_outlier"),
    "dollars-as-cents": (both(*(times(name, 0.01) for name in AMOUNTS)), "mean_fare_cents"),
    "tips-in-cents": (times("tipAmount", 100), "share_amount_outlier"),
    "no-tips": (constant("tipAmount", 0.0), "mean_tip_share"),
    "a-tenth-without-amount": (every(10, "totalAmount", None), "share_amount_unusable"),
    "a-tenth-not-a-number": (every(10, "fareAmount", float("nan")), "share_amount_unusable"),
    "a-tenth-negative": (negative(10), "share_fare_negative"),
    "kilometres": (times("tripDistance", 1.609344), "mean_fare_cents_per_mile"),
    "no-distances": (constant("tripDistance", 0.0), "share_distance_zero"),
    "feet": (times("tripDistance", 5280), "reject_share"),
    "a-tenth-without-drop-off": (every(10, DROPOFF, None), "reject_share"),
    "a-vendor-missing": (keep(lambda trips: pc.invert(vendor("1")(trips))), "vendor_creative_mobile"),
    "the-other-vendor-missing": (keep(lambda trips: pc.invert(vendor("2")(trips))), "vendor_curb"),
    "vendors-emptied": (constant("vendorID", None), "share_vendor_missing"),
    "vendors-of-another-list": (every(20, "vendorID", "B02512"), "share_vendor_unrecognised"),
    "rate-codes-of-another-list": (every(20, "rateCodeId", 7), "share_rate_code_unrecognised"),
    "cards-as-cash": (paid("1", "2"), "payment_credit"),
    "cash-as-cards": (paid("2", "1"), "payment_cash"),
    "payments-emptied": (constant("paymentType", None), "share_payment_missing"),
    "payments-of-another-list": (every(20, "paymentType", "paypal"), "share_payment_unrecognised"),
    "payments-are-zero": (constant("paymentType", "0"), "share_payment_flex_fare"),
    "no-passengers": (constant("passengerCount", 0), "share_passengers_zero"),
    "passengers-emptied": (constant("passengerCount", None), "share_passengers_missing"),
    "pick-up-zones-emptied": (constant("puLocationId", None), "share_pickup_zone_missing"),
    "drop-off-zones-emptied": (constant("doLocationId", None), "share_dropoff_zone_missing"),
    "pick-up-zones-unknown": (constant("puLocationId", "264"), "share_pickup_zone_unknown"),
    "drop-off-zones-unknown": (constant("doLocationId", "265"), "share_dropoff_zone_unknown"),
    "pick-up-zones-of-another-list": (every(20, "puLocationId", "266"), "share_pickup_zone_invalid"),
    "drop-off-zones-of-another-list": (every(20, "doLocationId", "JFK"), "share_dropoff_zone_invalid"),
    "all-from-one-zone": (constant("puLocationId", "237"), "busiest_zone"),
}
# These are exact, and test_run.py spoils what they compare.
EXACT = {
    *("summary", "month", "by_hour", "by_pickup_zone", "by_payment_type", "total_ratios", "statement"),
    *("input", "recount", "trailing"),
}
SHAPE = JOB_CHECKS.keys() - EXACT
MONTHS = [Month(2018, 5), Month(2020, 6), Month(2019, 7), Month(2016, 1)]
# These depend on the city's habits, so they are looked for in each of the months; the others in one each.
# With fewer rows, a fault must be found as well: the same faults in every tenth row of a month.
IN_SAMPLES = {
    *("an-hour-twice", "half-the-days", "the-end-missing", "clock-in-utc", "cents-as-dollars", "kilometres"),
    *("a-vendor-missing", "the-other-vendor-missing", "cards-as-cash", "no-tips", "all-from-one-zone"),
}
EVERYWHERE = ("clock", "days", "vendor", "payment_c", "mean", "quietest")


def cases():
    for place, (name, (fault, found_by)) in enumerate(FAULTS.items()):
        # Zones came in July 2016, so that they say nothing of January.
        known = MONTHS[:3] if "zone" in found_by else MONTHS
        if found_by == "clock_shift":
            known = [month for month in real_months() if Month(2016, 7) <= month < Month(2020, 3)]
        for month in known if found_by.startswith(EVERYWHERE) else [known[place % len(known)]]:
            yield pytest.param(month, fault, found_by, id=f"{month}-{name}")


def plant(shared_data: Path, folder: Path, month: Month, fault) -> MonthUnderTest:
    source = folder / "input" / folder_of(month)
    source.mkdir(parents=True)
    (file,) = (shared_data / "yellow" / folder_of(month)).glob("*.parquet")
    trips = fault(pq.ParquetFile(file, coerce_int96_timestamp_unit="us").read())
    pq.write_table(trips, source / "part-0.parquet", use_deprecated_int96_timestamps=True)
    return month_of(folder / "input", month, folder / "results")


@pytest.mark.parametrize(("month", "fault", "found_by"), cases())
def test_a_planted_fault_is_found(shared_data, tmp_path, month, fault, found_by):
    spoiled = plant(shared_data, tmp_path, month, fault).check(only=SHAPE)
    assert not spoiled[found_by].passed
    assert spoiled[found_by].blocks


@pytest.mark.parametrize("name", sorted(IN_SAMPLES))
def test_a_planted_fault_is_found_in_a_small_sample(shared_data, tmp_path, name):
    fault, found_by = FAULTS[name]
    sample = both(lambda trips: trips.take(list(range(0, len(trips), 8))), fault)
    assert plant(shared_data, tmp_path, Month(2018, 5), sample).check(only=SHAPE)[found_by].blocks


@pytest.mark.parametrize("rows", [1, 50, 299])
def test_the_shape_of_a_handful_of_rows_is_not_judged(shared_data, tmp_path, rows):
    first = plant(shared_data, tmp_path, Month(2018, 5), lambda trips: trips.slice(0, rows))
    shape = {name: result for name, result in first.check(only=SHAPE).items() if "share" not in name}
    assert [name for name, result in shape.items() if not result.detail.startswith("not judged")] == []
    assert all(result.passed for result in shape.values())


def months_before(shared_data: Path, folder: Path) -> list[dict]:
    """Return the summaries of the first months of 2018, as far as they are compared."""
    months = [month_of(shared_data / "yellow", Month(2018, n), folder / str(n)) for n in range(1, 5)]
    return [{"totals": month.totals} for month in months]


def test_a_month_that_lost_half_its_trips_is_not_like_the_months_before(shared_data, tmp_path):
    thinned = plant(
        shared_data, tmp_path, Month(2018, 5), lambda trips: trips.take(list(range(0, len(trips), 2)))
    )
    assert thinned.failed() == set()
    thinned.trailing = months_before(shared_data, tmp_path)
    assert thinned.failed() == {"trailing_trips", "trailing_revenue_cents"}


@pytest.mark.parametrize(
    ("fault", "found_by"),
    [
        pytest.param(times("fareAmount", 1.3), "trailing_fare_per_trip", id="dearer"),
        pytest.param(times("tripDistance", 1.3), "trailing_distance_per_trip", id="longer"),
        pytest.param(later(DROPOFF, 0.1), "trailing_duration_per_trip", id="slower"),
    ],
)
def test_a_fault_within_the_limits_differs_from_the_months_before(shared_data, tmp_path, fault, found_by):
    spoiled = plant(shared_data, tmp_path, Month(2018, 5), fault)
    spoiled.trailing = months_before(shared_data, tmp_path)
    assert spoiled.failed() == {found_by}


def test_no_check_of_the_shape_is_without_a_fault_that_it_finds(shared_data, tmp_path):
    month = month_of(shared_data / "yellow", Month(2018, 5), tmp_path / "results")
    assert month.check(only=SHAPE).keys() == {found_by for _, found_by in FAULTS.values()}
    assert JOB_CHECKS.keys() > EXACT


def test_the_documentation_names_the_check_of_every_fault():
    text = (ROOT / "docs" / "results.md").read_text()
    assert [name for name in {found_by for _, found_by in FAULTS.values()} if f"`{name}`" not in text] == []


def test_every_limit_says_since_when_and_why():
    limits = load_limits(CHECKS / "nytaxi.yaml", NytaxiLimits)
    assert limits.of(Month(2018, 5)) == limits.usual
    assert limits.of(Month(2016, 1)).quietest_hours == (2, 3)
    assert limits.of(Month(2016, 7)).max_rule_share["pickup_zone_missing"] == 0.01
    assert limits.of(Month(2019, 1)).max_reject_share == 0.08
    assert limits.of(Month(2023, 1)).mean["fare_cents"] == (1000, 3000)
