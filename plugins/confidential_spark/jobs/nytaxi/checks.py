"""The checks of a NYTaxi month: does the result agree with itself, its statement, its input and a recount?"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cached_property
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from confidential_spark.core.months import Month
from confidential_spark.jobs.checks.files import read_summary, read_table
from confidential_spark.jobs.checks.limits import JobLimits, Limits, MonthText, Positive, Share
from confidential_spark.jobs.checks.result import CheckResult, Severity
from confidential_spark.jobs.checks.run import JobRules
from confidential_spark.jobs.checks.subject import (
    MonthUnderCheck,
    check_input,
    check_rows,
    check_statement,
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

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

ZONES = range(266)
# Turns a median absolute deviation into a standard deviation, for normally distributed figures.
MAD_TO_SIGMA = 1.4826
# Months that are all alike would make every small change an alarm.
SMALLEST_RELATIVE_SPREAD = 0.02


class TrailingLimits(Limits):
    """How a month is compared with the months published before it."""

    months: Annotated[int, Field(ge=1, le=120)]
    at_least: Annotated[int, Field(ge=3, le=120)]
    max_z_score: Positive

    @model_validator(mode="after")
    def _enough(self) -> Self:
        if self.at_least > self.months:
            raise ValueError(f"at_least ({self.at_least}) is more than months ({self.months})")
        return self


class NytaxiLimits(JobLimits):
    """Limits of `nytaxi.yaml`; shares are of all input rows."""

    job: Literal["nytaxi"]
    max_reject_share: Share
    max_rule_share: Annotated[dict[str, Share], Field(min_length=1)]
    zones_since: MonthText
    trailing: TrailingLimits

    @field_validator("max_rule_share")
    @classmethod
    def _known_rules(cls, value: dict[str, float]) -> dict[str, float]:
        if unknown := sorted(set(value) - {*REJECT_RULES, *COUNT_RULES}):
            raise ValueError(f"no such rule: {', '.join(unknown)}")
        return value


class NytaxiMonth(MonthUnderCheck):
    """One month's results and everything they must agree with."""

    limits: NytaxiLimits

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


def check_shares(subject: NytaxiMonth) -> Iterator[CheckResult]:
    """Are rejected rows and each quirk as rare as the limits say?"""
    summary, limits = subject.summary, subject.limits
    rows = max(summary.rows.input, 1)
    yield CheckResult.at_most("reject_share", summary.rows.rejected / rows, limits.max_reject_share)
    met = {rule.name: rule.rows for rule in summary.rules}
    for name, limit in limits.max_rule_share.items():
        if name.endswith("_zone_missing") and subject.month < Month.parse(limits.zones_since):
            limit = 1.0
        yield CheckResult.at_most(f"share_{name}", met[name] / rows, limit)


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


def check_trailing(subject: NytaxiMonth) -> Iterator[CheckResult]:
    """Are trips and revenue in line with the months published before? A warning: the world does change."""
    limits = subject.limits.trailing
    history = [summary["totals"] for summary in subject.published.earlier(limits.months)]
    for name in ("trips", "revenue_cents"):
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
        score = robust_z_score(getattr(subject.summary.totals, name), [totals[name] for totals in history])
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


def _instant(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


CHECKS: Mapping[str, Callable[[NytaxiMonth], Iterator[CheckResult]]] = {
    "summary": check_summary,
    "month": check_month,
    **{name: check_table(name) for name in TABLES},
    "total_ratios": check_total_ratios,
    "shares": check_shares,
    "statement": check_signed_statement,
    "input": check_input,
    "recount": check_recount,
    "trailing": check_trailing,
}
RULES = JobRules(limits=NytaxiLimits, subject=NytaxiMonth, checks=CHECKS, input=TRIPS)
