"""The result files of a job, read strictly: `summary.json` by a model, tables by their exact columns."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from confidential_spark.core.errors import ResultError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    import pyarrow as pa

MAX_SUMMARY_BYTES = 1024 * 1024
MAX_TABLE_BYTES = 16 * 1024 * 1024

Count = Annotated[int, Field(strict=True, ge=0)]
Whole = Annotated[int, Field(strict=True)]
Real = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Instant = Annotated[
    str, Field(strict=True, pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$")
]


class Strict(BaseModel):
    """A part of a summary: unknown members are refused, and nothing is converted."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class RowCounts(Strict):
    """Input rows and what became of them."""

    input: Count
    accepted: Count
    rejected: Count


class JobSummary(Strict):
    """What the `summary.json` of every job has; the agent signs `rows`.

    :param input_version: the version of the input's table, where it has versions.
    """

    v: Literal[1]
    job: str
    input_version: str = ""
    rows: RowCounts
    duration_ms: Count


SummaryT = TypeVar("SummaryT", bound=JobSummary)


def read_summary(path: Path, model: type[SummaryT]) -> SummaryT:
    """Read `summary.json`.

    :raises ResultError: ``summary-unreadable``, ``summary-schema`` with each wrong member.
    """
    value = read_json(path)
    try:
        return model.model_validate(value)
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, e['loc'])) or 'document'}: {e['msg']}"
            for e in error.errors(include_url=False)
        ]
        raise ResultError(
            f"{path.name} does not have the documented shape.",
            code="summary-schema",
            got="; ".join(problems[:5]),
            expected="docs/results.md",
        ) from error


def read_json(path: Path) -> dict[str, Any]:
    """Read a bounded JSON object.

    :raises ResultError: ``summary-unreadable``.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_SUMMARY_BYTES + 1)
        if len(content) > MAX_SUMMARY_BYTES:
            raise ValueError(f"more than {MAX_SUMMARY_BYTES} bytes")
        value = json.loads(content, parse_constant=_refuse_constant)
        if not isinstance(value, dict):
            raise ValueError(f"{type(value).__name__} instead of an object")
        return value
    except (OSError, ValueError, RecursionError) as error:
        raise ResultError(
            f"{path.name} cannot be read.", code="summary-unreadable", got=str(error), expected="a JSON file"
        ) from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def read_table(
    path: Path, columns: Mapping[str, str], nullable: Collection[str] = ()
) -> list[dict[str, Any]]:
    """Read one result table with exactly the documented columns.

    :param columns: name → Arrow type, e.g. ``int64``.
    :param nullable: the columns that may have nulls.
    :raises ResultError: ``table-unreadable``, ``table-schema``.
    """
    import pyarrow as pa  # 0.1 s that a DAG file must not pay
    import pyarrow.parquet as pq

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
    if problems := _column_problems(table, columns, nullable):
        raise ResultError(
            f"{path.name} does not have the documented columns.",
            code="table-schema",
            got="; ".join(problems),
            expected=", ".join(columns),
        )
    return list(table.to_pylist())


def _column_problems(table: pa.Table, expected: Mapping[str, str], nullable: Collection[str]) -> list[str]:
    names = table.column_names
    found = {field.name: str(field.type) for field in table.schema}
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
