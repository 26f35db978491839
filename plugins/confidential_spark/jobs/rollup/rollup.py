"""The years of a monthly job: what their DAG is called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from confidential_spark.core.platforms import Platform
from confidential_spark.jobs import JOBS
from confidential_spark.years.sums import YEARS

if TYPE_CHECKING:
    from confidential_spark.jobs.job import SparkJob


@dataclass(frozen=True)
class Rollup:
    """A monthly job whose months are added up to years."""

    job: SparkJob

    @property
    def title(self) -> str:
        """What a reader sees."""
        return f"{self.job.title} year"

    def dag_id(self, platform: Platform) -> str:
        """Return the name of the years' DAG on a platform."""
        return f"{self.job.name}_year_{platform}"


ROLLUPS = {name: Rollup(JOBS[name]) for name in YEARS}
"""Job → its years."""

ROLLUP_OF = {rollup.dag_id(platform): rollup for rollup in ROLLUPS.values() for platform in Platform}
"""DAG of years → what it makes."""
