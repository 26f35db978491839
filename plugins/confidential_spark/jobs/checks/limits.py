"""The limits of result checks: one YAML file per job in `include/checks/`; unknown keys are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from confidential_spark.core import strict_yaml
from confidential_spark.core.errors import ConfigurationError, InputError
from confidential_spark.core.months import Month

if TYPE_CHECKING:
    from pathlib import Path

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]

Hour = Annotated[int, Field(ge=0, le=23)]


def _month(value: str) -> str:
    try:
        return str(Month.parse(value))
    except InputError as error:
        raise ValueError(error.message) from error


MonthText = Annotated[str, AfterValidator(_month)]


class Limits(BaseModel):
    """A part of a limits file: unknown keys are refused, and nothing is converted."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class JobLimits(Limits):
    """A limits file; each job's own model narrows ``job`` to its name."""

    job: str


LimitsT = TypeVar("LimitsT", bound=JobLimits)


def load_limits(path: Path, model: type[LimitsT]) -> LimitsT:
    """Read one job's limits.

    :raises ConfigurationError: ``checks-unreadable``, ``checks-invalid``.
    """
    try:
        with path.open("rb") as file:
            value = strict_yaml.loads(file.read(strict_yaml.MAX_BYTES + 1))
        return model.model_validate(value)
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
