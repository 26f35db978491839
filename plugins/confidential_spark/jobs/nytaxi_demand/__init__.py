"""The job nytaxi_demand: trips of New York's yellow taxis per day and pick-up zone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from confidential_spark.jobs.figures import Figure, ResultChart
from confidential_spark.jobs.job import SparkJob

if TYPE_CHECKING:
    from confidential_spark.jobs.checks.run import JobRules


def _rules() -> JobRules[Any]:
    from confidential_spark.jobs.nytaxi_demand.checks import RULES

    return RULES


NYTAXI_DEMAND = SparkJob(
    name="nytaxi_demand",
    title="NYTaxi demand",
    monthly=True,
    arguments=lambda options: ["--outlier-cap-cents", str(options["outlier_cap_dollars"] * 100)],
    rules=_rules,
    figures=(
        Figure("Trips", "totals.trips", headline=True),
        Figure("Zones", "totals.zones", headline=True),
        Figure("Busiest day of the month", "totals.busiest_day"),
        Figure("Trips on that day", "totals.busiest_day_trips"),
        Figure("Trips without a zone", "totals.trips_without_zone"),
        Figure("Trips in unknown zones", "totals.trips_in_unknown_zone"),
    ),
    charts=(
        ResultChart("Trips by day", "by_day", "day", "trips", "trips", show_label=str, label_kind=int),
        ResultChart("Trips by day of the week", "by_weekday", "weekday", "trips", "trips"),
        ResultChart(
            "Zones with the most pick-ups",
            "top_zones",
            "zone",
            "trips",
            "trips",
            show_label="zone {}".format,
            label_kind=int,
        ),
    ),
)
