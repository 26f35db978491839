"""A year of job nytaxi: the sums of its months, without anything that cannot be added."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from confidential_spark.core.errors import ResultError
from confidential_spark.jobs.nytaxi.summary import MEASURES, Summary

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ROWS = ("input", "accepted", "rejected")
ALL_ROWS = ("rows", "revenue_cents", "fare_cents", "tip_cents")


def add_up(year: str, months: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the year's summary; docs/results.md describes its members.

    :param months: ``YYYY-MM`` → the month's `summary.json`.
    :raises ResultError: ``summary-schema``.
    """
    summaries = [_summary(month, content) for month, content in months.items()]
    return {
        "v": 1,
        "job": "nytaxi",
        "year": year,
        "rows": _sums(ROWS, (each.rows for each in summaries)),
        "totals": _sums(MEASURES, (each.totals for each in summaries)),
        "all_rows": _sums(ALL_ROWS, (each.all_rows for each in summaries)),
        "rules": _rules(summaries),
        "months": {each.month: each.measures() for each in summaries},
        "options": summaries[0].options.model_dump(),
    }


def _summary(month: str, content: Mapping[str, Any]) -> Summary:
    try:
        return Summary.model_validate(content)
    except ValidationError as error:
        raise ResultError(
            "A month's summary does not have the documented shape.",
            code="summary-schema",
            got=f"{month}: {error.errors(include_url=False)[0]['msg']}",
            expected="docs/results.md",
            action="run that month again",
        ) from error


def _sums(names: Iterable[str], parts: Iterable[object]) -> dict[str, int]:
    found = list(parts)
    return {name: sum(getattr(part, name) for part in found) for name in names}


def _rules(summaries: Iterable[Summary]) -> list[dict[str, Any]]:
    """Return how many rows each rule met in all months; a month without a rule counts none."""
    found: dict[str, dict[str, Any]] = {}
    for summary in summaries:
        for rule in summary.rules:
            counted = found.setdefault(rule.name, {"name": rule.name, "action": rule.action, "rows": 0})
            counted["rows"] += rule.rows
            if rule.first is not None:
                counted["first"] = counted.get("first", 0) + rule.first
    return list(found.values())
