"""The checks of a NYTaxi month: does the result agree with itself, its statement, its input and a recount?"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from confidential_spark.jobs.checks.files import read_summary, read_table
from confidential_spark.jobs.checks.result import CheckResult, Severity
from confidential_spark.jobs.checks.run import JobRules
from confidential_spark.jobs.checks.subject import (
    MonthUnderCheck,
    check_input,
    check_rows,
    check_statement,
)
from confidential_spark.jobs.nytaxi.month_limits import NytaxiLimits
from confidential_spark.jobs.nytaxi.plausibility import (
    HISTORY,
    check_clocks,
    check_days,
    check_equal_rows,
    check_means,
    check_payments,
    check_shares,
    check_trailing,
    check_vendors,
    check_zones,
)
from confidential_spark.jobs.nytaxi.recount import recount
from confidential_spark.jobs.nytaxi.summary import (
    COUNT_RULES,
    MEASURES,
    PAYMENT_TYPES,
    RATIOS,
    REJECT_RULES,
    TABLES,
    Summary,
)
from confidential_spark.jobs.nytaxi.trip_schema import TRIPS
from confidential_spark.jobs.trips.month_profile import Profile, profile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from confidential_spark.jobs.nytaxi.month_limits import MonthLimits

ZONES = range(266)


class NytaxiMonth(MonthUnderCheck):
    """One month's results and everything they must agree with."""

    limits: NytaxiLimits

    @property
    def month_limits(self) -> MonthLimits:
        """What holds for this month."""
        return self.limits.of(self.month)

    @cached_property
    def profile(self) -> Profile:
        """What its input looks like.

        :raises ResultError: ``recount-failed``.
        """
        return profile(self.input_files, self.month, self.manifest.rows)

    @cached_property
    def summary(self) -> Summary:
        """The summary.

        :raises ResultError: it is missing or malformed.
        """
        return read_summary(self.results_dir / "summary.json", Summary)

    def table(self, name: str) -> list[dict[str, Any]]:
        """Return a table's rows.

        :raises ResultError: it is missing or malformed.
        """
        key, kind = TABLES[name]
        columns = {key: kind} | dict.fromkeys(MEASURES, "int64") | dict.fromkeys(RATIOS, "double")
        return read_table(self.results_dir / f"{name}.parquet", columns, nullable=RATIOS)


def check_summary(subject: NytaxiMonth) -> Iterator[CheckResult]:
    """Does the summary have its shape, and count every row once?"""
    yield from check_rows(subject)
    summary = subject.summary
    rules = [(rule.name, rule.action) for rule in summary.rules]
    known = [(name, "reject") for name in REJECT_RULES] + [(name, "count") for name in COUNT_RULES]
    yield CheckResult.compare("rules_complete", rules, known, "every rule, in order")
    rows = summary.rows
    yield CheckResult.compare("trips_are_accepted_rows", summary.totals.trips, rows.accepted)
    yield CheckResult.compare("all_rows_are_input_rows", summary.all_rows.rows, rows.input)
    first = sum(rule.first or 0 for rule in summary.rules)
    yield CheckResult.compare("rejections_explained", first, rows.rejected, "Σ first reasons = rejected")


def check_month(subject: NytaxiMonth) -> Iterator[CheckResult]:
    """Does the summary speak of this month, and lie inside it?"""
    summary = subject.summary
    yield CheckResult.compare("month", summary.month, str(subject.month))
    starts, ends = (f"{month}-01T00:00:00Z" for month in (subject.month, subject.month.shift(1)))
    first, last = _instant(summary.first_pickup), _instant(summary.last_pickup)
    yield CheckResult(
        "month_bounds",
        Severity.ERROR,
        _instant(starts) <= first <= last < _instant(ends),
        f"{summary.first_pickup} … {summary.last_pickup}",
        f"{starts} ≤ first ≤ last < {ends}",
    )


def check_table(name: str) -> Callable[[NytaxiMonth], Iterator[CheckResult]]:
    """Return the check of one table: schema, keys, sums and ratios."""

    def check(subject: NytaxiMonth) -> Iterator[CheckResult]:
        rows = subject.table(name)
        yield CheckResult.compare(
            f"{name}_schema", len(rows) > 0, True, f"{len(rows)} rows, columns and types as documented"
        )
        keys = [row[TABLES[name][0]] for row in rows]
        yield CheckResult.compare(f"{name}_keys", keys, _expected_keys(name, keys), "each key once, in order")
        sums = {measure: sum(row[measure] for row in rows) for measure in MEASURES}
        yield CheckResult.compare_members(
            f"{name}_sums", sums, subject.summary.measures(), "column sums = totals, exactly"
        )
        wrong = [row for row in rows if _ratios(row) != (row["tip_share"], row["speed_mph"])]
        yield CheckResult.compare(
            f"{name}_ratios", len(wrong), 0, "rows whose tip share or speed does not follow"
        )

    return check


def _expected_keys(name: str, keys: Sequence[Any]) -> list[Any]:
    if name == "by_hour":
        return list(range(24))
    if name == "by_payment_type":
        return list(PAYMENT_TYPES)
    return sorted(set(keys) & set(ZONES))


def _ratios(sums: Mapping[str, int]) -> tuple[float | None, float | None]:
    revenue, seconds = sums["revenue_cents"], sums["duration_s"]
    tip_share = sums["tip_cents"] / revenue if revenue else None
    speed_mph = sums["distance_millimiles"] * 3600 / (seconds * 1000) if seconds else None
    return tip_share, speed_mph


def check_total_ratios(subject: NytaxiMonth) -> Iterator[CheckResult]:
    """Do tip share and speed follow from the totals?"""
    totals = subject.summary.totals
    expected = _ratios(subject.summary.measures())
    yield CheckResult.compare(
        "total_ratios", (totals.tip_share, totals.speed_mph), expected, "tip share, speed"
    )


def check_signed_statement(subject: NytaxiMonth) -> Iterator[CheckResult]:
    """Does the verified statement say the same as the results?"""
    cap = str(subject.summary.options.outlier_cap_cents)
    yield from check_statement(subject, ["--month", str(subject.month), "--outlier-cap-cents", cap])


def check_recount(subject: NytaxiMonth) -> Iterator[CheckResult]:
    """Does an independent recount of the input give the same figures, to the cent?"""
    summary = subject.summary
    counted = recount(subject.input_files, subject.month, summary.options.outlier_cap_cents)
    yield CheckResult.compare_members("recount_totals", summary.measures(), counted.totals)
    money = summary.all_rows.model_dump(exclude={"rows"})
    yield CheckResult.compare_members(
        "recount_all_rows", money, counted.all_rows, "cents, rejected rows included"
    )
    rules = {rule.name: (rule.rows, rule.first or 0) for rule in summary.rules}
    yield CheckResult.compare_members("recount_rules", rules, counted.rules, "rows met and first reasons")
    bounds = (summary.first_pickup, summary.last_pickup)
    yield CheckResult.compare("recount_bounds", bounds, (counted.first_pickup, counted.last_pickup))
    for name, (key, _) in TABLES.items():
        rows = subject.table(name)
        published = {row[key]: {m: row[m] for m in MEASURES} for row in rows if row["trips"]}
        yield CheckResult.compare_members(f"recount_{name}", published, getattr(counted, name))


def _instant(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


CHECKS: Mapping[str, Callable[[NytaxiMonth], Iterator[CheckResult]]] = {
    "summary": check_summary,
    "month": check_month,
    **{name: check_table(name) for name in TABLES},
    "total_ratios": check_total_ratios,
    "shares": check_shares,
    "payments": check_payments,
    "zones": check_zones,
    "means": check_means,
    "statement": check_signed_statement,
    "input": check_input,
    "recount": check_recount,
    "equal_rows": check_equal_rows,
    "days": check_days,
    "vendors": check_vendors,
    "clocks": check_clocks,
    "trailing": check_trailing,
}
RULES = JobRules(limits=NytaxiLimits, subject=NytaxiMonth, checks=CHECKS, input=TRIPS, history=HISTORY)
