"""A month's figure against the months before it: the robust z-score."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# Turns a median absolute deviation into a standard deviation, for normally distributed figures.
MAD_TO_SIGMA = 1.4826
# Months that are all alike would make every small change an alarm.
SMALLEST_RELATIVE_SPREAD = 0.02


def robust_z_score(value: float, history: Sequence[float]) -> float:
    """Return how many robust deviations ``value`` lies from the median of a non-empty ``history``."""
    centre = median(history)
    spread = MAD_TO_SIGMA * median(abs(item - centre) for item in history)
    return (value - centre) / max(spread, SMALLEST_RELATIVE_SPREAD * abs(centre), 1.0)
