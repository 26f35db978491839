"""Small trip files with chosen values."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

MONTH = "2018-05"
TYPES: dict[str, pa.DataType] = {
    "vendorID": pa.string(),
    "tpepPickupDateTime": pa.timestamp("us"),
    "tpepDropoffDateTime": pa.timestamp("us"),
    "passengerCount": pa.int32(),
    "tripDistance": pa.float64(),
    "puLocationId": pa.string(),
    "doLocationId": pa.string(),
    "paymentType": pa.string(),
    "fareAmount": pa.float64(),
    "tipAmount": pa.float64(),
    "totalAmount": pa.float64(),
}
TRIP: dict[str, Any] = {
    "vendorID": "2",
    "tpepPickupDateTime": datetime(2018, 5, 17, 8, 30, 15),
    "tpepDropoffDateTime": datetime(2018, 5, 17, 8, 45, 15),
    "passengerCount": 1,
    "tripDistance": 2.5,
    "puLocationId": "132",
    "doLocationId": "48",
    "paymentType": "1",
    "fareAmount": 11.5,
    "tipAmount": 2.35,
    "totalAmount": 14.65,
}
STORED = {
    "string": pa.string(),
    "int": pa.int32(),
    "bigint": pa.int64(),
    "smallint": pa.int16(),
    "tinyint": pa.int8(),
    "double": pa.float64(),
    "float": pa.float32(),
    "timestamp": pa.timestamp("us", tz="UTC"),
    "timestamp_ntz": pa.timestamp("ms"),
    "decimal": pa.decimal128(10, 2),
}
# Nobody asks for them, whatever their shape, their name and their types in two files.
OTHERS = {
    "a.parquet": {"VENDORID": pa.array([[{"x": 1}]]), "note": pa.array([b"\xff"])},
    "b.parquet": {"VENDORID": pa.array([None]), "note": pa.array([1.5])},
}
INT64 = {"use_deprecated_int96_timestamps": False}


def at(text: str) -> datetime:
    """Return a local time of the file."""
    return datetime.fromisoformat(text)


def write_trips(
    path: Path,
    changes: Sequence[Mapping[str, Any]],
    types: Mapping[str, pa.DataType] | None = None,
    **options: Any,
) -> Path:
    """Write one file with a trip per entry of ``changes``, and return its folder."""
    types = {**TYPES, **(types or {})}
    rows = [{**TRIP, **change} for change in changes]
    columns = {name: pa.array([row[name] for row in rows], kind) for name, kind in types.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, **({"use_deprecated_int96_timestamps": True} | options))
    return path.parent


def write_column(folder: Path, column: str, kind: str) -> Path:
    """Write two files with a usual trip each: one column in this type, and columns that no job declares."""
    folder.mkdir()
    value = TRIP[column] if kind == "string" or isinstance(TRIP[column], datetime) else float(TRIP[column])
    if kind == "string":
        value = str(value)
    for name, others in OTHERS.items():
        columns = {own: pa.array([TRIP[own]], stored) for own, stored in TYPES.items()}
        columns[column] = pa.array([value]).cast(STORED[kind])
        pq.write_table(pa.table(columns | others), folder / name, **INT64)
    return folder
