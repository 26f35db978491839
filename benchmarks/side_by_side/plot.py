"""`docs/performance.svg`: each answer that has a goal, as a share of it, on a logarithmic scale."""

from __future__ import annotations

from html import escape
from math import log10
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ROW, LEFT, WIDTH, TOP = 22, 360, 480, 34
SHARES = (0.1, 0.25, 0.5, 1, 2, 4, 10)
REACHED, MISSED = "#2b7a4b", "#b5472f"


def plot(answers: Sequence[Mapping[str, Any]]) -> str:
    """Return the drawing; answers without a goal, or not measured, are left out."""
    rows = [one for one in answers if one["goal"] and one["answer"]]
    height = TOP + ROW * len(rows) + 10
    size = f'viewBox="0 0 {LEFT + WIDTH + 70} {height}"'
    lines = (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        *scale(height),
        *(line for index, one in enumerate(rows) for line in bar(TOP + ROW * index, one)),
        "</svg>",
    )
    return "\n".join(lines) + "\n"


def scale(height: int) -> Iterator[str]:
    """Yield the vertical lines; the goal's is the strong one."""
    for share in SHARES:
        x, color = place(share), "#333" if share == 1 else "#ddd"
        yield f'<line x1="{x:.0f}" x2="{x:.0f}" y1="{TOP - 8}" y2="{height - 6}" stroke="{color}"/>'
        text = "goal" if share == 1 else f"{share:g} ×"
        yield f'<text x="{x:.0f}" y="{TOP - 14}" text-anchor="middle" fill="#555">{text}</text>'


def bar(y: int, one: Mapping[str, Any]) -> Iterator[str]:
    """Yield one answer's bar, from the left edge, with its name and value."""
    share = one["answer"] / one["goal"]
    end, color = place(share), REACHED if share <= 1 else MISSED
    yield f'<text x="{LEFT - 8}" y="{y + 13}" text-anchor="end">{escape(one["name"])}</text>'
    yield f'<rect x="{LEFT}" y="{y + 3}" width="{max(end - LEFT, 1):.0f}" height="14" fill="{color}"/>'
    yield f'<text x="{end + 5:.0f}" y="{y + 14}">{one["answer"]:.3g}</text>'


def place(share: float) -> float:
    """Return the horizontal place of a share of the goal."""
    low, high = log10(SHARES[0]), log10(SHARES[-1])
    return LEFT + WIDTH * min(max((log10(share) - low) / (high - low), 0), 1)
