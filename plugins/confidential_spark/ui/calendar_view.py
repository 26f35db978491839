"""The months of a DAG as a grid of years × 12, shaded by size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from confidential_spark.core.errors import InputError
from confidential_spark.core.months import Month

if TYPE_CHECKING:
    from collections.abc import Mapping

SHADES = 5


@dataclass(frozen=True)
class Cell:
    """One month: published when it has a key."""

    month: Month
    key: str | None = None
    rows: int | None = None
    shade: int = 0


@dataclass(frozen=True)
class Year:
    """One row of the grid."""

    year: int
    cells: tuple[Cell, ...]


def calendar(rows_by_key: Mapping[str, int | None]) -> tuple[Year, ...]:
    """Return the years that have published months, each with all its months.

    :param rows_by_key: ``month=YYYY-MM`` → accepted rows, None when unknown; other keys are left out.
    """
    months = {month: key for key in rows_by_key if (month := month_of(key))}
    if not months:
        return ()
    largest = max((rows_by_key[key] or 0 for key in months.values()), default=0) or 1

    def cell(month: Month) -> Cell:
        key = months.get(month)
        rows = rows_by_key[key] if key else None
        return Cell(month, key, rows, 1 + (rows or 0) * (SHADES - 1) // largest if key else 0)

    return tuple(
        Year(year, tuple(cell(Month(year, number)) for number in range(1, 13)))
        for year in sorted({month.year for month in months})
    )


def month_of(key: str) -> Month | None:
    """Return the month that a publication key names, if it names one."""
    try:
        return Month.parse(key.removeprefix("month=")) if key.startswith("month=") else None
    except InputError:
        return None
