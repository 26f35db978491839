"""The checks of a SparkPi run: is the estimate what its own counts say, and near π?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from confidential_spark.jobs.checks.result import CheckResult
from confidential_spark.jobs.nytaxi.summary import (
    MAX_SUMMARY_BYTES,
    Count,
    RowCounts,
    read_json,
    schema_error,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from confidential_spark.jobs.checks.limits import SparkPiLimits

SAMPLES_PER_PARTITION = 200_000


class Summary(BaseModel):
    """`summary.json` of job sparkpi."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    v: Literal[1]
    job: Literal["sparkpi"]
    pi: Annotated[float, Field(strict=True, allow_inf_nan=False)]
    samples: Annotated[int, Field(strict=True, gt=0)]
    inside: Count
    rows: RowCounts
    duration_ms: Count


@dataclass(frozen=True)
class PiUnderCheck:
    """One estimate and what it must agree with."""

    results_dir: Path
    predicate: Mapping[str, Any]
    limits: SparkPiLimits

    @cached_property
    def summary(self) -> Summary:
        """The summary.

        :raises ResultError: it is missing or malformed.
        """
        path = self.results_dir / "summary.json"
        try:
            return Summary.model_validate(read_json(path, MAX_SUMMARY_BYTES))
        except ValidationError as error:
            raise schema_error("summary", path.name, error) from error


def check_summary(subject: PiUnderCheck) -> Iterator[CheckResult]:
    """Does the summary have its shape, and follow from its own counts?"""
    summary = subject.summary
    yield CheckResult.compare("summary_schema", summary.v, 1, "summary.json, every member and type")
    rows = {"input": summary.samples, "accepted": summary.samples, "rejected": 0}
    yield CheckResult.compare("rows_accounted", summary.rows.model_dump(), rows, "every sample is a row")
    yield CheckResult.compare(
        "pi_follows", summary.pi, 4 * summary.inside / summary.samples, "4 × inside / samples"
    )


def check_estimate(subject: PiUnderCheck) -> Iterator[CheckResult]:
    """Is the estimate as near to π as its number of samples allows?"""
    summary = subject.summary
    limit = subject.limits.max_error_times_root / math.sqrt(summary.samples)
    yield CheckResult.at_most("pi_error", abs(summary.pi - math.pi), limit, f"{summary.samples:,} samples")


def check_statement(subject: PiUnderCheck) -> Iterator[CheckResult]:
    """Does the verified statement say the same as the results?"""
    predicate, summary = subject.predicate, subject.summary
    yield CheckResult.compare("statement_rows", dict(predicate["rows"]), summary.rows.model_dump())
    wanted = ["--partitions", f"{summary.samples / SAMPLES_PER_PARTITION:g}"]
    yield CheckResult.compare("statement_arguments", list(predicate["job"]["arguments"]), wanted)


CHECKS: Mapping[str, Callable[[PiUnderCheck], Iterator[CheckResult]]] = {
    "summary": check_summary,
    "estimate": check_estimate,
    "statement": check_statement,
}
