"""A month's trips and revenue by hour, zone and payment type, without rules, proof or checks.

`engine_month duckdb|polars FOLDER`: what one would write who only wants the figures. It does less than the
job, so the ratio to it is an upper bound.
"""

from __future__ import annotations

import sys

KEYS = {"hour": "tpepPickupDateTime", "zone": "puLocationId", "payment": "paymentType"}
SUMS = ("totalAmount", "fareAmount", "tipAmount", "tripDistance")


def by_duckdb(folder: str) -> int:
    """Return the number of groups."""
    import duckdb

    sums = ", ".join(f"sum({name})" for name in SUMS)
    query = f"""
        SELECT hour("tpepPickupDateTime"), "puLocationId", "paymentType", count(*), {sums}
        FROM read_parquet('{folder}/*.parquet') GROUP BY ALL"""  # noqa: S608 - own names
    with duckdb.connect(config={"threads": 2}) as connection:
        return len(connection.execute(query).fetchall())


def by_polars(folder: str) -> int:
    """Return the number of groups."""
    import polars as pl

    trips = pl.scan_parquet(f"{folder}/*.parquet", hive_partitioning=False)
    hour = pl.col("tpepPickupDateTime").dt.hour().alias("hour")
    grouped = trips.group_by(hour, "puLocationId", "paymentType").agg(pl.len(), *map(pl.sum, SUMS))
    return grouped.collect(engine="streaming").height


if __name__ == "__main__":
    print({"duckdb": by_duckdb, "polars": by_polars}[sys.argv[1]](sys.argv[2]), "groups")
