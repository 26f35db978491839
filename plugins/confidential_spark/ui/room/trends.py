"""Figures of all months of a DAG as lines: geometry computed here, drawn as SVG by a template."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from confidential_spark.jobs.figures import Figure, count
from confidential_spark.ui.room.known_state import known_state
from confidential_spark.ui.room.matrix import months_between
from confidential_spark.ui.views.calendar_view import CellState, month_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from confidential_spark.core.months import Month
    from confidential_spark.hooks.index.entry import IndexEntry
    from confidential_spark.jobs.job import SparkJob
    from confidential_spark.ui.room.known_results import KnownResult

# Lengths in SVG user units.
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 180, 96, 12, 12, 24
Value = int | float


@dataclass(frozen=True)
class Point:
    """One month of a line.

    :param text: the value as people read it.
    :param is_verified: whether this server has verified the version that it is of.
    """

    month: Month
    key: str
    value: Value
    text: str
    note: str
    is_verified: bool
    x: float = 0.0
    y: float = 0.0


@dataclass(frozen=True)
class Trend:
    """One figure over the months.

    :param lines: points of polylines; months without a value interrupt the line.
    :param years: where each January is, and its year.
    """

    name: str
    title: str
    points: tuple[Point, ...]
    lines: tuple[str, ...]
    years: tuple[tuple[float, int], ...]
    top: str
    middle: str
    bottom: str
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    upper: int = TOP
    lower: int = HEIGHT - BOTTOM
    center: float = (TOP + HEIGHT - BOTTOM) / 2

    @property
    def unverified(self) -> int:
        """How many values nobody has verified."""
        return sum(not point.is_verified for point in self.points)


@dataclass(frozen=True)
class Measure:
    """What a line shows.

    :param show: a value as people read it.
    """

    name: str
    title: str
    of: Callable[[IndexEntry], Value | None]
    show: Callable[[Value], str]


def measures(job: SparkJob) -> tuple[Measure, ...]:
    """Return what is shown of a job's months: its figures, and what all jobs have."""

    def figure_measure(figure: Figure) -> Measure:
        return Measure(
            figure.member.replace(".", "-").replace("_", "-"),
            figure.label,
            lambda entry: entry.figures.get(figure.member),
            figure.show,
        )

    rejected = Figure("Rows rejected", "rows.rejected")
    return (
        *(figure_measure(figure) for figure in (*job.figures, rejected)),
        Measure("warnings", "Checks that warned", lambda entry: len(entry.warned), lambda n: count(int(n))),
        Measure("duration", "Duration of the run", lambda entry: entry.seconds, "{:,.1f} s".format),
    )


def trends(job: SparkJob, dag_id: str, known: Mapping[str, KnownResult]) -> tuple[Trend, ...]:
    """Return a line for each measure of a job that any month has; none of refused versions."""
    months = sorted(
        ((month, each) for key, each in known.items() if (month := month_of(key)) and each.entry),
        key=lambda pair: pair[0],
    )
    shown = [
        (month, each, state)
        for month, each in months
        if (state := known_state(dag_id, each)).state is not CellState.REFUSED
    ]
    found = []
    for measure in measures(job):
        points = [
            Point(month, each.key, value, measure.show(value), state.word, each.is_verified)
            for month, each, state in shown
            if each.entry and (value := measure.of(each.entry)) is not None
        ]
        if points:
            found.append(trend(measure.name, measure.title, points, measure.show))
    return tuple(found)


def trend(name: str, title: str, points: Sequence[Point], show: Callable[[Value], str]) -> Trend:
    """Return a line through these points, which are in the order of their months."""
    first, last = points[0].month, points[-1].month
    values = [point.value for point in points]
    low, high = min(0, *values), max(0, *values)
    span, height = max(1, months_between(first, last)), HEIGHT - BOTTOM - TOP
    scale = (high - low) or 1

    def x_of(month: Month) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * months_between(first, month) / span, 1)

    placed = tuple(
        Point(
            point.month,
            point.key,
            point.value,
            point.text,
            point.note,
            point.is_verified,
            x_of(point.month),
            round(TOP + height * (high - point.value) / scale, 1),
        )
        for point in points
    )
    januaries = [first.shift(number) for number in range(span + 1) if first.shift(number).month == 1]
    # At most nine labels, so that they do not run into each other.
    step = -(-len(januaries) // 9) or 1
    years = tuple((x_of(month), month.year) for month in januaries[::step])
    middle = (low + high) / 2
    whole = all(isinstance(value, int) for value in values)
    top, center, bottom = (on_axis(show(each)) for each in (high, round(middle) if whole else middle, low))
    if center in (top, bottom):
        center = ""
    return Trend(name, title, placed, _lines(placed), years, top, center, bottom)


def on_axis(text: str) -> str:
    """Return a value as it stands beside a line: whole dollars, because there is little room."""
    return text.partition(".")[0] if text.lstrip("-").startswith("$") else text


def _lines(points: Sequence[Point]) -> tuple[str, ...]:
    lines: list[list[str]] = []
    before: Month | None = None
    for point in points:
        if before is None or before.shift(1) != point.month:
            lines.append([])
        lines[-1].append(f"{point.x},{point.y}")
        before = point.month
    return tuple(" ".join(line) for line in lines if len(line) > 1)
