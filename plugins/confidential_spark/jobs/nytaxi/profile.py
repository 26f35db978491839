"""What a month of trips looks like, by DuckDB from the input files: days, vendors' clocks, rows that occur twice."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from confidential_spark.jobs.checks.recounting import recounting

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from confidential_spark.core.months import Month

# Vendor → its codes: the TLC's data dictionary, and the words of 2009 to 2014. Curb was VeriFone (VTS) until 2018.
# The dictionary does not name code 4, which 0.1 to 1.6 % of the rows of July 2018 to July 2019 have.
VENDORS: Mapping[str, tuple[str, ...]] = {
    "creative_mobile": ("1", "CMT"),
    "curb": ("2", "VTS"),
    "digital_dispatch": ("3", "DDS"),
    "code_4": ("4",),
    "myle": ("6",),
    "helix": ("7",),
}
MISSING, UNRECOGNISED = "missing", "unrecognised"
# Rows whose equality is looked for; of more, an equal share by content is.
COMPARED_ROWS = 1_000_000

_KNOWN = " ".join(f"WHEN vendor IN {codes + codes[:1]!r} THEN '{name}'" for name, codes in VENDORS.items())
_COUNTS = f"""
SELECT
    CASE {_KNOWN} WHEN vendor IS NULL THEN '{MISSING}' ELSE '{UNRECOGNISED}' END AS vendor,
    (pickup_s - $starts_at) // 86400 + 1 AS day,
    pickup_s // 3600 % 24 AS hour,
    count(*)
FROM (
    SELECT epoch_us("tpepPickupDateTime") // 1000000 AS pickup_s, upper(trim(CAST("vendorID" AS VARCHAR))) AS vendor
    FROM read_parquet($files, hive_partitioning = false, union_by_name = true)
)
WHERE pickup_s >= $starts_at AND pickup_s < $ends_at
GROUP BY ALL
"""  # noqa: S608 - own names
_EQUAL_ROWS = """
SELECT count(*), count(DISTINCT digest)
FROM (
    SELECT hash(
        "vendorID", "tpepPickupDateTime", "tpepDropoffDateTime", "passengerCount", "tripDistance",
        "puLocationId", "doLocationId", "paymentType", "fareAmount", "tipAmount", "totalAmount"
    ) AS digest
    FROM read_parquet($files, hive_partitioning = false, union_by_name = true)
)
WHERE digest % $one_in = 0
"""


@dataclass(frozen=True)
class Profile:
    """What a month of trips looks like.

    :param trips: (vendor, day of the month, hour of the day) → rows picked up then, rejected ones included.
    :param compared: rows that were compared with each other.
    :param repeated: those of them that another one equals.
    """

    trips: Mapping[tuple[str, int, int], int]
    compared: int
    repeated: int

    @cached_property
    def vendors(self) -> Counter[str]:
        """Rows by vendor, without those of other months."""
        return self._by(0)

    @cached_property
    def days(self) -> Counter[int]:
        """Rows by day of the month."""
        return self._by(1)

    def hours(self, vendor: str | None = None) -> list[int]:
        """Return the rows of each hour of the day, of one vendor or of all."""
        hours = [0] * 24
        for (of, _, hour), trips in self.trips.items():
            if vendor in (None, of):
                hours[hour] += trips
        return hours

    def _by(self, place: int) -> Counter[object]:
        sums = Counter[object]()
        for key, trips in self.trips.items():
            sums[key[place]] += trips
        return sums


def profile(files: Sequence[Path], month: Month, rows: int) -> Profile:
    """Look at a month's input.

    :param rows: how many the files have.
    :raises ResultError: ``recount-failed``: the input can no longer be read, or memory does not suffice.
    """
    source = {"files": [str(file) for file in files]}
    bounds = {"starts_at": month.first_second, "ends_at": month.shift(1).first_second}
    with recounting() as connection:
        counts = connection.execute(_COUNTS, source | bounds).fetchall()
        one_in = -(-rows // COMPARED_ROWS) or 1
        ((compared, different),) = connection.execute(_EQUAL_ROWS, source | {"one_in": one_in}).fetchall()
    trips = {(vendor, day, hour): count for vendor, day, hour, count in counts}
    return Profile(trips, compared, compared - different)
