"""All months of one job on one platform as a matrix of years × 12, and how dark each cell is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING

from confidential_spark.core.months import Month
from confidential_spark.ui.views.calendar_view import (
    PUBLISHED_WELL,
    SHADES,
    Cell,
    CellState,
    MonthLine,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from datetime import date

    from confidential_spark.hooks.index.entry import IndexEntry
    from confidential_spark.ui.results.years.line import YearLine


class Shade(Enum):
    """What the darkness of a cell stands for."""

    PROOF = "proof", "none: the signs say what was verified"
    ROWS = "rows", "the darker, the more rows"
    WARNINGS = "warnings", "the darker, the more checks that warned"
    AGE = "age", "the darker, the longer ago it was signed"
    DURATION = "duration", "the darker, the longer the run took"

    @property
    def label(self) -> str:
        """The name, in addresses too."""
        return self.value[0]

    @property
    def meaning(self) -> str:
        """The meaning in words."""
        return self.value[1]

    @classmethod
    def named(cls, name: str) -> Shade:
        """Return the shade of that name; anything else is :data:`PROOF`."""
        return next((shade for shade in cls if shade.label == name), cls.PROOF)


@dataclass(frozen=True)
class MatrixYear:
    """One row: a year's months, and how many of those that are over are published.

    :param line: the year as a whole; None for a job without years.
    """

    year: int
    cells: tuple[Cell, ...]
    published: int
    over: int
    line: YearLine | None = None


@dataclass(frozen=True)
class Matrix:
    """The matrix and what stands beside it.

    :param first: the first month that is expected.
    :param last: the last month that is over.
    :param gaps: expected months that are neither published nor in work, in order.
    """

    years: tuple[MatrixYear, ...]
    first: Month
    last: Month
    gaps: tuple[Month, ...]

    @property
    def expected(self) -> int:
        """How many months are expected."""
        return months_between(self.first, self.last) + 1

    @property
    def published(self) -> int:
        """How many of all shown months are published."""
        return sum(year.published for year in self.years)


def last_month_over(today: date | None = None) -> Month:
    """Return the latest month that has ended."""
    now = today or datetime.now(UTC).date()
    return Month(now.year, now.month).shift(-1)


def months_between(first: Month, last: Month) -> int:
    """Return how many months the second is later than the first."""
    return (last.year - first.year) * 12 + last.month - first.month


def matrix(
    lines: Mapping[Month, MonthLine],
    entries: Mapping[Month, IndexEntry],
    *,
    shade: Shade = Shade.PROOF,
    first: Month | None = None,
    today: date | None = None,
    year_line: Callable[[int], YearLine] | None = None,
    published_years: Collection[int] = (),
) -> Matrix:
    """Return the matrix of a DAG.

    :param lines: what is known of each month.
    :param year_line: what is known of a year as a whole; None for a job without years.
    :param published_years: years that are shown, whatever is known of their months.
    :param entries: what the published versions say of themselves.
    :param first: the first month that is expected; without one, the first that anything is known of.
    """
    last = last_month_over(today)
    start = first or min(lines, default=last)
    measure, largest = _measure(shade, entries)

    def cell(month: Month) -> Cell:
        missing = CellState.MISSING if start <= month <= last else CellState.NOT_OVER
        line = lines.get(month) or MonthLine(missing)
        value = measure(month) if line.state in PUBLISHED_WELL else None
        return Cell(month, line, 1 + round(value * (SHADES - 1) / largest) if value is not None else 0)

    # What is filed under a year to come has a row, and not each year before it.
    known = {*(month.year for month in lines), *published_years}
    years = known | set(range(min([start.year, *known]), last.year + 1))
    rows = tuple(
        _year(year, cell, start, last, year_line(year) if year_line else None) for year in sorted(years)
    )
    gaps = tuple(
        each.month
        for row in rows
        for each in row.cells
        if start <= each.month <= last and not each.line.key and each.line.state not in AT_WORK
    )
    return Matrix(rows, start, last, gaps)


AT_WORK = frozenset({CellState.QUEUED, CellState.RUNNING})


def _year(
    year: int, cell: Callable[[Month], Cell], start: Month, last: Month, line: YearLine | None
) -> MatrixYear:
    cells = tuple(cell(Month(year, number)) for number in range(1, 13))
    expected = [each for each in cells if start <= each.month <= last]
    return MatrixYear(year, cells, sum(bool(each.line.key) for each in cells), len(expected), line)


def _measure(
    shade: Shade, entries: Mapping[Month, IndexEntry]
) -> tuple[Callable[[Month], float | None], float]:
    """Return how much of what the shade shows a month has, and the largest of all months."""
    now = datetime.now(UTC)
    of: Callable[[IndexEntry], float | None] = {
        Shade.PROOF: lambda _: None,
        Shade.ROWS: lambda entry: entry.rows,
        Shade.WARNINGS: lambda entry: len(entry.warned),
        Shade.AGE: lambda entry: (
            max(0.0, (now - entry.signed_at).total_seconds()) if entry.signed_at else None
        ),
        Shade.DURATION: lambda entry: entry.seconds,
    }[shade]
    values = {month: value for month, entry in entries.items() if (value := of(entry)) is not None}
    return values.get, max(values.values(), default=0) or 1


def ranges(months: tuple[Month, ...]) -> tuple[str, ...]:
    """Return months as text, e.g. ``2012-03`` and ``2015-07..08``."""
    found: list[tuple[Month, Month]] = []
    for month in months:
        if found and found[-1][1].shift(1) == month:
            found[-1] = (found[-1][0], month)
        else:
            found.append((month, month))
    return tuple(_range(first, last) for first, last in found)


def _range(first: Month, last: Month) -> str:
    if first == last:
        return str(first)
    return f"{first}..{last.month:02d}" if first.year == last.year else f"{first}..{last}"
