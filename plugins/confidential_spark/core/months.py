"""A calendar month as the unit of input, run and publication."""

from __future__ import annotations

import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, date, datetime

# One pattern for all: the enclave and the verifier read months as well.
from confidential_spark.agent.protocol import MONTH_PATTERN as MONTH_PATTERN
from confidential_spark.core.errors import InputError


@dataclass(frozen=True, order=True)
class Month:
    """One calendar month, from 2009-01, when the TLC's records begin."""

    year: int
    month: int

    @classmethod
    def parse(cls, text: str) -> Month:
        """Read ``YYYY-MM``.

        :raises InputError: ``month-malformed`` for anything else.
        """
        if not isinstance(text, str) or re.fullmatch(MONTH_PATTERN, text, re.ASCII) is None:
            raise InputError(
                "The month is malformed.",
                code="month-malformed",
                got=text if text != "" else "nothing",
                expected="YYYY-MM from 2009-01 to 2099-12, e.g. 2018-05",
                action="give the month in this form",
            )
        return cls(int(text[:4]), int(text[5:]))

    def require_complete(self, today: date | None = None) -> None:
        """Refuse a month that has not ended yet.

        :raises InputError: ``month-not-over``.
        """
        today = today or datetime.now(UTC).date()
        if (self.year, self.month) >= (today.year, today.month):
            raise InputError(
                "The month is not over yet, so its data cannot be complete.",
                code="month-not-over",
                got=str(self),
                expected=f"a month before {today:%Y-%m}",
                action="choose an earlier month",
            )

    def shift(self, months: int) -> Month:
        """Return the month ``months`` later (earlier when negative)."""
        index = self.year * 12 + self.month - 1 + months
        return Month(index // 12, index % 12 + 1)

    @property
    def first_second(self) -> int:
        """The month's first second (UTC), counted from 1970."""
        return int(datetime(self.year, self.month, 1, tzinfo=UTC).timestamp())

    @property
    def days(self) -> int:
        """How many days the month has."""
        return monthrange(self.year, self.month)[1]

    def __str__(self) -> str:
        """Return ``YYYY-MM``."""
        return f"{self.year:04d}-{self.month:02d}"
