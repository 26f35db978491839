"""Which monthly jobs have a year, and what belongs to a year."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from confidential_spark.core.errors import InputError
from confidential_spark.core.months import Month
from confidential_spark.jobs.nytaxi import NYTAXI

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from confidential_spark.core.platforms import Platform
    from confidential_spark.jobs.job import SparkJob

    AddUp = Callable[[str, Mapping[str, Mapping[str, Any]]], dict[str, Any]]

YEAR_PATTERN = r"^(2009|20[1-9][0-9])$"


@dataclass(frozen=True)
class Rollup:
    """A monthly job whose months are added up to years.

    :param add_up: returns the function from a year and its months' summaries to the year's summary. It is
        imported when it is called: DAG files import this entry and need no pydantic to be parsed.
    """

    job: SparkJob
    add_up: Callable[[], AddUp] = field(repr=False)

    @property
    def title(self) -> str:
        """What a reader sees."""
        return f"{self.job.title} year"

    def dag_id(self, platform: Platform) -> str:
        """Return the name of the years' DAG on a platform."""
        return f"{self.job.name}_year_{platform}"


def _nytaxi_sums() -> AddUp:
    from confidential_spark.jobs.nytaxi.year import add_up

    return add_up


NYTAXI_YEAR = Rollup(NYTAXI, _nytaxi_sums)
ROLLUPS = {rollup.job.name: rollup for rollup in (NYTAXI_YEAR,)}


def months_of_year(year: str) -> tuple[Month, ...]:
    """Return the twelve months of a year.

    :raises InputError: ``year-malformed``.
    """
    if not isinstance(year, str) or re.fullmatch(YEAR_PATTERN, year, re.ASCII) is None:
        raise InputError(
            "The year is malformed.",
            code="year-malformed",
            got=year if year != "" else "nothing",
            expected="YYYY from 2009 on, e.g. 2018",
            action="give the year in this form",
        )
    return tuple(Month(int(year), number) for number in range(1, 13))
