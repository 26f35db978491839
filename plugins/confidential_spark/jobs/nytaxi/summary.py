"""The published form of one month: names and shapes of `docs/results.md`, read strictly."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from confidential_spark.core.errors import ResultError

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

MEASURES = ("trips", "revenue_cents", "fare_cents", "tip_cents", "distance_millimiles", "duration_s")
RATIOS = ("tip_share", "speed_mph")
PAYMENT_TYPES = ("credit", "cash", "no_charge", "dispute", "unknown", "voided")
REJECT_RULES = (
    *("pickup_time_missing", "pickup_outside_month", "dropoff_time_missing", "dropoff_before_pickup"),
    *("duration_over_6h", "amount_unusable", "fare_negative", "amount_outlier", "distance_unusable"),
)
COUNT_RULES = (
    *("distance_zero", "duration_zero", "passengers_zero", "passengers_missing", "vendor_missing"),
    *("payment_missing", "vendor_payment_passengers_missing", "payment_unrecognised"),
    *("pickup_zone_missing", "pickup_zone_unknown", "pickup_zone_invalid"),
    *("dropoff_zone_missing", "dropoff_zone_unknown", "dropoff_zone_invalid"),
)
# Table → its key column and the key's type.
TABLES = {
    "by_hour": ("hour", "int32"),
    "by_pickup_zone": ("zone", "int32"),
    "by_payment_type": ("payment_type", "string"),
}
MAX_SUMMARY_BYTES = 1024 * 1024
MAX_TABLE_BYTES = 16 * 1024 * 1024

Count = Annotated[int, Field(strict=True, ge=0)]
Whole = Annotated[int, Field(strict=True)]
Ratio = Annotated[float, Field(strict=True, allow_inf_nan=False)] | None
Instant = Annotated[
    str, Field(strict=True, pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$")
]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RowCounts(_Strict):
    """Input rows and what became of them."""

    input: Count
    accepted: Count
    rejected: Count


class Totals(_Strict):
    """Sums over accepted rows: cents, thousandths of a mile, seconds."""

    trips: Count
    revenue_cents: Whole
    fare_cents: Whole
    tip_cents: Whole
    distance_millimiles: Count
    duration_s: Count
    tip_share: Ratio
    speed_mph: Ratio


class AllRows(_Strict):
    """Sums over every input row."""

    rows: Count
    revenue_cents: Whole
    fare_cents: Whole
    tip_cents: Whole


class RuleCount(_Strict):
    """How many rows a rule met, and how many it was the first to reject."""

    name: str
    action: Literal["reject", "count"]
    rows: Count
    first: Count | None = None


class JobOptions(_Strict):
    """What the run asked for."""

    outlier_cap_cents: Count


class Summary(_Strict):
    """`summary.json` of job nytaxi."""

    v: Literal[1]
    job: Literal["nytaxi"]
    month: str
    rows: RowCounts
    totals: Totals
    all_rows: AllRows
    first_pickup: Instant
    last_pickup: Instant
    rules: tuple[RuleCount, ...]
    options: JobOptions
    duration_ms: Count

    def measures(self) -> dict[str, int]:
        """Return the exact sums, without the ratios."""
        return {name: getattr(self.totals, name) for name in MEASURES}


def read_summary(path: Path) -> Summary:
    """Read `summary.json`.

    :raises ResultError: ``summary-unreadable``, ``summary-schema``.
    """
    value = read_json(path, MAX_SUMMARY_BYTES)
    try:
        return Summary.model_validate(value)
    except ValidationError as error:
        raise schema_error("summary", path.name, error) from error


def read_json(path: Path, max_bytes: int) -> Any:
    """Read a bounded JSON file.

    :raises ResultError: ``summary-unreadable``.
    """
    try:
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
        if len(content) > max_bytes:
            raise ValueError(f"more than {max_bytes} bytes")
        return json.loads(content, parse_constant=_refuse_constant)
    except (OSError, ValueError, RecursionError) as error:
        raise ResultError(
            f"{path.name} cannot be read.", code="summary-unreadable", got=str(error), expected="a JSON file"
        ) from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def schema_error(what: str, source: str, error: ValidationError) -> ResultError:
    """Return one error that names each wrong member of a document."""
    problems = [
        f"{'.'.join(map(str, e['loc'])) or 'document'}: {e['msg']}" for e in error.errors(include_url=False)
    ]
    return ResultError(
        f"{source} does not have the documented shape.",
        code=f"{what}-schema",
        got="; ".join(problems[:5]),
        expected="docs/results.md",
    )


def read_table(path: Path, key: str, key_type: str) -> list[dict[str, Any]]:
    """Read one result table with exactly the documented columns.

    :raises ResultError: ``table-unreadable``, ``table-schema``.
    """
    import pyarrow as pa  # 0.1 s that a DAG file must not pay
    import pyarrow.parquet as pq

    expected = {key: key_type} | dict.fromkeys(MEASURES, "int64") | dict.fromkeys(RATIOS, "double")
    try:
        if path.stat().st_size > MAX_TABLE_BYTES:
            raise ValueError(f"more than {MAX_TABLE_BYTES} bytes")
        # ParquetFile, because read_table would add columns from "month=" in the folder's name.
        with pq.ParquetFile(path) as file:
            table = file.read()
    except (OSError, ValueError, pa.ArrowException) as error:
        raise ResultError(
            f"{path.name} cannot be read.", code="table-unreadable", got=str(error), expected="a Parquet file"
        ) from error
    if problems := _column_problems(table, expected):
        raise ResultError(
            f"{path.name} does not have the documented columns.",
            code="table-schema",
            got="; ".join(problems),
            expected=", ".join(expected),
        )
    return list(table.to_pylist())


def _column_problems(table: pa.Table, expected: dict[str, str]) -> list[str]:
    names = table.column_names
    found = {field.name: str(field.type) for field in table.schema}
    nullable = {name for name in found if name in RATIOS}
    return [
        *(f"{name} is missing" for name in expected if name not in found),
        *(f"{name} is unexpected" for name in found if name not in expected),
        *(f"{name} occurs twice" for name in found if names.count(name) > 1),
        *(
            f"{n} is {found[n]} instead of {kind}"
            for n, kind in expected.items()
            if found.get(n, kind) != kind
        ),
        *(
            f"{n} has nulls"
            for n in found
            if n not in nullable and names.count(n) == 1 and table[n].null_count
        ),
    ]
