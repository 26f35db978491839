"""The limits of result checks: one YAML file per job in `include/checks/`; unknown keys are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from confidential_spark.core import strict_yaml
from confidential_spark.core.errors import ConfigurationError, InputError
from confidential_spark.core.months import Month
from confidential_spark.jobs.nytaxi.summary import COUNT_RULES, REJECT_RULES

if TYPE_CHECKING:
    from pathlib import Path

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class _Limits(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class TrailingLimits(_Limits):
    """How a month is compared with the months published before it."""

    months: Annotated[int, Field(ge=1, le=120)]
    at_least: Annotated[int, Field(ge=3, le=120)]
    max_z_score: Annotated[float, Field(gt=0, allow_inf_nan=False)]

    @model_validator(mode="after")
    def _enough(self) -> Self:
        if self.at_least > self.months:
            raise ValueError(f"at_least ({self.at_least}) is more than months ({self.months})")
        return self


class NytaxiLimits(_Limits):
    """Limits of `nytaxi.yaml`; shares are of all input rows."""

    job: Literal["nytaxi"]
    max_reject_share: Share
    max_rule_share: Annotated[dict[str, Share], Field(min_length=1)]
    zones_since: str
    trailing: TrailingLimits

    @field_validator("max_rule_share")
    @classmethod
    def _known_rules(cls, value: dict[str, float]) -> dict[str, float]:
        if unknown := sorted(set(value) - {*REJECT_RULES, *COUNT_RULES}):
            raise ValueError(f"no such rule: {', '.join(unknown)}")
        return value

    @field_validator("zones_since")
    @classmethod
    def _month(cls, value: str) -> str:
        try:
            return str(Month.parse(value))
        except InputError as error:
            raise ValueError(error.message) from error


class SparkPiLimits(_Limits):
    """Limits of `sparkpi.yaml`: the estimate's error × √samples."""

    job: Literal["sparkpi"]
    max_error_times_root: Annotated[float, Field(gt=0, allow_inf_nan=False)]


Limits = NytaxiLimits | SparkPiLimits
_ANY_LIMITS: TypeAdapter[Limits] = TypeAdapter(Annotated[Limits, Field(discriminator="job")])


def load_limits(path: Path) -> Limits:
    """Read one job's limits.

    :raises ConfigurationError: ``checks-unreadable``, ``checks-invalid``.
    """
    try:
        with path.open("rb") as file:
            value = strict_yaml.loads(file.read(strict_yaml.MAX_BYTES + 1))
        return _ANY_LIMITS.validate_python(value)
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors(include_url=False)
        ]
        raise ConfigurationError(
            f"{path.name} is not a valid limits file: {'; '.join(problems[:5])}",
            code="checks-invalid",
            got=error.errors()[0]["input"],
            expected="the keys of the file as shipped, shares from 0 to 1",
            action=f"correct {path}",
        ) from error
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            "The limits of the result checks cannot be read.",
            code="checks-unreadable",
            got=f"{path}: {error}",
            expected="plain YAML",
            action="restore the file from include/checks",
        ) from error
