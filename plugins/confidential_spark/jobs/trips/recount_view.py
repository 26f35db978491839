"""The trips of a month as the recounts in DuckDB read them: one view of each file, whatever it looks like.

The versions of the table are told here by the names of the pick-up time and of the zone, as `docs/results.md`
lists them, and not by what the job or the preflight made of the files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import duckdb

TRIPS_VIEW = "trips"
RATE_CODE = "rateCodeId"
# A column of the view → its names, the first that the file has. One that it has none of is null.
NAMES: Mapping[str, tuple[str, ...]] = {
    "vendorID": ("vendorID", "vendor_id", "vendor_name"),
    "tpepPickupDateTime": (
        *("tpepPickupDateTime", "tpep_pickup_datetime", "pickup_datetime", "Trip_Pickup_DateTime"),
    ),
    "tpepDropoffDateTime": (
        *("tpepDropoffDateTime", "tpep_dropoff_datetime", "dropoff_datetime", "Trip_Dropoff_DateTime"),
    ),
    "passengerCount": ("passengerCount", "passenger_count"),
    "tripDistance": ("tripDistance", "trip_distance"),
    "puLocationId": ("puLocationId",),
    "doLocationId": ("doLocationId",),
    RATE_CODE: ("rateCodeId", "rate_code", "Rate_Code"),
    "paymentType": ("paymentType", "payment_type"),
    "fareAmount": ("fareAmount", "fare_amount", "Fare_Amt"),
    "tipAmount": ("tipAmount", "tip_amount", "Tip_Amt"),
    "totalAmount": ("totalAmount", "total_amount", "Total_Amt"),
}
AMOUNTS = ("tripDistance", "fareAmount", "tipAmount", "totalAmount")
WHOLE_TYPES = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT")
TIMES = ("tpepPickupDateTime", "tpepDropoffDateTime")
# Text of any other form is no time; the cast alone would accept dates, zones and single digits.
TEXT_TIME = """CASE
    WHEN regexp_full_match({0}, '[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}} ([01][0-9]|2[0-3])(:[0-9]{{2}}){{2}}')
    THEN TRY_CAST({0} AS TIMESTAMP) END"""
# NaN is no number, and one that is not whole is none of the codes.
WHOLE = """CASE WHEN isnan({0}) THEN NULL WHEN {0} = floor({0}) AND abs({0}) < 1e9 THEN CAST({0} AS BIGINT)
    WHEN {0} IS NOT NULL THEN -1 END"""

COUNT = "CASE WHEN NOT isnan({0}) THEN {0} END"


def create_trips_view(connection: duckdb.DuckDBPyConnection, file: Path) -> None:
    """Create the view `trips` over one of a month's files, in the place of the one before.

    DuckDB keeps buffers for each file of a query: the memory of a view over all files would grow with them.

    Its columns have the names of Azure's layout: times TIMESTAMP (UTC), distance and amounts DOUBLE, ids and
    codes VARCHAR or whole numbers, as the files have them. What a version does not have is null, and so is
    `rateCodeId`, a number, where the files have none that can be read: no job reads it.
    """
    found = connection.read_parquet(str(file), hive_partitioning=False)
    # DuckDB gives another name to the second of two columns whose names differ by case only.
    names = dict(zip(_top_level(connection, str(file)), found.columns, strict=True))
    types = dict(zip(found.columns, map(str, found.types), strict=True))
    columns = []
    for name, sources in NAMES.items():
        column = names.get(_spelling(names, sources), "")
        if name == RATE_CODE and not _can_be_read(found, column):
            column = ""
        value = f'"{column}"' if column else "NULL"
        columns.append(f'{_value(name, value, types.get(column, ""))} AS "{name}"')
    found.project(", ".join(columns)).create_view(TRIPS_VIEW, replace=True)


def _can_be_read(found: duckdb.DuckDBPyRelation, column: str) -> bool:
    """Return whether a column can be read that has not been looked at before: it may be encrypted."""
    import duckdb  # 0.3 s that a DAG file must not pay

    try:
        return bool(column and found.aggregate(f'count("{column}")').fetchall())
    except duckdb.Error:
        return False


def _top_level(connection: duckdb.DuckDBPyConnection, file: str) -> Iterator[str]:
    """Yield the names of the columns, without what is nested in them."""
    query = "SELECT name, num_children FROM parquet_schema($file)"
    rows = iter(connection.execute(query, {"file": file}).fetchall()[1:])
    for name, children in rows:
        yield name
        left = children or 0
        while left:
            left += (next(rows)[1] or 0) - 1


def _spelling(names: Mapping[str, str], sources: Sequence[str]) -> str:
    """Return a column's name in the file: exactly one of the sources, or one in another case."""
    for source in sources:
        if source in names:
            return source
    folded = {source.casefold() for source in sources}
    return next((name for name in names if name.casefold() in folded), "")


def _value(name: str, value: str, kind: str) -> str:
    """Return what a column of a type says."""
    if name in TIMES:
        return _time(value, kind)
    if name in AMOUNTS:
        return f"CAST({value} AS DOUBLE)"
    if kind in ("DOUBLE", "FLOAT"):
        # Codes name something, while passengers are only compared with 0.
        return (COUNT if name == "passengerCount" else WHOLE).format(value)
    return (
        f"TRY_CAST(CAST({value} AS VARCHAR) AS BIGINT)"
        if name == RATE_CODE and kind not in WHOLE_TYPES
        else value
    )


def _time(value: str, kind: str) -> str:
    if kind == "VARCHAR":
        return TEXT_TIME.format(value)
    if kind.endswith("_NS"):
        return f"make_timestamp(epoch_ns({value}) // 1000 - CAST(epoch_ns({value}) % 1000 < 0 AS BIGINT))"
    return value if kind == "TIMESTAMP" else f"make_timestamp(epoch_us({value}))"
