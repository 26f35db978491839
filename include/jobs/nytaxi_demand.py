"""Trips of New York's yellow taxis per day and pick-up zone; `docs/results.md` defines every figure.

`query` prints the SQL of a month, which Spark runs; `finish` makes the tables and the summary of its result.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from calendar import monthrange
from collections import Counter
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Row = dict[str, Any]

EXIT_REQUEST_REFUSED = 65
EXIT_INPUT_UNUSABLE = 66
EXIT_FAILED = 80
DEFAULT_OUTLIER_CAP_CENTS = 100_000

ID = ("string", "int", "bigint", "smallint", "tinyint", "double", "float")
AMOUNT = ("double", "float", "int", "bigint", "smallint", "tinyint", "decimal")
TIME = ("timestamp", "timestamp_ntz", "string")
TYPES: dict[str, Sequence[str]] = {
    "tpepPickupDateTime": TIME,
    "tpepDropoffDateTime": TIME,
    "tripDistance": AMOUNT,
    "puLocationId": ID,
    "fareAmount": AMOUNT,
    "tipAmount": AMOUNT,
    "totalAmount": AMOUNT,
}
# The layouts of the files, by the names of these columns: Azure's, and the TLC's since the year in the name.
# Where two have the same names, the columns behind them tell: a file of the version has at least one.
_RIDE = ("tpep_pickup_datetime", "tpep_dropoff_datetime", "trip_distance")
_MONEY = ("fare_amount", "tip_amount", "total_amount")
_TLC = (*_RIDE, "PULocationID", *_MONEY)
_OF_2009 = ("Trip_Pickup_DateTime", "Trip_Dropoff_DateTime", "Trip_Distance")
VERSIONS: dict[str, tuple[Sequence[str | None], Sequence[str]]] = {
    "azure-open-datasets": (tuple(TYPES), ()),
    "tlc-2025": (_TLC, ("cbd_congestion_fee",)),
    "tlc-2021": (_TLC, ("airport_fee",)),
    "tlc-2019": (_TLC, ("congestion_surcharge",)),
    "tlc-2011": (_TLC, ()),
    "tlc-2015-coordinates": ((*_RIDE, None, *_MONEY), ("pickup_longitude",)),
    "tlc-2010": (("pickup_datetime", "dropoff_datetime", "trip_distance", None, *_MONEY), ()),
    "tlc-2009": ((*_OF_2009, None, "Fare_Amt", "Tip_Amt", "Total_Amt"), ()),
}

# What a column says, whatever its type. `typeof` is known before the first row, which leaves one branch: no
# work on text where the files have numbers. A number that is not whole is -1, and NaN is missing.
SECONDS = """\
CASE
      WHEN typeof({0}) <> 'string' OR length({0}) = 19
        AND {0} RLIKE '^[0-9]{{4}}-[0-9][0-9]-[0-9][0-9] [0-9][0-9]:[0-9][0-9]:[0-9][0-9]$'
      THEN CAST(CAST({0} AS TIMESTAMP) AS BIGINT)
    END"""
NUMBER = """\
CASE
      WHEN typeof({0}) NOT IN ('double', 'float') OR {0} = floor({0}) THEN CAST({0} AS BIGINT)
      WHEN {0} IS NOT NULL AND NOT isnan({0}) THEN -1
    END"""
TEXT = f"CASE WHEN typeof({{0}}) = 'string' THEN CAST({{0}} AS STRING) WHEN {NUMBER} IS NOT NULL THEN '' END"

# A trip is a row that no rule of job nytaxi rejects, so that both jobs count the same trips of a month.
# `cell` is (day - 1) * 266 + zone, with zone 0 for none; it is null where a rule rejects the row.
SQL = f"""\
WITH read AS (
  SELECT
    {SECONDS.format("tpepPickupDateTime")} AS pickup_s,
    {SECONDS.format("tpepDropoffDateTime")} AS dropoff_s,
    CAST(fareAmount AS DOUBLE) AS fare,
    CAST(tipAmount AS DOUBLE) AS tip,
    CAST(totalAmount AS DOUBLE) AS total,
    CAST(tripDistance AS DOUBLE) AS distance,
    {TEXT.format("puLocationId")} AS zone,
    {NUMBER.format("puLocationId")} AS zone_number
  FROM trips
),
measured AS (
  SELECT
    pickup_s,
    dropoff_s - pickup_s AS duration,
    CASE WHEN abs(fare) < 1e7 THEN floor(fare * 100 + 0.5D) END AS fare,
    CASE WHEN abs(tip) < 1e7 THEN floor(tip * 100 + 0.5D) END AS tip,
    CASE WHEN abs(total) < 1e7 THEN floor(total * 100 + 0.5D) END AS total,
    CASE WHEN abs(distance) < 1e6 THEN floor(distance * 1000 + 0.5D) END AS distance,
    -- The cast also reads '+5' and '5.9' as 5; neither is a zone.
    CASE
      WHEN zone_number BETWEEN 1 AND 265
        AND NOT contains(zone, '+') AND NOT contains(zone, '.') THEN zone_number
      ELSE 0
    END AS zone
  FROM read
),
judged AS (
  SELECT
    -- A comparison with null is not true.
    CASE
      WHEN pickup_s >= :starts_at AND pickup_s < :ends_at
        AND duration BETWEEN 0 AND 21600
        AND fare BETWEEN 0 AND :outlier_cap_cents
        AND total BETWEEN 0 AND :outlier_cap_cents
        AND tip <= :outlier_cap_cents
        AND distance BETWEEN 0 AND 500000
      THEN (pickup_s - :starts_at) div 86400 * 266 + zone
    END AS cell
  FROM measured
),
counted AS (
  SELECT cell, count(*) AS trips FROM judged GROUP BY cell
)
SELECT cell div 266 + 1 AS day, cell % 266 AS zone, trips FROM counted
"""  # noqa: S608 - own names
# 31 days, 265 zones and none, and one row for what is rejected.
MAX_ROWS = 31 * 266 + 1
RESULT = ("day", "zone", "trips")

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
# The TLC's 264 and 265 stand for "unknown" and "outside of New York"; 0 is ours for no zone at all.
PLACES = range(1, 264)
TOP_ZONES = 20
COLUMNS_OF = {
    "by_day_zone": ("day", "zone", "trips"),
    "by_day": ("day", "weekday", "trips", "zones"),
    "by_weekday": ("weekday", "days", "trips", "trips_per_day"),
    "top_zones": ("rank", "zone", "trips", "share"),
}


class Month(NamedTuple):
    """A calendar month."""

    first_day: date

    @property
    def days(self) -> int:
        """How many days the month has."""
        return monthrange(self.first_day.year, self.first_day.month)[1]

    @property
    def starts_at(self) -> int:
        """Its first second since 1970, UTC."""
        return int(datetime(self.first_day.year, self.first_day.month, 1, tzinfo=UTC).timestamp())

    def weekday(self, day: int) -> str:
        """Return the name of one of its days."""
        return WEEKDAYS[self.first_day.replace(day=day).weekday()]

    def __str__(self) -> str:
        """Return YYYY-MM."""
        return f"{self.first_day:%Y-%m}"


class JobError(Exception):
    """The job stops, and has written nothing."""

    def __init__(self, exit_code: int, code: str, message: str, *, got: object, expected: object) -> None:
        """Join the parts to one line in the form of the project's errors."""
        self.exit_code = exit_code
        super().__init__(f"[{code}] {message} · got: {got} · expected: {expected}")


class Parser(argparse.ArgumentParser):
    """Refuses a command line in the form of the project's errors."""

    def error(self, message: str) -> NoReturn:
        """Refuse the command line.

        :raises JobError: ``argument-invalid``, always.
        """
        usage = " ".join(self.format_usage().split()).removeprefix("usage: ")
        text = "The arguments are malformed."
        raise JobError(EXIT_REQUEST_REFUSED, "argument-invalid", text, got=message, expected=usage)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of the two commands and return its exit code."""
    try:
        options = parser().parse_args(arguments)
        options.run(options)
    except JobError as error:
        print(error, file=sys.stderr, flush=True)
        return error.exit_code
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the grammar of the two commands."""
    top = Parser(description=__doc__, allow_abbrev=False)
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    for run in (query, finish):
        command = commands.add_parser(run.__name__, description=run.__doc__, allow_abbrev=False)
        command.set_defaults(run=run)
        add = command.add_argument
        add("--month", required=True, type=month, help="YYYY-MM, the month the pick-ups fall in")
        add(
            "--outlier-cap-cents",
            type=cap,
            default=DEFAULT_OUTLIER_CAP_CENTS,
            help="no fare, tip or total above this; default %(default)s",
        )
    add("--rows", required=True, type=Path, help="folder of Spark's result: figures.json, cells.jsonl")
    add("--output", required=True, type=Path, help="folder for the results")
    return top


def month(text: str) -> Month:
    """Return a month from 2009 on.

    :raises argparse.ArgumentTypeError: for anything else.
    """
    if re.fullmatch(r"(2009|20[1-9][0-9])-(0[1-9]|1[0-2])", text, re.ASCII) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not YYYY-MM from 2009-01 on")
    return Month(date.fromisoformat(f"{text}-01"))


def cap(text: str) -> int:
    """Return a number of cents.

    :raises argparse.ArgumentTypeError: for anything but 1 … 999,999,999.
    """
    if re.fullmatch(r"[1-9][0-9]{0,8}", text, re.ASCII) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of cents from 1 to 999999999")
    return int(text)


def query(options: argparse.Namespace) -> None:
    """Print what Spark shall compute, as one JSON object."""
    parameters = {
        "starts_at": options.month.starts_at,
        "ends_at": options.month.starts_at + options.month.days * 86_400,
        "outlier_cap_cents": options.outlier_cap_cents,
    }
    queries = [{"name": "cells", "sql": SQL, "max_rows": MAX_ROWS}]
    request = {"v": 1, "job": "nytaxi_demand", "input": {"trips": versions()}, "parameters": parameters}
    print(json.dumps(request | {"queries": queries}), flush=True)


def versions() -> list[dict[str, Any]]:
    """Return the table's versions for the runner, which takes the first that fits the files."""
    return [
        {
            "name": name,
            "columns": {
                column: {"types": kinds} | ({"from": source} if source else {})
                for (column, kinds), source in zip(TYPES.items(), names, strict=True)
            },
        }
        | ({"one_of": one_of} if one_of else {})
        for name, (names, one_of) in VERSIONS.items()
    ]


def finish(options: argparse.Namespace) -> None:
    """Write the tables and, last, the summary.

    :raises JobError: ``month-without-data``, or Spark's result is malformed; nothing is written.
    """
    ran, rows = read_result(options.rows)
    print(f"Input DataFrame Count: {ran.rows}", flush=True)
    print(f"Input version: {ran.version}", flush=True)
    print(f"Aggregation duration: {ran.duration_ms} ms", flush=True)
    trips = {(row["day"], row["zone"]): row["trips"] for row in rows if row["day"] is not None}
    if not trips:
        raise _without_data(options.month, ran.rows)
    for name, table in tables(dict(sorted(trips.items())), options.month).items():
        write_table(options.output / f"{name}.parquet", table)
    summary = summarise(trips, options, ran)
    text = json.dumps(summary, indent=1, allow_nan=False) + "\n"
    (options.output / "summary.json").write_text(text, encoding="utf-8")


class Ran(NamedTuple):
    """What the runner says of its run: rows and version of the input."""

    duration_ms: int
    rows: int
    version: str


def read_result(folder: Path) -> tuple[Ran, list[Row]]:
    """Return what the runner says of its run, and the result's rows.

    :raises JobError: ``result-malformed``; also where it does not count each of the input's rows once.
    """
    try:
        figures = _parsed((folder / "figures.json").read_text(encoding="utf-8"))
        lines = (folder / "cells.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [_row(line) for line in lines]
        trips = figures["input"]["trips"]
        ran = Ran(int(figures["duration_ms"]), int(trips["rows"]), str(trips["version"]))
        counted = sum(row["trips"] for row in rows)
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise _malformed(repr(error), "figures.json and cells.jsonl") from error
    if counted != ran.rows:
        raise _malformed(f"{counted} rows", f"the input's {ran.rows}")
    return ran, rows


def _row(line: str) -> Row:
    """Return a row of the result: a whole number or null in each column.

    :raises ValueError: it is none.
    """
    row = _parsed(line)
    if not isinstance(row, dict) or row.keys() != set(RESULT):
        raise ValueError(f"no row of {', '.join(RESULT)}: {line[:200]}")
    if any(type(value) is not int for value in row.values() if value is not None):
        raise ValueError(f"no whole number: {line[:200]}")
    return row


def tables(trips: Mapping[tuple[int, int], int], month: Month) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of each table by its name."""
    return {
        "by_day_zone": [{"day": day, "zone": zone, "trips": n} for (day, zone), n in trips.items()],
        "by_day": by_day(trips, month),
        "by_weekday": by_weekday(trips, month),
        "top_zones": top_zones(trips),
    }


def by_day(trips: Mapping[tuple[int, int], int], month: Month) -> list[dict[str, Any]]:
    """Return one row for each day of the month."""
    totals, zones = Counter[int](), Counter[int]()
    for (day, zone), number in trips.items():
        totals[day] += number
        zones[day] += zone in PLACES
    return [
        {"day": day, "weekday": month.weekday(day), "trips": totals[day], "zones": zones[day]}
        for day in range(1, month.days + 1)
    ]


def by_weekday(trips: Mapping[tuple[int, int], int], month: Month) -> list[dict[str, Any]]:
    """Return one row for each day of the week: how many of them the month has, and their trips."""
    days = Counter(month.weekday(day) for day in range(1, month.days + 1))
    totals = Counter[str]()
    for (day, _), number in trips.items():
        totals[month.weekday(day)] += number
    return [
        {
            "weekday": name,
            "days": days[name],
            "trips": totals[name],
            "trips_per_day": totals[name] / days[name],
        }
        for name in WEEKDAYS
    ]


def top_zones(trips: Mapping[tuple[int, int], int]) -> list[dict[str, Any]]:
    """Return the places with the most pick-ups, most first; of equal ones the lower number first."""
    all_trips = sum(trips.values())
    places = [(zone, number) for zone, number in by_zone(trips).items() if zone in PLACES]
    ranked = sorted(places, key=lambda place: (-place[1], place[0]))
    return [
        {"rank": rank, "zone": zone, "trips": number, "share": number / all_trips}
        for rank, (zone, number) in enumerate(ranked[:TOP_ZONES], 1)
    ]


def by_zone(trips: Mapping[tuple[int, int], int]) -> Counter[int]:
    """Return the trips of each zone."""
    totals = Counter[int]()
    for (_, zone), number in trips.items():
        totals[zone] += number
    return totals


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write one table; the same rows give the same bytes."""
    # Imported late: 0.3 s that a refused input need not wait for.
    import pyarrow as pa
    import pyarrow.parquet as pq

    others = {
        "trips": pa.int64(),
        "weekday": pa.string(),
        "trips_per_day": pa.float64(),
        "share": pa.float64(),
    }
    schema = pa.schema([(name, others.get(name, pa.int32())) for name in COLUMNS_OF[path.stem]])
    pq.write_table(pa.Table.from_pylist(list(rows), schema), path)


def summarise(trips: Mapping[tuple[int, int], int], options: argparse.Namespace, ran: Ran) -> dict[str, Any]:
    """Return the content of summary.json."""
    zones, accepted = by_zone(trips), sum(trips.values())
    days = by_day(trips, options.month)
    busiest = max(days, key=lambda row: (row["trips"], -row["day"]))
    return {
        "v": 1,
        "job": "nytaxi_demand",
        "month": str(options.month),
        "input_version": ran.version,
        "rows": {"input": ran.rows, "accepted": accepted, "rejected": ran.rows - accepted},
        "totals": {
            "trips": accepted,
            "trips_without_zone": zones[0],
            "trips_in_unknown_zone": sum(n for zone, n in zones.items() if zone > PLACES[-1]),
            "zones": sum(zone in PLACES for zone in zones),
            "busiest_day": busiest["day"],
            "busiest_day_trips": busiest["trips"],
        },
        "options": {"outlier_cap_cents": options.outlier_cap_cents},
        "duration_ms": ran.duration_ms,
    }


def _without_data(month: Month, read: int) -> JobError:
    return JobError(
        EXIT_INPUT_UNUSABLE,
        "month-without-data",
        f"The input has no usable trip of {month}.",
        got=f"{read} rows, all rejected" if read else "no rows at all",
        expected="at least one trip",
    )


def _malformed(got: object, expected: str) -> JobError:
    text = "Spark's result cannot be used."
    return JobError(EXIT_FAILED, "result-malformed", text, got=got, expected=expected)


def _parsed(text: str) -> Any:
    """Return a JSON value without NaN and infinities, which Python would read.

    :raises ValueError: it is none.
    """
    return json.loads(text, parse_constant=_no_constant)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


if __name__ == "__main__":
    sys.exit(main())
