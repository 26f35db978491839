"""The months of a DAG as a grid of years × 12: what each came to, in a sign, words and a shade."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING

from confidential_spark.core.errors import InputError
from confidential_spark.core.months import Month

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

SHADES = 5


class CellState(Enum):
    """What a month came to: a sign that needs no colour, and the word for it."""

    PASSED = "✓", "passed"
    WARNED = "!", "passed with warnings"
    UNVERIFIED = "?", "published, not verified yet"
    REFUSED = "⊘", "refused"
    FAILED = "✗", "failed"
    RUNNING = "▶", "running"
    QUEUED = "…", "queued"
    MISSING = "○", "missing"
    NOT_OVER = "", "not over yet"

    @property
    def sign(self) -> str:
        """One character."""
        return self.value[0]

    @property
    def word(self) -> str:
        """The state in words."""
        return self.value[1]

    @property
    def css(self) -> str:
        """Name of its style."""
        return self.name.lower().replace("_", "-")


PUBLISHED_WELL = frozenset({CellState.PASSED, CellState.WARNED, CellState.UNVERIFIED})


@dataclass(frozen=True)
class MonthLine:
    """What is known of one month.

    :param words: more than the state's own word, for the reader who points at the cell.
    :param key: what it is published under; empty when nothing is.
    :param run_id: of the run that the state is about; empty when it is about what is published.
    :param refusal: why what is published is refused.
    """

    state: CellState
    words: str = ""
    key: str = ""
    run_id: str = ""
    rows: int | None = None
    refusal: str = ""


@dataclass(frozen=True)
class Cell:
    """One month of the grid."""

    month: Month
    line: MonthLine
    shade: int = 0

    @property
    def label(self) -> str:
        """The cell in words."""
        rows = f"{self.line.rows:,} rows" if self.line.rows is not None else ""
        return ", ".join(filter(None, (str(self.month), self.line.state.word, self.line.words, rows)))


@dataclass(frozen=True)
class Year:
    """One row of the grid."""

    year: int
    cells: tuple[Cell, ...]


def calendar(lines: Mapping[Month, MonthLine], today: date | None = None) -> tuple[Year, ...]:
    """Return every year from the first to the last with a known month, each with all its months."""
    if not lines:
        return ()
    current = today or datetime.now(UTC).date()
    largest = max((line.rows or 0 for line in lines.values()), default=0) or 1

    def cell(month: Month) -> Cell:
        over = (month.year, month.month) < (current.year, current.month)
        line = lines.get(month) or MonthLine(CellState.MISSING if over else CellState.NOT_OVER)
        shaded = line.state is CellState.PASSED
        return Cell(month, line, 1 + (line.rows or 0) * (SHADES - 1) // largest if shaded else 0)

    known = {month.year for month in lines}
    # A month that is filed under a year to come has a row, and not each year before it.
    years = known | set(range(min(known), min(max(known), current.year) + 1))
    return tuple(
        Year(year, tuple(cell(Month(year, number)) for number in range(1, 13))) for year in sorted(years)
    )


@lru_cache(maxsize=4096)
def month_of(key: str) -> Month | None:
    """Return the month that a publication key names, if it names one."""
    try:
        return Month.parse(key.removeprefix("month=")) if key.startswith("month=") else None
    except InputError:
        return None
