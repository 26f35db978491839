"""The limits of `include/checks/nytaxi.yaml`: what a month usually looks like, and where an era differs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from confidential_spark.core.months import Month
from confidential_spark.jobs.checks.limits import Hour, JobLimits, Limits, MonthText, Positive, Share
from confidential_spark.jobs.nytaxi.summary import COUNT_RULES, PAYMENT_TYPES, REJECT_RULES
from confidential_spark.jobs.trips.month_profile import VENDORS

if TYPE_CHECKING:
    from collections.abc import Collection

MEANS = ("fare_cents", "fare_cents_per_mile", "speed_mph", "tip_share")

Count = Annotated[int, Field(ge=1)]
Range = Annotated[tuple[Positive, Positive], Field(strict=False)]


def _require_known(names: object, known: tuple[str, ...]) -> None:
    if unknown := sorted(set(names) - set(known)):  # type: ignore[call-overload] # keys of a mapping
        raise ValueError(f"no such name: {', '.join(unknown)}; known: {', '.join(known)}")


class MonthLimits(Limits):
    """What a month may look like; shares are 0 to 1, of all input rows unless `nytaxi.yaml` says of what."""

    max_reject_share: Share
    max_rule_share: Annotated[dict[str, Share], Field(min_length=1)]
    max_equal_row_share: Share
    max_vendor_unrecognised_share: Share
    max_rate_code_unrecognised_share: Share
    max_zone_share: Share
    min_day_share: Share
    min_vendor_share: dict[str, Share]
    min_payment_share: dict[str, Share]
    quietest_hours: Annotated[tuple[Hour, ...], Field(min_length=1, strict=False)]
    trips_by_hour: Annotated[tuple[Count, ...], Field(min_length=24, max_length=24, strict=False)] | None
    mean: dict[str, Range]

    @model_validator(mode="after")
    def _known_names(self) -> Self:
        _require_known(self.max_rule_share, (*REJECT_RULES, *COUNT_RULES))
        _require_known(self.min_vendor_share, tuple(VENDORS))
        _require_known(self.min_payment_share, PAYMENT_TYPES)
        _require_known(self.mean, MEANS)
        return self

    @field_validator("mean")
    @classmethod
    def _ordered(cls, value: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
        if reversed_ := [name for name, (low, high) in value.items() if low > high]:
            raise ValueError(f"from the lower to the higher: {', '.join(reversed_)}")
        return value


class Era(Limits):
    """Months in which the records differ from the usual.

    :param until: its last month; None for an era that lasts.
    :param because: why they differ, for people.
    :param limits: the members of :class:`MonthLimits` that differ, and of its mappings the keys that differ.
    """

    since: MonthText
    until: MonthText | None = None
    because: Annotated[str, Field(min_length=1)]
    limits: Annotated[dict[str, Any], Field(min_length=1)]

    def holds(self, month: Month) -> bool:
        """Return whether a month lies in the era."""
        return Month.parse(self.since) <= month and (self.until is None or month <= Month.parse(self.until))


class TrailingLimits(Limits):
    """How a month is compared with the months published before it."""

    months: Annotated[int, Field(ge=1, le=120)]
    at_least: Annotated[int, Field(ge=3, le=120)]
    max_z_score: Positive

    @model_validator(mode="after")
    def _enough(self) -> Self:
        if self.at_least > self.months:
            raise ValueError(f"at_least ({self.at_least}) is more than months ({self.months})")
        return self


class Sample(Limits):
    """From how many rows on a month has a shape.

    :param rows: for vendors, payments, zones and means.
    :param rows_by_clock: for clocks, of all meters or of one vendor's.
    :param rows_of_a_month: for missing days; also where ``days_of_a_month`` have ``trips_per_day`` each.
    """

    rows: Count
    rows_by_clock: Count
    rows_of_a_month: Count
    days_of_a_month: Annotated[int, Field(ge=1, le=28)]
    trips_per_day: Count

    def has_days(self, trips: Collection[int]) -> bool:
        """Return whether a day without a trip is no chance.

        :param trips: of each day that has any.
        """
        rows, days = sum(trips), len(trips)
        many = rows >= self.rows_of_a_month
        return many or (days >= self.days_of_a_month and rows >= days * self.trips_per_day)


class NytaxiLimits(JobLimits):
    """Limits of `nytaxi.yaml`.

    :param judged_from: the shape of fewer rows is chance, and is not judged.
    """

    job: Literal["nytaxi"]
    judged_from: Sample
    usual: MonthLimits
    eras: tuple[Era, ...] = Field(strict=False)
    trailing: TrailingLimits

    @model_validator(mode="after")
    def _valid_eras(self) -> Self:
        for era in self.eras:
            if era.until is not None and Month.parse(era.until) < Month.parse(era.since):
                raise ValueError(f"era of {era.since} ends before it begins")
            _changed(self.usual, era)
        return self

    def of(self, month: Month) -> MonthLimits:
        """Return what holds for a month: the usual limits, changed by each era that it lies in, in order."""
        limits = self.usual
        for era in self.eras:
            if era.holds(month):
                limits = _changed(limits, era)
        return limits


def _changed(limits: MonthLimits, era: Era) -> MonthLimits:
    members = limits.model_dump()
    for name, value in era.limits.items():
        old = members.get(name)
        members[name] = old | value if isinstance(old, dict) and isinstance(value, dict) else value
    return MonthLimits.model_validate(members)
