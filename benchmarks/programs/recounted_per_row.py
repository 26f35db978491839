"""The recount as it was when its goal was set, one row after the other: `recounted_per_row MONTH FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

from confidential_spark.core.months import Month
from confidential_spark.jobs.checks.recounting import recounting

from tests.support.places import ROOT

QUERY = ROOT / "benchmarks" / "duckdb" / "recount_per_row.sql"

if __name__ == "__main__":
    month = Month.parse(sys.argv[1])
    parameters = {
        "files": sorted(map(str, Path(sys.argv[2]).glob("*.parquet"))),
        "starts_at": month.first_second,
        "ends_at": month.shift(1).first_second,
        "cap": 100_000,
    }
    *macros, counted = QUERY.read_text(encoding="utf-8").strip().removesuffix(";").split(";\n")
    with recounting() as connection:
        for macro in macros:
            connection.execute(macro)
        connection.execute(counted, parameters)
        sums = "sum(trips), sum(revenue_cents), sum(fare_cents), sum(tip_cents), sum(duration_s)"
        print(connection.execute(f"SELECT {sums} FROM recounted WHERE reason = 0").fetchone())  # noqa: S608
