"""The checks' own recount of a month in DuckDB: `recounted MONTH FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

from confidential_spark.core.months import Month
from confidential_spark.jobs.nytaxi.recount import recount

if __name__ == "__main__":
    counted = recount(sorted(Path(sys.argv[2]).glob("*.parquet")), Month.parse(sys.argv[1]), 100_000)
    print(counted.totals)
