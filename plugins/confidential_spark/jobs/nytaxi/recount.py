"""An independent recount of one month with DuckDB, from the same input files and `docs/results.md` alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from confidential_spark.jobs.checks.recounting import recounting
from confidential_spark.jobs.nytaxi.summary import COUNT_RULES, MEASURES, PAYMENT_TYPES, REJECT_RULES
from confidential_spark.jobs.trips.recount_view import create_trips_view

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import duckdb

    from confidential_spark.core.months import Month

MONEY = ("revenue_cents", "fare_cents", "tip_cents")
MACROS = (
    # Rounded down: // rounds towards zero.
    "CREATE TEMP MACRO whole_seconds(moment) AS"
    " (epoch_us(moment) - CASE WHEN epoch_us(moment) < 0 THEN 999999 ELSE 0 END) // 1000000",
    "CREATE TEMP MACRO is_true(condition) AS CASE WHEN condition THEN 1 ELSE 0 END",
    # isfinite is no luxury: Parquet statistics leave NaN out, and DuckDB drops comparisons that they decide.
    "CREATE TEMP MACRO units(x, per_one, below) AS"
    " CASE WHEN isfinite(x) AND abs(x) < below THEN CAST(floor(x * per_one + 0.5) AS BIGINT) END",
    "CREATE TEMP MACRO whole_number(text) AS"
    " CASE WHEN trim(text, '0123456789') = '' THEN TRY_CAST(text AS INTEGER) END",
    "CREATE TEMP MACRO in_zones(n) AS CASE WHEN n BETWEEN 1 AND 265 THEN n ELSE -1 END",
    r"CREATE TEMP MACRO zone_of(id) AS in_zones(whole_number(trim(id, E' \t\r\n')))",
    # The place in PAYMENT_TYPES, from 1 on, or null.
    "CREATE TEMP MACRO payment_word(word) AS CASE"
    " WHEN starts_with(word, 'car') OR starts_with(word, 'cr') THEN 1"
    " WHEN starts_with(word, 'ca') OR starts_with(word, 'cs') THEN 2"
    " WHEN starts_with(word, 'no') THEN 3"
    " WHEN starts_with(word, 'di') THEN 4"
    " WHEN starts_with(word, 'un') OR starts_with(word, 'na') THEN 5"
    " WHEN starts_with(word, 'vo') THEN 6 END",
    "CREATE TEMP MACRO payment_of(code) AS CASE"
    " WHEN code IN ('1', '2', '3', '4', '5', '6') THEN TRY_CAST(code AS INTEGER)"
    " WHEN code = '0' THEN 7"
    " ELSE payment_word(lower(trim(code, ' '))) END",
    f"CREATE TEMP MACRO payment_name(place) AS list_extract({list(PAYMENT_TYPES)!r}, coalesce(place, 5))",
)


@dataclass(frozen=True)
class Recount:
    """The month's figures as DuckDB counts them: exact integers, in the units of `docs/results.md`.

    :param rules: rule → (rows it meets, rows it is the first to reject).
    :param first_pickup: ISO instants (UTC), None without an accepted row.
    """

    rows: int
    totals: Mapping[str, int]
    all_rows: Mapping[str, int]
    by_hour: Mapping[int, Mapping[str, int]]
    by_pickup_zone: Mapping[int, Mapping[str, int]]
    by_payment_type: Mapping[str, Mapping[str, int]]
    rules: Mapping[str, tuple[int, int]]
    first_pickup: str | None
    last_pickup: str | None


def recount(files: Sequence[Path], month: Month, outlier_cap_cents: int) -> Recount:
    """Recount one month.

    :raises ResultError: ``recount-failed``: the input can no longer be read, or memory does not suffice.
    """
    parameters = {
        "starts_at": month.first_second,
        "ends_at": month.shift(1).first_second,
        "cap": outlier_cap_cents,
    }
    query = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
    with recounting() as connection:
        for macro in MACROS:
            connection.execute(macro)
        into = "CREATE TEMP TABLE recounted AS"
        for file in files:
            create_trips_view(connection, file)
            connection.execute(f"{into}\n{query}", parameters)
            into = "INSERT INTO recounted"
        return _read(connection)


def _read(connection: duckdb.DuckDBPyConnection) -> Recount:
    everything = _row(connection, ["trips", *MONEY, *REJECT_RULES, *COUNT_RULES], "reason IS NOT NULL")
    firsts: dict[int, int] = dict(
        _rows(connection, "SELECT reason, sum(trips) FROM recounted GROUP BY reason")  # type: ignore[arg-type]
    )
    first, last = _rows(
        connection, "SELECT min(first_pickup_s), max(last_pickup_s) FROM recounted WHERE reason = 0"
    )[0]
    return Recount(
        rows=everything["trips"],
        totals=_row(connection, list(MEASURES), "reason = 0"),
        all_rows={name: everything[name] for name in MONEY},
        by_hour=_by(connection, "hour"),
        by_pickup_zone=_by(connection, "zone"),
        by_payment_type=_by(connection, "payment_type"),
        rules={name: (everything[name], int(firsts.get(n, 0))) for n, name in enumerate(REJECT_RULES, 1)}
        | {name: (everything[name], 0) for name in COUNT_RULES},
        first_pickup=_iso(first),
        last_pickup=_iso(last),
    )


def _row(connection: duckdb.DuckDBPyConnection, columns: Sequence[str], condition: str) -> dict[str, int]:
    sums = ", ".join(f"coalesce(sum({name}), 0)" for name in columns)
    (values,) = _rows(connection, f"SELECT {sums} FROM recounted WHERE {condition}")  # noqa: S608 - own names
    return dict(zip(columns, map(int, values), strict=True))


def _by(connection: duckdb.DuckDBPyConnection, key: str) -> dict[Any, dict[str, int]]:
    sums = ", ".join(f"sum({name})" for name in MEASURES)
    query = f"SELECT {key}, {sums} FROM recounted WHERE {key} IS NOT NULL GROUP BY 1 ORDER BY 1"  # noqa: S608 - own names
    return {row[0]: dict(zip(MEASURES, map(int, row[1:]), strict=True)) for row in _rows(connection, query)}


def _rows(connection: duckdb.DuckDBPyConnection, query: str) -> list[tuple[Any, ...]]:
    return connection.execute(query).fetchall()


def _iso(seconds: int | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
