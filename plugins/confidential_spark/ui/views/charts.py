"""Small horizontal bar charts: geometry computed here, drawn as SVG by a template."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# Lengths in SVG user units.
BAR_HEIGHT, GAP, MARGIN, LABEL_WIDTH, BAR_WIDTH, VALUE_WIDTH = 14, 4, 6, 84, 300, 110


@dataclass(frozen=True)
class Bar:
    """One bar and the text at its end."""

    label: str
    text: str
    y: int
    length: float

    @property
    def baseline(self) -> int:
        """Where its texts stand."""
        return self.y + BAR_HEIGHT - 3

    @property
    def end(self) -> float:
        """Where the text at its end begins."""
        return LABEL_WIDTH + self.length + MARGIN


@dataclass(frozen=True)
class Chart:
    """A bar chart; its bars are the table alternative too."""

    name: str
    title: str
    unit: str
    bars: tuple[Bar, ...]
    bar_start: int = LABEL_WIDTH
    label_end: int = LABEL_WIDTH - MARGIN
    bar_height: int = BAR_HEIGHT
    width: int = LABEL_WIDTH + BAR_WIDTH + VALUE_WIDTH

    @property
    def height(self) -> int:
        """The drawing's height."""
        return len(self.bars) * (BAR_HEIGHT + GAP)


def bar_chart(name: str, title: str, unit: str, rows: Sequence[tuple[str, int, str]]) -> Chart:
    """Return a chart of ``(label, value, text)`` rows; the largest value fills the width."""
    largest = max((value for _, value, _ in rows), default=0)
    bars = tuple(
        Bar(label, text, i * (BAR_HEIGHT + GAP), round(BAR_WIDTH * max(value, 0) / max(largest, 1), 1))
        for i, (label, value, text) in enumerate(rows)
    )
    return Chart(name, title, unit, bars)
