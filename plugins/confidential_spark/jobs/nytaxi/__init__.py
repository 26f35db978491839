"""The job nytaxi: a month of New York's yellow taxis in figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from confidential_spark.jobs.figures import Figure, ResultChart, dollars
from confidential_spark.jobs.job import SparkJob

if TYPE_CHECKING:
    from confidential_spark.jobs.checks.run import JobRules


def _rules() -> JobRules[Any]:
    from confidential_spark.jobs.nytaxi.checks import RULES

    return RULES


NYTAXI = SparkJob(
    name="nytaxi",
    title="NYTaxi",
    monthly=True,
    arguments=lambda options: ["--outlier-cap-cents", str(options["outlier_cap_dollars"] * 100)],
    rules=_rules,
    figures=(
        Figure("Trips", "totals.trips", headline=True),
        Figure("Revenue", "totals.revenue_cents", dollars, headline=True),
        Figure("Tips", "totals.tip_cents", dollars),
        Figure("Distance", "totals.distance_millimiles", lambda value: f"{value // 1000:,} miles"),
        Figure("Mean speed", "totals.speed_mph", "{:.1f} mph".format, float),
    ),
    charts=(
        ResultChart(
            "Trips by hour of pick-up",
            "by_hour",
            "hour",
            "trips",
            "trips",
            show_label="{:02d}:00".format,
            label_kind=int,
        ),
        ResultChart(
            "Revenue by payment type",
            "by_payment_type",
            "payment_type",
            "revenue_cents",
            "US dollars",
            dollars,
        ),
    ),
)
