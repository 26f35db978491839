"""Does a month look like a month of taxi trips? Faults of the input that no recount can see."""

from __future__ import annotations

from calendar import monthrange
from statistics import median
from typing import TYPE_CHECKING

from confidential_spark.jobs.checks.result import CheckResult, Severity
from confidential_spark.jobs.figures import ComparedFigure, dollars
from confidential_spark.jobs.trips.month_profile import QUIET_HOURS, UNRECOGNISED, VENDORS, night

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from confidential_spark.jobs.nytaxi.checks import NytaxiMonth

# Turns a median absolute deviation into a standard deviation, for normally distributed figures.
MAD_TO_SIGMA = 1.4826
# Months that are all alike would make every small change an alarm.
SMALLEST_RELATIVE_SPREAD = 0.02


def check_shares(subject: NytaxiMonth) -> Iterator[CheckResult]:
    """Are rejected rows and each quirk as rare as the limits say?"""
    summary, limits = subject.summary, subject.month_limits
    rows = max(summary.rows.input, 1)
    yield CheckResult.at_most("reject_share", summary.rows.rejected / rows, limits.max_reject_share)
    met = {rule.name: rule.rows for rule in summary.rules}
    for name, limit in limits.max_rule_share.items():
        yield CheckResult.at_most(f"share_{name}", met[name] / rows, limit)


def check_equal_rows(subject: NytaxiMonth) -> Iterator[CheckResult]:
    """Are there rows that equal another one in all that the job reads, as where an hour was loaded twice?"""
    profile = subject.profile
    share = profile.repeated / max(profile.compared, 1)
    detail = f"{profile.repeated} of {profile.compared} rows compared"
    limit = subject.month_limits.max_equal_row_share
    yield CheckResult.at_most("share_equal_rows", share, limit, detail)


def check_days(subject: NytaxiMonth) -> Iterator[CheckResult]:
    """Does every day have trips, and none far fewer than the others?"""
    days, month = subject.profile.days, subject.month
    if days and not subject.limits.judged_from.has_days(days.values()):
        yield _not_judged("days_complete", f"{days.total()} rows of {len(days)} days")
        return
    counts = [days[day] for day in range(1, monthrange(month.year, month.month)[1] + 1)]
    without = [day for day, count in enumerate(counts, 1) if not count]
    yield CheckResult.compare("days_complete", without, [], "days of the month without a trip")
    share = min(counts) / max(median(counts), 1)
    limit = subject.month_limits.min_day_share
    yield _at_least("quietest_day", share, limit, "its trips : the median day's")


def check_vendors(subject: NytaxiMonth) -> Iterator[CheckResult]:
    """Does every vendor of the time send its trips, and nobody else, in the TLC's codes?"""
    profile, limits = subject.profile, subject.month_limits
    vendors = profile.vendors
    rows = max(vendors.total(), 1)
    shares = {name: vendors[name] / rows for name in (*VENDORS, UNRECOGNISED)}
    limit = limits.max_vendor_unrecognised_share
    yield CheckResult.at_most("share_vendor_unrecognised", shares[UNRECOGNISED], limit)
    share = profile.unrecognised_rate_codes / max(subject.summary.rows.input, 1)
    limit = limits.max_rate_code_unrecognised_share
    yield CheckResult.at_most("share_rate_code_unrecognised", share, limit)
    yield from _check_minima("vendor", shares, limits.min_vendor_share, subject)


def check_payments(subject: NytaxiMonth) -> Iterator[CheckResult]:
    """Are the usual ways to pay as usual as ever?"""
    trips = {row["payment_type"]: row["trips"] for row in subject.table("by_payment_type")}
    shares = {name: count / max(sum(trips.values()), 1) for name, count in trips.items()}
    yield from _check_minima("payment", shares, subject.month_limits.min_payment_share, subject)


def check_zones(subject: NytaxiMonth) -> Iterator[CheckResult]:
    """Do the trips begin all over the city, as far as their zones are known?"""
    if _has_few_rows(subject):
        yield _not_judged("busiest_zone", _rows(subject))
        return
    trips = {row["zone"]: row["trips"] for row in subject.table("by_pickup_zone") if row["zone"]}
    zone = max(trips, key=trips.__getitem__, default=None)
    share = trips[zone] / sum(trips.values()) if zone else 0.0
    limit = subject.month_limits.max_zone_share
    yield CheckResult.at_most("busiest_zone", share, limit, f"zone {zone}, of the trips that have one")


def check_clocks(subject: NytaxiMonth) -> Iterator[CheckResult]:
    """Is it quiet when the city sleeps, by all clocks together and by each vendor's?"""
    limits, least = subject.month_limits, subject.limits.judged_from.rows_by_clock
    everybody, hours = subject.profile.hours(), limits.quietest_hours
    if sum(everybody) < least:
        yield _not_judged("clock_all", f"{sum(everybody)} rows")
        return
    yield _check_clock("clock_all", everybody, hours)
    if limits.trips_by_hour:
        yield _check_clock_shift(everybody, limits.trips_by_hour)
    for vendor in VENDORS:
        if sum(counts := subject.profile.hours(vendor)) >= least:
            yield _check_clock(f"clock_{vendor}", counts, hours)


def check_means(subject: NytaxiMonth) -> Iterator[CheckResult]:
    """Are fares, distances, durations and tips in their units?"""
    totals = subject.summary.totals
    means = {
        "fare_cents": _ratio(totals.fare_cents, totals.trips),
        "fare_cents_per_mile": _ratio(totals.fare_cents * 1000, totals.distance_millimiles),
        "speed_mph": totals.speed_mph,
        "tip_share": totals.tip_share,
    }
    for name, (low, high) in subject.month_limits.mean.items():
        if _has_few_rows(subject):
            yield _not_judged(f"mean_{name}", _rows(subject))
            continue
        mean = means[name]
        passed = mean is not None and low <= mean <= high
        got = "none" if mean is None else f"{mean:.4g}"
        yield CheckResult(f"mean_{name}", Severity.ERROR, passed, got, f"{low:g} to {high:g}")


def check_trailing(subject: NytaxiMonth) -> Iterator[CheckResult]:
    """Is the month in line with the months published before? A warning: the world does change."""
    limits = subject.limits.trailing
    history = [summary["totals"] for summary in subject.published.earlier(limits.months)]
    for name, figure in TRAILING.items():
        if len(history) < limits.at_least:
            yield CheckResult(
                f"trailing_{name}",
                Severity.WARN,
                True,
                f"{len(history)} earlier months",
                f"at least {limits.at_least}",
                "not compared: not enough history",
            )
            continue
        score = robust_z_score(
            figure.of(subject.summary.measures()), [figure.of(totals) for totals in history]
        )
        yield CheckResult(
            f"trailing_{name}",
            Severity.WARN,
            abs(score) <= limits.max_z_score,
            f"z = {score:+.2f}",
            f"within ±{limits.max_z_score:g}",
            f"against {len(history)} earlier months",
        )


def robust_z_score(value: float, history: Sequence[float]) -> float:
    """Return how many robust deviations ``value`` lies from the median of a non-empty ``history``."""
    centre = median(history)
    spread = MAD_TO_SIGMA * median(abs(item - centre) for item in history)
    return (value - centre) / max(spread, SMALLEST_RELATIVE_SPREAD * abs(centre), 1.0)


def _per_trip(measure: str) -> Callable[[Mapping[str, int]], float]:
    return lambda totals: totals[measure] / max(totals["trips"], 1)


# Figure → how it follows from a month's totals: cents, thousandths of a mile and seconds.
TRAILING: Mapping[str, ComparedFigure] = {
    "trips": ComparedFigure("Trips", lambda totals: totals["trips"], "{:,.0f}".format),
    "revenue_cents": ComparedFigure(
        "Revenue", lambda totals: totals["revenue_cents"], lambda cents: dollars(round(cents))
    ),
    "fare_per_trip": ComparedFigure(
        "Fare per trip", _per_trip("fare_cents"), lambda cents: dollars(round(cents))
    ),
    "distance_per_trip": ComparedFigure(
        "Distance per trip", _per_trip("distance_millimiles"), lambda value: f"{value / 1000:.2f} miles"
    ),
    "duration_per_trip": ComparedFigure(
        "Duration per trip", _per_trip("duration_s"), lambda value: f"{value / 60:.1f} min"
    ),
}
HISTORY = {f"trailing_{name}": figure for name, figure in TRAILING.items()}


def _check_minima(
    kind: str, shares: Mapping[str, float], minima: Mapping[str, float], subject: NytaxiMonth
) -> Iterator[CheckResult]:
    for name, limit in minima.items():
        check = f"{kind}_{name}"
        yield (
            _not_judged(check, _rows(subject))
            if _has_few_rows(subject)
            else _at_least(check, shares[name], limit, "share of the trips")
        )


def _check_clock(name: str, counts: Sequence[int], allowed: Sequence[int]) -> CheckResult:
    begins, passed = night(counts, allowed)
    expected = " or ".join(f"{hour:02}:00" for hour in allowed)
    detail = f"begin of the {QUIET_HOURS} hours with the fewest pick-ups"
    return CheckResult(name, Severity.ERROR, passed, f"{begins:02}:00", expected, detail)


def _check_clock_shift(counts: Sequence[int], usual: Sequence[int]) -> CheckResult:
    def distance(shift: int) -> float:
        moved = [counts[(hour + shift) % 24] for hour in range(24)]
        trips, all_usual = max(sum(counts), 1), sum(usual)
        return sum(abs(count / trips - often / all_usual) for count, often in zip(moved, usual, strict=True))

    shift = min(range(-11, 13), key=lambda hours: (distance(hours), abs(hours)))
    detail = "by which the hours of the day fit the usual ones best"
    return CheckResult("clock_shift", Severity.ERROR, shift == 0, f"{shift:+d} h", "+0 h", detail)


def _at_least(name: str, got: float, limit: float, detail: str) -> CheckResult:
    return CheckResult(name, Severity.ERROR, got >= limit, f"{got:.6g}", f"at least {limit:g}", detail)


def _has_few_rows(subject: NytaxiMonth) -> bool:
    return subject.summary.rows.input < subject.limits.judged_from.rows


def _rows(subject: NytaxiMonth) -> str:
    return f"{subject.summary.rows.input} rows"


def _not_judged(name: str, got: str) -> CheckResult:
    detail = "not judged: the shape of so little is chance"
    return CheckResult(name, Severity.ERROR, True, got, "more, as judged_from says", detail)


def _ratio(dividend: int, divisor: int) -> float | None:
    return dividend / divisor if divisor else None
