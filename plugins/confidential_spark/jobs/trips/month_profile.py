"""The shape of a month of trips, by DuckDB from the input: days, vendors' clocks, rows that occur twice."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from math import sqrt
from typing import TYPE_CHECKING, TypeVar

from confidential_spark.jobs.checks.recounting import recounting
from confidential_spark.jobs.trips.recount_view import create_trips_view

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from confidential_spark.core.months import Month

KeyT = TypeVar("KeyT")

# Vendor → its codes: the TLC's data dictionary, and the words of 2009 to 2014. Curb was VeriFone (VTS). The
# dictionary does not name code 4, which 0.1 to 1.6 % of the rows of July 2018 to July 2019 have.
VENDORS: Mapping[str, tuple[str, ...]] = {
    "creative_mobile": ("1", "CMT"),
    "curb": ("2", "VTS"),
    "digital_dispatch": ("3", "DDS"),
    "code_4": ("4",),
    "myle": ("6",),
    "helix": ("7",),
}
# The dictionary's: standard, JFK, Newark, Nassau or Westchester, negotiated, group ride, 99 not known.
RATE_CODES = (1, 2, 3, 4, 5, 6, 99)
MISSING, UNRECOGNISED = "missing", "unrecognised"
QUIET_HOURS = 4
# So much fewer trips than the hours where the night should be, and fewer than by chance, make another night.
QUIETER_BY = 1.1
# Rows whose equality is looked for; of more, an equal share by content is.
COMPARED_ROWS = 1_000_000

_KNOWN = " ".join(f"WHEN vendor IN {codes + codes[:1]!r} THEN '{name}'" for name, codes in VENDORS.items())
# Millions of rows have a few vendors: each text is judged once an hour.
_COUNTS = f"""
SELECT
    CASE {_KNOWN} WHEN vendor IS NULL THEN '{MISSING}' ELSE '{UNRECOGNISED}' END AS vendor,
    (hour - $starts_at // 3600) // 24 + 1 AS day,
    hour % 24 AS hour_of_day,
    sum(trips)
FROM (
    SELECT upper(trim(CAST("vendorID" AS VARCHAR))) AS vendor, hour, trips
    FROM (
        SELECT "vendorID", epoch_us("tpepPickupDateTime") // 3600000000 AS hour, count(*) AS trips
        FROM trips
        GROUP BY ALL
    )
)
WHERE hour >= $starts_at // 3600 AND hour < $ends_at // 3600
GROUP BY ALL
"""  # noqa: S608 - own names
_UNRECOGNISED_RATE_CODES = f'SELECT count(*) FROM trips WHERE "rateCodeId" NOT IN {RATE_CODES}'  # noqa: S608
# Codes are text in some files and numbers in others.
_DIGESTS = """
INSERT INTO digests
SELECT digest
FROM (
    SELECT hash(
        CAST("vendorID" AS VARCHAR), "tpepPickupDateTime", "tpepDropoffDateTime",
        CAST("passengerCount" AS DOUBLE), "tripDistance", CAST("puLocationId" AS VARCHAR),
        CAST("doLocationId" AS VARCHAR), CAST("paymentType" AS VARCHAR),
        "fareAmount", "tipAmount", "totalAmount"
    ) AS digest
    FROM trips
)
WHERE digest % CAST($one_in AS UBIGINT) = 0
"""
_EQUAL_ROWS = "SELECT count(*), count(DISTINCT digest) FROM digests"


@dataclass(frozen=True)
class Profile:
    """What a month of trips looks like.

    :param trips: (vendor, day of the month, hour of the day) → rows picked up then, rejected ones included.
    :param unrecognised_rate_codes: rows with a rate code that the TLC does not know.
    :param compared: rows that were compared with each other.
    :param repeated: those of them that another one equals.
    """

    trips: Mapping[tuple[str, int, int], int]
    unrecognised_rate_codes: int
    compared: int
    repeated: int

    @cached_property
    def vendors(self) -> Counter[str]:
        """Rows by vendor, without those of other months."""
        return _sum((vendor, trips) for (vendor, _, _), trips in self.trips.items())

    @cached_property
    def days(self) -> Counter[int]:
        """Rows by day of the month."""
        return _sum((day, trips) for (_, day, _), trips in self.trips.items())

    def hours(self, vendor: str | None = None) -> list[int]:
        """Return the rows of each hour of the day, of one vendor or of all."""
        hours = [0] * 24
        for (of, _, hour), trips in self.trips.items():
            if vendor in (None, of):
                hours[hour] += trips
        return hours


def night(hours: Sequence[int], allowed: Sequence[int]) -> tuple[int, bool]:
    """Return the hour in which the quietest four hours of the day begin, and whether it is the right one.

    :param hours: trips of each hour of the day.
    :param allowed: hours in which they may begin.
    """
    trips = [sum(hours[(hour + n) % 24] for n in range(QUIET_HOURS)) for hour in range(24)]
    fewest = min(trips)
    # Two standard deviations of the difference of two counts.
    chance = 1 + 2 * sqrt(2 / max(fewest, 1))
    is_right = sum(hours) > 0 and min(trips[hour] for hour in allowed) <= fewest * max(QUIETER_BY, chance)
    return trips.index(fewest), is_right


def _sum(counts: Iterable[tuple[KeyT, int]]) -> Counter[KeyT]:
    sums = Counter[KeyT]()
    for key, count in counts:
        sums[key] += count
    return sums


def profile(files: Sequence[Path], month: Month, rows: int) -> Profile:
    """Look at a month's input.

    :param rows: how many the files have.
    :raises ResultError: ``recount-failed``: the input can no longer be read, or memory does not suffice.
    """
    bounds = {"starts_at": month.first_second, "ends_at": month.shift(1).first_second}
    one_in = -(-rows // COMPARED_ROWS) or 1
    trips = Counter[tuple[str, int, int]]()
    rate_codes = 0
    with recounting() as connection:
        connection.execute("CREATE TEMP TABLE digests (digest UBIGINT)")
        for file in files:
            create_trips_view(connection, file)
            for vendor, day, hour, count in connection.execute(_COUNTS, bounds).fetchall():
                trips[vendor, day, hour] += int(count)
            ((unrecognised,),) = connection.execute(_UNRECOGNISED_RATE_CODES).fetchall()
            rate_codes += unrecognised
            connection.execute(_DIGESTS, {"one_in": one_in})
        ((compared, different),) = connection.execute(_EQUAL_ROWS).fetchall()
    return Profile(trips, rate_codes, compared, compared - different)
