"""A month beside its neighbours: before, after and a year before, and the last twelve months as a line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from confidential_spark.ui.airflow_runs import JOB_OF
from confidential_spark.ui.room.compare import change
from confidential_spark.ui.room.known_state import known_state
from confidential_spark.ui.room.trends import Point, Trend, measures, trend
from confidential_spark.ui.views.calendar_view import CellState, month_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from confidential_spark.core.months import Month
    from confidential_spark.ui.room.known_results import KnownResult

SHOWN_MEASURES = 4
MONTHS = 13


@dataclass(frozen=True)
class Neighbour:
    """Another month.

    :param key: what it is published under; empty when it is not.
    """

    word: str
    month: Month
    key: str


@dataclass(frozen=True)
class Comparisons:
    """One figure of the month beside those of its neighbours.

    :param changes: text for each neighbour; empty where it has no figure.
    """

    title: str
    value: str
    changes: tuple[str, ...]


@dataclass(frozen=True)
class Neighbours:
    """The section.

    :param warned: check that warned → the last twelve months of the figure that it compares.
    """

    month: Month
    neighbours: tuple[Neighbour, ...]
    rows: tuple[Comparisons, ...]
    lines: tuple[Trend, ...]
    unverified: int
    warned: Mapping[str, Trend]


def neighbours(dag_id: str, key: str, known: Mapping[str, KnownResult]) -> Neighbours | None:
    """Return a published month beside its neighbours, or None for a result that is no month."""
    month = month_of(key)
    if month is None:
        return None
    credible = {
        other: each
        for name, each in known.items()
        if (other := month_of(name))
        and each.entry
        and known_state(dag_id, each).state is not CellState.REFUSED
    }
    places = (("previous month", -1), ("next month", 1), ("a year before", -12))
    found = tuple(
        Neighbour(word, at, f"month={at}" if f"month={at}" in known else "")
        for word, at in ((word, month.shift(by)) for word, by in places)
        if at.year >= 2009
    )
    rows: list[Comparisons] = []
    lines: list[Trend] = []
    for measure in measures(JOB_OF[dag_id]):
        values = {at: measure.of(each.entry) for at, each in credible.items() if each.entry}
        own = values.get(month)
        if own is None:
            continue
        changes = tuple(change(values.get(each.month), own, measure.show) for each in found)
        rows.append(Comparisons(measure.title, measure.show(own), changes))
        points = [
            Point(at, f"month={at}", value, measure.show(value), "", credible[at].is_verified)
            for at in (month.shift(by) for by in range(1 - MONTHS, 1))
            if (value := values.get(at)) is not None
        ]
        if len(points) > 1 and len(lines) < SHOWN_MEASURES:
            lines.append(
                trend(f"last-{measure.name}", f"{measure.title}, last 12 months", points, measure.show)
            )
    shown = {month, *(each.month for each in found)}
    unverified = sum(not credible[at].is_verified for at in shown & credible.keys())
    warned = _warned_lines(dag_id, month, credible)
    return Neighbours(month, found, tuple(rows), tuple(lines), unverified, warned)


def _warned_lines(dag_id: str, month: Month, credible: Mapping[Month, KnownResult]) -> dict[str, Trend]:
    """Return the last twelve months of each figure whose comparison with earlier months gave a warning."""
    own = credible.get(month)
    warned = own.entry.warned if own and own.entry else ()
    history = JOB_OF[dag_id].rules().history if warned else {}
    # Read only where something warned: the index has the figures of headlines alone.
    months = [at for at in (month.shift(by) for by in range(1 - MONTHS, 1)) if at in credible]
    summaries = {at: credible[at].result.document("summary.json") for at in months if history.keys() & warned}
    found = {}
    for check in warned:
        figure = history.get(check)
        if figure is None:
            continue
        points = [
            Point(at, f"month={at}", value, figure.show(value), "", credible[at].is_verified)
            for at, summary in summaries.items()
            if (value := figure.value(summary)) is not None
        ]
        if len(points) > 1:
            name = f"history-{check.replace('_', '-')}"
            title = f"{figure.label}, last 12 months"
            found[check] = trend(name, title, points, figure.show)
    return found
