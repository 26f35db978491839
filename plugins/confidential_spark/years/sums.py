"""Which jobs have years, and what of their months is added up: a job's years are declared here, nowhere else.

Only what can be added is in a year. Means, shares, extremes and distinct counts do not follow from those of
twelve months, so they are left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from confidential_spark.core.errors import InputError, ResultError

if TYPE_CHECKING:
    from collections.abc import Mapping

    Summaries = Mapping[str, Mapping[str, Any]]

YEAR_PATTERN = r"^(2009|20[1-9][0-9])$"
ROWS = ("input", "accepted", "rejected")
TOTALS = "totals"


@dataclass(frozen=True)
class YearSums:
    """What is added up of a job's monthly `summary.json`, besides its rows.

    :param totals: names of the whole numbers in ``totals`` that can be added.
    :param more: other members → names of the whole numbers in them that can be added.
    :param counts_rules: whether ``rules`` says how many rows each rule met.
    """

    totals: tuple[str, ...]
    more: Mapping[str, tuple[str, ...]]
    counts_rules: bool = False


YEARS = {
    "nytaxi": YearSums(
        totals=("trips", "revenue_cents", "fare_cents", "tip_cents", "distance_millimiles", "duration_s"),
        more={"all_rows": ("rows", "revenue_cents", "fare_cents", "tip_cents")},
        counts_rules=True,
    ),
    # Not `zones` and `busiest_day`: places of twelve months overlap, and the busiest day is one of a month.
    "nytaxi_demand": YearSums(totals=("trips", "trips_without_zone", "trips_in_unknown_zone"), more={}),
}
"""Job → what its years have."""


def months_of_year(year: str) -> tuple[str, ...]:
    """Return ``YYYY-MM`` of the twelve months of a year.

    :raises InputError: ``year-malformed``.
    """
    if not isinstance(year, str) or re.fullmatch(YEAR_PATTERN, year, re.ASCII) is None:
        raise InputError(
            "The year is malformed.",
            code="year-malformed",
            got=year if year != "" else "nothing",
            expected="YYYY from 2009 on, e.g. 2018",
            action="give the year in this form",
        )
    return tuple(f"{year}-{number:02d}" for number in range(1, 13))


def add_up(job: str, year: str, months: Summaries) -> dict[str, Any]:
    """Return the year's summary; docs/results.md describes its members.

    :param months: ``YYYY-MM`` → the month's `summary.json`.
    :raises ResultError: ``summary-schema``.
    """
    declared = YEARS[job]
    for month, summary in months.items():
        if (found := (summary.get("job"), summary.get("month"))) != (job, month):
            raise _unusable(month, f"job and month {found}")
    members = {"rows": ROWS, TOTALS: declared.totals, **declared.more}
    parts = {name: _numbers(name, names, months) for name, names in members.items()}
    sums = {
        name: {each: sum(part[each] for part in parts[name].values()) for each in names}
        for name, names in members.items()
    }
    rules = {"rules": _rules(months)} if declared.counts_rules else {}
    options = [summary.get("options") for summary in months.values()]
    return {"v": 1, "job": job, "year": year, **sums, **rules, "months": parts[TOTALS], "options": options[0]}


def _numbers(member: str, names: tuple[str, ...], months: Summaries) -> dict[str, dict[str, int]]:
    """Return the whole numbers of a member by month."""
    found = {}
    for month, summary in months.items():
        part = summary.get(member)
        values = {name: part.get(name) if isinstance(part, dict) else None for name in names}
        found[month] = {name: _whole(month, f"{member}.{name}", value) for name, value in values.items()}
    return found


def _rules(months: Summaries) -> list[dict[str, Any]]:
    """Return how many rows each rule met in all months; a month without a rule counts none."""
    found: dict[str, dict[str, Any]] = {}
    for month, summary in months.items():
        rules = summary.get("rules")
        if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
            raise _unusable(month, "no list of rules")
        for rule in rules:
            name, action = (str(rule.get(part)) for part in ("name", "action"))
            counted = found.setdefault(name, {"name": name, "action": action, "rows": 0})
            counted["rows"] += _whole(month, f"rules, {name}", rule.get("rows"))
            if rule.get("first") is not None:
                first = _whole(month, f"rules, first of {name}", rule["first"])
                counted["first"] = counted.get("first", 0) + first
    return list(found.values())


def _whole(month: str, name: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _unusable(month, f"{name}: {value!r} is no whole number")
    return value


def _unusable(month: str, got: str) -> ResultError:
    return ResultError(
        "A month's summary does not have the documented shape.",
        code="summary-schema",
        got=f"{month}: {got}",
        expected="docs/results.md",
        action="run that month again",
    )
