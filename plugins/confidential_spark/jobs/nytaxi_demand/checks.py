"""The checks of a demand month: does it agree with itself, its statement, its input, a recount and nytaxi?"""

from __future__ import annotations

from collections import Counter
from datetime import date
from functools import cached_property
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from confidential_spark.core.errors import ConfidentialSparkError
from confidential_spark.core.months import Month
from confidential_spark.jobs.checks.files import Count, JobSummary, Strict, read_summary, read_table
from confidential_spark.jobs.checks.limits import Hour, JobLimits, MonthText, Share
from confidential_spark.jobs.checks.result import CheckResult, Severity
from confidential_spark.jobs.checks.run import JobRules
from confidential_spark.jobs.checks.subject import MonthUnderCheck, check_input, check_rows, check_statement
from confidential_spark.jobs.input.contract import InputContract, Kind
from confidential_spark.jobs.nytaxi_demand.recount import recount
from confidential_spark.jobs.trips.month_profile import QUIET_HOURS, night, profile
from confidential_spark.jobs.trips.schema_versions import trip_versions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
ZONES = range(266)
PLACES = range(1, 264)
TOP_ZONES = 20
DAY_ZONES = {"day": "int32", "zone": "int32", "trips": "int64"}
DAYS = {"day": "int32", "weekday": "string", "trips": "int64", "zones": "int32"}
WEEK = {"weekday": "string", "days": "int32", "trips": "int64", "trips_per_day": "double"}
TOP = {"rank": "int32", "zone": "int32", "trips": "int64", "share": "double"}
TRIP_COLUMNS = {
    "tpepPickupDateTime": Kind.TIMESTAMP,
    "tpepDropoffDateTime": Kind.TIMESTAMP,
    "tripDistance": Kind.DOUBLE,
    "puLocationId": Kind.STRING,
    "fareAmount": Kind.DOUBLE,
    "tipAmount": Kind.DOUBLE,
    "totalAmount": Kind.DOUBLE,
}
TRIPS = InputContract("a yellow-taxi file", TRIP_COLUMNS, versions=trip_versions(TRIP_COLUMNS))


class DemandLimits(JobLimits):
    """Limits of `nytaxi_demand.yaml`."""

    job: Literal["nytaxi_demand"]
    max_reject_share: Share
    zones_since: MonthText
    max_share_without_zone: Share
    max_share_in_unknown_zone: Share
    quiet_day_share: Share
    judged_from_rows: Annotated[int, Field(ge=1)]
    max_equal_row_share: Share
    whole_minutes_until: MonthText
    quietest_hours: Annotated[tuple[Hour, ...], Field(min_length=1, strict=False)]


class Totals(Strict):
    """The month as a whole."""

    trips: Count
    trips_without_zone: Count
    trips_in_unknown_zone: Count
    zones: Count
    busiest_day: Count
    busiest_day_trips: Count


class JobOptions(Strict):
    """What the run asked for."""

    outlier_cap_cents: Count


class Summary(JobSummary):
    """`summary.json` of job nytaxi_demand."""

    job: Literal["nytaxi_demand"]
    month: str
    totals: Totals
    options: JobOptions


class DemandMonth(MonthUnderCheck):
    """One month's results and everything they must agree with."""

    limits: DemandLimits

    @cached_property
    def summary(self) -> Summary:
        """The summary.

        :raises ResultError: it is missing or malformed.
        """
        return read_summary(self.results_dir / "summary.json", Summary)

    @cached_property
    def day_zones(self) -> dict[tuple[int, int], int]:
        """The finest table, day and zone → trips; every other figure follows from it.

        :raises ResultError: it is missing or malformed.
        """
        return {(row["day"], row["zone"]): row["trips"] for row in self.table("by_day_zone", DAY_ZONES)}

    def table(self, name: str, columns: Mapping[str, str]) -> list[dict[str, Any]]:
        """Return a table's rows.

        :raises ResultError: it is missing or malformed.
        """
        return read_table(self.results_dir / f"{name}.parquet", columns)

    def by(self, key: Callable[[int, int], Any]) -> Counter[Any]:
        """Return the trips of the finest table by a key of day and zone."""
        sums = Counter[Any]()
        for (day, zone), trips in self.day_zones.items():
            sums[key(day, zone)] += trips
        return sums

    def weekday(self, day: int) -> str:
        """Return the name of a day of the month."""
        return WEEKDAYS[date(self.month.year, self.month.month, day).weekday()]


def check_summary(subject: DemandMonth) -> Iterator[CheckResult]:
    """Does the summary have its shape, count every row once, and speak of this month?"""
    yield from check_rows(subject)
    summary = subject.summary
    yield CheckResult.compare("month", summary.month, str(subject.month))
    yield CheckResult.compare("trips_are_accepted_rows", summary.totals.trips, summary.rows.accepted)


def check_totals(subject: DemandMonth) -> Iterator[CheckResult]:
    """Do the summary's totals follow from the finest table?"""
    days, zones = subject.by(lambda day, _: day), subject.by(lambda _, zone: zone)
    busiest = min(days, key=lambda day: (-days[day], day))
    expected = {
        "trips": sum(days.values()),
        "trips_without_zone": zones[0],
        "trips_in_unknown_zone": sum(n for zone, n in zones.items() if zone > PLACES[-1]),
        "zones": sum(zone in PLACES for zone in zones),
        "busiest_day": busiest,
        "busiest_day_trips": days[busiest],
    }
    yield CheckResult.compare_members("totals", subject.summary.totals.model_dump(), expected)


def check_day_zones(subject: DemandMonth) -> Iterator[CheckResult]:
    """Does the finest table have each day and zone once, in order and in range?"""
    keys = [(row["day"], row["zone"]) for row in subject.table("by_day_zone", DAY_ZONES)]
    yield CheckResult.compare("by_day_zone_keys", keys, sorted(set(keys)), "each day and zone once, in order")
    outside = [key for key in keys if not (1 <= key[0] <= subject.month.days and key[1] in ZONES)]
    yield CheckResult.compare(
        "zones_in_range", outside, [], f"days 1 to {subject.month.days}, zones 0 to 265"
    )
    least = min(subject.day_zones.values(), default=0)
    yield CheckResult.compare("by_day_zone_trips", least > 0, True, "no row without a trip")


def check_days(subject: DemandMonth) -> Iterator[CheckResult]:
    """Is every day there with a trip, and does the table of days follow from the finest one?"""
    rows = subject.table("by_day", DAYS)
    trips = subject.by(lambda day, _: day)
    places = Counter(day for day, zone in subject.day_zones if zone in PLACES)
    expected = [
        {"day": day, "weekday": subject.weekday(day), "trips": trips[day], "zones": places[day]}
        for day in range(1, subject.month.days + 1)
    ]
    yield compare_rows("by_day", rows, expected, "every day of the month, as by_day_zone has it")
    empty = [day for day in range(1, subject.month.days + 1) if not trips[day]]
    yield CheckResult.compare("days_complete", empty, [], "days without a single trip")
    usual = median(trips[day] for day in range(1, subject.month.days + 1))
    quiet = [day for day in sorted(trips) if trips[day] < usual * subject.limits.quiet_day_share]
    yield CheckResult(
        "quiet_days",
        Severity.WARN,
        not quiet,
        str(quiet),
        "[]",
        f"days with less than {subject.limits.quiet_day_share:g} of the median day's {usual:g} trips",
    )


def check_week(subject: DemandMonth) -> Iterator[CheckResult]:
    """Does the profile of the week follow from the finest table and the calendar?"""
    days = Counter(subject.weekday(day) for day in range(1, subject.month.days + 1))
    trips = subject.by(lambda day, _: subject.weekday(day))
    expected = [
        {"weekday": name, "days": days[name], "trips": trips[name], "trips_per_day": trips[name] / days[name]}
        for name in WEEKDAYS
    ]
    yield compare_rows("by_weekday", subject.table("by_weekday", WEEK), expected, "Monday to Sunday")


def check_top_zones(subject: DemandMonth) -> Iterator[CheckResult]:
    """Are the busiest places the busiest, in order?"""
    zones = subject.by(lambda _, zone: zone)
    ranked = sorted((-trips, zone) for zone, trips in zones.items() if zone in PLACES)[:TOP_ZONES]
    expected = [
        {"rank": rank, "zone": zone, "trips": -trips, "share": -trips / zones.total()}
        for rank, (trips, zone) in enumerate(ranked, 1)
    ]
    yield compare_rows("top_zones", subject.table("top_zones", TOP), expected, "most pick-ups first")


def check_shares(subject: DemandMonth) -> Iterator[CheckResult]:
    """Are rejected rows and trips without a known zone as rare as the limits say?"""
    summary, limits = subject.summary, subject.limits
    rows, trips = max(summary.rows.input, 1), max(summary.totals.trips, 1)
    yield CheckResult.at_most("reject_share", summary.rows.rejected / rows, limits.max_reject_share)
    has_zones = subject.month >= Month.parse(limits.zones_since)
    without = limits.max_share_without_zone if has_zones else 1.0
    yield CheckResult.at_most("share_without_zone", summary.totals.trips_without_zone / trips, without)
    unknown = summary.totals.trips_in_unknown_zone / trips
    yield CheckResult.at_most("share_in_unknown_zone", unknown, limits.max_share_in_unknown_zone)


def check_signed_statement(subject: DemandMonth) -> Iterator[CheckResult]:
    """Does the verified statement say the same as the results?"""
    cap = str(subject.summary.options.outlier_cap_cents)
    yield from check_statement(subject, ["--month", str(subject.month), "--outlier-cap-cents", cap])


def check_recount(subject: DemandMonth) -> Iterator[CheckResult]:
    """Does an independent recount of the input give the same trips for every day and zone?"""
    counted = recount(subject.input_files, subject.month, subject.summary.options.outlier_cap_cents)
    yield CheckResult.compare_members("recount", subject.day_zones, counted, "trips by (day, zone)")


def check_shape(subject: DemandMonth) -> Iterator[CheckResult]:
    """Was an hour loaded twice, or does a clock run ahead? Neither changes a sum that a recount knows."""
    limits, seen = subject.limits, profile(subject.input_files, subject.month, subject.manifest.rows)
    by_the_minute = subject.month <= Month.parse(limits.whole_minutes_until)
    most = 1.0 if by_the_minute else limits.max_equal_row_share
    detail = f"{seen.repeated} of {seen.compared} rows compared"
    yield CheckResult.at_most("share_equal_rows", seen.repeated / max(seen.compared, 1), most, detail)
    begins, passed = night(seen.hours(), limits.quietest_hours)
    few = subject.summary.rows.input < limits.judged_from_rows
    detail = (
        "not judged: so few rows" if few else f"begin of the {QUIET_HOURS} hours with the fewest pick-ups"
    )
    expected = " or ".join(f"{hour:02}:00" for hour in limits.quietest_hours)
    yield CheckResult("clock_all", Severity.ERROR, few or passed, f"{begins:02}:00", expected, detail)


def check_nytaxi(subject: DemandMonth) -> Iterator[CheckResult]:
    """Are these the trips that job nytaxi has published for the month on this platform?"""
    try:
        other = subject.published.same_month("nytaxi")
    except ConfidentialSparkError as error:
        yield not_compared(f"nytaxi's month cannot be read ({error.code})", passed=False)
        return
    if other is None:
        yield not_compared("nytaxi has not published this month here", passed=True)
    elif other.files_sha256 != subject.recorded_input.files_sha256:
        yield not_compared("nytaxi counted other input files", passed=False)
    elif other.summary.get("options") != subject.summary.options.model_dump():
        yield not_compared(f"nytaxi counted with {other.summary.get('options')}", passed=False)
    else:
        trips = sum(subject.day_zones.values())
        published = other.summary["rows"]["accepted"]
        yield CheckResult.compare("nytaxi_trips", trips, published, "Σ trips = rows that nytaxi accepted")


def not_compared(why: str, *, passed: bool) -> CheckResult:
    """Return the comparison that cannot be made; a warning where nytaxi's month is there."""
    expected = "nytaxi's month, from the same files with the same options"
    return CheckResult("nytaxi_trips", Severity.WARN, passed, why, expected, "not applicable")


def compare_rows(
    name: str, rows: Sequence[Mapping[str, Any]], expected: Sequence[Mapping[str, Any]], detail: str
) -> CheckResult:
    """Compare a table's rows in order, and show by number those that differ."""
    return CheckResult.compare_members(name, dict(enumerate(rows, 1)), dict(enumerate(expected, 1)), detail)


CHECKS: Mapping[str, Callable[[DemandMonth], Iterator[CheckResult]]] = {
    "summary": check_summary,
    "by_day_zone": check_day_zones,
    "totals": check_totals,
    "by_day": check_days,
    "by_weekday": check_week,
    "top_zones": check_top_zones,
    "shares": check_shares,
    "statement": check_signed_statement,
    "input": check_input,
    "recount": check_recount,
    "shape": check_shape,
    "nytaxi": check_nytaxi,
}
RULES = JobRules(limits=DemandLimits, subject=DemandMonth, checks=CHECKS, input=TRIPS)
