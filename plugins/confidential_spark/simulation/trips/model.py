"""The synthetic month's model: its era's spellings and prices, its rhythm, and the rows of `trip_model.sql`.

DuckDB computes the rows, vectorised; a row depends only on month, seed and its number.
Sources: TLC data dictionary and fare history; shares and zone weights measured on real rows of 2018.
"""

from __future__ import annotations

import calendar
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from confidential_spark.core.months import Month

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa

SLOTS = 16_384
OUTLIER_FROM_ROWS = 1_000
LAST_MONTH_WITH_COORDINATES = Month(2016, 6)
MACROS = (
    "CREATE MACRO uniform(i, draw) AS"
    " (hash(getvariable('stream') + i * 64 + draw) >> 11) / 9007199254740992.0",
    "CREATE MACRO normal(i, draw) AS"
    " sqrt(-2 * ln(1 - uniform(i, draw))) * cos(2 * pi() * uniform(i, draw + 1))",
    "CREATE MACRO pick(choices, u) AS list_extract(choices, 1 + CAST(floor(len(choices) * u) AS INTEGER))",
    "CREATE MACRO dollars(cents) AS CAST(cents AS DOUBLE) / 100",
    # Real coordinates are 32-bit floats widened to 64; unknown positions are 0.
    "CREATE MACRO degrees(known, value) AS"
    " CASE WHEN known THEN CAST(CAST(value AS FLOAT) AS DOUBLE) ELSE 0 END",
)

# Trips by hour of the day (0–23) and by day of the week (Monday first), in thousandths of the busiest.
HOURS = (494, 339, 234, 176, 145, 150, 341, 562, 705, 709, 727, 769,
         807, 800, 857, 835, 775, 874, 1000, 950, 853, 866, 812, 675)  # fmt: skip
WEEKDAYS = (881, 923, 968, 995, 1000, 947, 826)
# The busiest pick-up zones, in trips per 120,000; the others share the rest.
BUSY_ZONES = {
    237: 4697, 236: 4593, 161: 4564, 162: 4218, 186: 4114, 230: 4105, 170: 3844, 48: 3748, 234: 3662,
    142: 3559, 79: 3325, 163: 3291, 239: 3135, 164: 2877, 107: 2835, 141: 2803, 68: 2803, 100: 2501,
}  # fmt: skip
OTHER_ZONE_WEIGHT = 190


@dataclass(frozen=True)
class Era:
    """What a month's records look like: spellings and prices (cents) changed over the years."""

    vendors: Sequence[str]
    card: Sequence[str]
    cash: Sequence[str]
    no_charge: Sequence[str]
    dispute: Sequence[str]
    flag_drop_cents: int
    unit_cents: int
    mta_cents: int
    improvement_cents: int
    toll_cents: int

    @classmethod
    def of(cls, month: Month) -> Era:
        """Return the era of ``month``."""
        vendors, card, cash, no_charge, dispute = _spellings(month)
        return cls(
            vendors=vendors,
            card=card,
            cash=cash,
            no_charge=no_charge,
            dispute=dispute,
            flag_drop_cents=300 if month >= Month(2022, 12) else 250,
            unit_cents=40 if month < Month(2012, 9) else 50 if month < Month(2022, 12) else 70,
            mta_cents=50 if month >= Month(2009, 11) else 0,
            improvement_cents=0 if month < Month(2015, 1) else 30 if month < Month(2022, 12) else 100,
            toll_cents=576 if month >= Month(2017, 1) else 554 if month >= Month(2015, 1) else 480,
        )


def _spellings(month: Month) -> tuple[Sequence[str], ...]:
    """Return the era's codes: vendors, then payment by card, in cash, no charge, dispute."""
    if month >= Month(2015, 1):
        return ("1", "1", "1", "1", "2", "2", "2", "2", "2", "2"), ("1",), ("2",), ("3",), ("4",)
    vendors = ("CMT", "VTS", "VTS", "CMT", "DDS")
    if month >= Month(2010, 1):
        return vendors, ("CRD", "CRD", "Cre"), ("CSH", "CSH", "CAS", "Cas"), ("NOC", "No "), ("DIS", "Dis")
    return vendors, ("Credit", "CREDIT"), ("CASH", "Cash"), ("No Charge",), ("Dispute",)


class TripModel:
    """Rows of one synthetic month.

    :param rows: rows of the whole month; each chunk asks for a part of them.
    """

    def __init__(self, month: Month, rows: int, seed: int) -> None:
        """Prepare a private in-memory DuckDB with the month's constants."""
        import duckdb  # 0.3 s that a DAG file must not pay

        self._connection = duckdb.connect(config={"threads": 2})
        for macro in MACROS:
            self._connection.execute(macro)
        for name, value in _variables(month, rows, seed).items():
            self._connection.execute(f"SET VARIABLE {name} = $value", {"value": value})

    def chunk(self, first: int, last: int) -> pa.Table:
        """Return rows ``first`` (included) to ``last`` (excluded), in order."""
        return self._connection.sql(_query(), params={"first": first, "last": last}).to_arrow_table()

    def close(self) -> None:
        """Free the database's memory."""
        self._connection.close()


@lru_cache(maxsize=1)
def _query() -> str:
    return Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")


def _variables(month: Month, rows: int, seed: int) -> dict[str, Any]:
    digest = hashlib.sha256(f"{month}/{seed}".encode()).digest()
    return {
        **vars(Era.of(month)),
        # 61 bits: row number × 64 is added without overflow.
        "stream": int.from_bytes(digest[:8], "big") >> 3,
        "days": calendar.monthrange(month.year, month.month)[1],
        "has_zones": month > LAST_MONTH_WITH_COORDINATES,
        "outlier_row": rows // 2 if rows >= OUTLIER_FROM_ROWS else -1,
        "stray_clock_epoch": _epoch(datetime(2003, 1, 1, tzinfo=UTC)),
        "hours": _start_of_trips(month),
        "zones": _zones_of_trips(),
        "passengers": [0] * 2 + [1] * 71 + [2] * 15 + [3] * 4 + [4] * 2 + [5] * 4 + [6] * 2,
        "rate_codes": [1] * 990 + [5] * 6 + [3] * 2 + [4] + [99],
    }


def _start_of_trips(month: Month) -> list[int]:
    """Return full hours (Unix seconds), each as often as trips start in it."""
    days = range(1, calendar.monthrange(month.year, month.month)[1] + 1)
    hours = [
        datetime(month.year, month.month, day, hour, tzinfo=UTC) for day, hour in product(days, range(24))
    ]
    weights = [WEEKDAYS[hour.weekday()] * HOURS[hour.hour] for hour in hours]
    return [_epoch(hours[index]) for index in allot(weights, SLOTS)]


def _zones_of_trips() -> list[int]:
    """Return zones 1–263, each as often as trips start in it."""
    zones = range(1, 264)
    weights = [BUSY_ZONES.get(zone, OTHER_ZONE_WEIGHT) for zone in zones]
    return [zones[index] for index in allot(weights, SLOTS)]


def allot(weights: Sequence[int], slots: int) -> Iterator[int]:
    """Yield ``slots`` indexes of ``weights`` in order, each as often as its weight says (to within one)."""
    total, reached, given = sum(weights), 0, 0
    for index, weight in enumerate(weights):
        reached += weight
        share = slots * reached // total
        yield from (index for _ in range(share - given))
        given = share


def _epoch(moment: datetime) -> int:
    return int(moment.timestamp())
