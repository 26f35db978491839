"""The published form of one month: names and shapes of `docs/results.md`, read strictly."""

from __future__ import annotations

from typing import Literal

from confidential_spark.jobs.checks.files import Count, Instant, JobSummary, Real, Strict, Whole

MEASURES = ("trips", "revenue_cents", "fare_cents", "tip_cents", "distance_millimiles", "duration_s")
RATIOS = ("tip_share", "speed_mph")
PAYMENT_TYPES = ("credit", "cash", "no_charge", "dispute", "unknown", "voided", "flex_fare")
REJECT_RULES = (
    *("pickup_time_missing", "pickup_outside_month", "dropoff_time_missing", "dropoff_before_pickup"),
    *("duration_over_6h", "amount_unusable", "fare_negative", "amount_outlier", "distance_unusable"),
)
COUNT_RULES = (
    *("distance_zero", "duration_zero", "passengers_zero", "passengers_missing", "vendor_missing"),
    *("payment_missing", "vendor_payment_passengers_missing", "payment_unrecognised"),
    "payment_flex_fare",
    *("pickup_zone_missing", "pickup_zone_unknown", "pickup_zone_invalid"),
    *("dropoff_zone_missing", "dropoff_zone_unknown", "dropoff_zone_invalid"),
)
# Table → its key column and the key's type.
TABLES = {
    "by_hour": ("hour", "int32"),
    "by_pickup_zone": ("zone", "int32"),
    "by_payment_type": ("payment_type", "string"),
}


class Totals(Strict):
    """Sums over accepted rows: cents, thousandths of a mile, seconds."""

    trips: Count
    revenue_cents: Whole
    fare_cents: Whole
    tip_cents: Whole
    distance_millimiles: Count
    duration_s: Count
    tip_share: Real | None
    speed_mph: Real | None


class AllRows(Strict):
    """Sums over every input row."""

    rows: Count
    revenue_cents: Whole
    fare_cents: Whole
    tip_cents: Whole


class RuleCount(Strict):
    """How many rows a rule met, and how many it was the first to reject."""

    name: str
    action: Literal["reject", "count"]
    rows: Count
    first: Count | None = None


class JobOptions(Strict):
    """What the run asked for."""

    outlier_cap_cents: Count


class Summary(JobSummary):
    """`summary.json` of job nytaxi."""

    job: Literal["nytaxi"]
    month: str
    totals: Totals
    all_rows: AllRows
    first_pickup: Instant
    last_pickup: Instant
    rules: tuple[RuleCount, ...]
    options: JobOptions

    def measures(self) -> dict[str, int]:
        """Return the exact sums, without the ratios."""
        return {name: getattr(self.totals, name) for name in MEASURES}
