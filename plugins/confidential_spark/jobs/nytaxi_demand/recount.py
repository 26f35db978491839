"""An independent recount of one month with DuckDB, from the same input files and `docs/results.md` alone."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from confidential_spark.jobs.checks.recounting import recounting
from confidential_spark.jobs.trips.recount_view import create_trips_view

if TYPE_CHECKING:
    from collections.abc import Sequence

    from confidential_spark.core.months import Month

# isfinite is needed: Parquet statistics leave NaN out, and DuckDB drops comparisons that they decide.
UNITS = (
    "CREATE TEMP MACRO units(x, per_one, below) AS"
    " CASE WHEN isfinite(x) AND abs(x) < below THEN CAST(floor(x * per_one + 0.5) AS BIGINT) END"
)


def recount(files: Sequence[Path], month: Month, outlier_cap_cents: int) -> dict[tuple[int, int], int]:
    """Return the accepted trips of each day and zone.

    :raises ResultError: ``recount-failed``.
    """
    parameters = {
        "starts_at": month.first_second,
        "ends_at": month.shift(1).first_second,
        "cap": outlier_cap_cents,
    }
    query = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
    counted = Counter[tuple[int, int]]()
    with recounting() as connection:
        connection.execute(UNITS)
        for file in files:
            create_trips_view(connection, file)
            for day, zone, trips in connection.execute(query, parameters).fetchall():
                counted[day, zone] += trips
    return dict(sorted(counted.items()))
