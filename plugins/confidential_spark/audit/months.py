"""Ranges of months, both ends included."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from confidential_spark.agent.protocol import MONTH_PATTERN
from confidential_spark.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_MONTHS = 600


def months_between(first: str, last: str) -> tuple[str, ...]:
    """Return ``YYYY-MM`` of each month from the first to the last.

    :raises InputError: ``audit-range``: one is malformed, or the first is after the last.
    """
    for month in (first, last):
        if re.fullmatch(MONTH_PATTERN, month, re.ASCII) is None:
            raise _unusable(month, "YYYY-MM from 2009-01 to 2099-12, e.g. 2018-05")
    start, end = _number(first), _number(last)
    if not 0 <= end - start < MAX_MONTHS:
        raise _unusable(f"{first} to {last}", f"the first month before the last, at most {MAX_MONTHS} months")
    return tuple(f"{number // 12:04d}-{number % 12 + 1:02d}" for number in range(start, end + 1))


def whole_years(months: Iterable[str]) -> tuple[str, ...]:
    """Return the years of which all twelve months are among these."""
    count = Counter(month[:4] for month in set(months))
    return tuple(sorted(year for year, number in count.items() if number == 12))


def _number(month: str) -> int:
    return int(month[:4]) * 12 + int(month[5:]) - 1


def _unusable(got: str, expected: str) -> InputError:
    message, action = "The range of months is unusable.", "correct --from and --to"
    return InputError(message, code="audit-range", got=got, expected=expected, action=action)
