"""The job sparkpi: an estimate of π, the smoke test of a platform."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from confidential_spark.jobs.figures import Figure
from confidential_spark.jobs.job import SparkJob

if TYPE_CHECKING:
    from confidential_spark.jobs.checks.run import JobRules


def _rules() -> JobRules[Any]:
    from confidential_spark.jobs.sparkpi.checks import RULES

    return RULES


SPARKPI = SparkJob(
    name="sparkpi",
    title="SparkPi",
    monthly=False,
    arguments=lambda options: ["--partitions", str(options["partitions"])],
    rules=_rules,
    figures=(Figure("π", "pi", "{:.6f}".format, float, headline=True),),
)
