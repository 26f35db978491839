"""The trips of a month as the recounts in DuckDB read them: one view, whatever the files look like."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import duckdb

TRIPS_VIEW = "trips"


def create_trips_view(connection: duckdb.DuckDBPyConnection, files: Sequence[Path]) -> None:
    """Create the view `trips` over a month's files, for every query of the connection.

    Its columns have the names of Azure's layout; `rateCodeId` is null where the files have none.
    """
    found = connection.read_parquet(
        [str(file) for file in files], hive_partitioning=False, union_by_name=True
    )
    names = {name.casefold() for name in found.columns}
    rate_code = "" if "ratecodeid" in names else ', NULL::INTEGER AS "rateCodeId"'
    found.project(f"*{rate_code}").create_view(TRIPS_VIEW)
