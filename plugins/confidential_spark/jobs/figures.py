"""What a reader sees of a job's results: figures of the summary, and tables as bar charts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def count(value: int) -> str:
    """Return a whole number with thousands separators."""
    return f"{value:,}"


def dollars(cents: int) -> str:
    """Return cents as text, e.g. ``$1,234,567.89``; exact for every size."""
    whole, rest = divmod(abs(cents), 100)
    return f"{'-' if cents < 0 else ''}${whole:,}.{rest:02d}"


def words(value: object) -> str:
    """Return a name as words, e.g. ``no charge`` for ``no_charge``."""
    return str(value).replace("_", " ")


@dataclass(frozen=True)
class Figure:
    """One number of `summary.json`.

    :param member: where it stands, e.g. ``totals.trips``.
    :param show: the number as people read it.
    :param kind: int or float; a value of any other type is left out.
    :param headline: it also stands in `report.json`, and in the verdict that a run ends with.
    """

    label: str
    member: str
    show: Callable[[Any], str] = count
    kind: type[int] | type[float] = int
    headline: bool = False

    @property
    def name(self) -> str:
        """The last part of the member's path, its name in `report.json`."""
        return self.member.rpartition(".")[2]

    def value(self, summary: Mapping[str, Any]) -> int | float | None:
        """Return the number, or None where the summary has none of this kind."""
        found: object = summary
        for name in self.member.split("."):
            found = found.get(name) if isinstance(found, dict) else None
        # true and false are whole numbers to Python.
        return found if type(found) is self.kind else None  # type: ignore[return-value]


@dataclass(frozen=True)
class ComparedFigure:
    """What a check compares with earlier months.

    :param of: the number, from the `totals` of a summary.
    :param show: the number as people read it.
    """

    label: str
    of: Callable[[Mapping[str, int]], float]
    show: Callable[[float], str]

    def value(self, summary: Mapping[str, Any]) -> float | None:
        """Return the number, or None where the summary has no such totals."""
        try:
            return float(self.of(summary["totals"]))
        except (KeyError, TypeError, ValueError, ArithmeticError):
            return None


@dataclass(frozen=True)
class ResultChart:
    """A result table as a bar chart, one bar a row.

    :param table: the file's name without ``.parquet``.
    :param label: the column of the bars' labels.
    :param value: the column of their lengths: whole numbers.
    :param unit: what the lengths count.
    :param show: a length as people read it.
    :param show_label: a label as people read it.
    :param label_kind: type of the labels; a row with any other is left out.
    """

    title: str
    table: str
    label: str
    value: str
    unit: str
    show: Callable[[int], str] = count
    show_label: Callable[[Any], str] = words
    label_kind: type[int] | type[str] = str
