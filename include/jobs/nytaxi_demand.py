"""Trips of New York's yellow taxis per day and pick-up zone; `docs/results.md` defines every figure.

One SQL query counts, and is all that Spark does; plain Python turns its few thousand rows into the results.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from calendar import monthrange
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from pyspark.sql.types import StructField, StructType

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

EXIT_INPUT_UNUSABLE = 66
TEXT = ("string", "int", "bigint")
REAL = ("double", "float")
TIME = ("timestamp", "timestamp_ntz")
COLUMNS: dict[str, Sequence[str]] = {
    "tpepPickupDateTime": TIME,
    "tpepDropoffDateTime": TIME,
    "tripDistance": REAL,
    "puLocationId": TEXT,
    "fareAmount": REAL,
    "tipAmount": REAL,
    "totalAmount": REAL,
}
# A trip is a row that no rule of job nytaxi rejects, so that both jobs count the same trips of a month.
QUERY = """
WITH typed AS (
    SELECT
        CAST(CAST(tpepPickupDateTime AS TIMESTAMP) AS BIGINT) AS pickup_s,
        CAST(CAST(tpepDropoffDateTime AS TIMESTAMP) AS BIGINT) AS dropoff_s,
        CAST(fareAmount AS DOUBLE) AS fare,
        CAST(tipAmount AS DOUBLE) AS tip,
        CAST(totalAmount AS DOUBLE) AS total,
        CAST(tripDistance AS DOUBLE) AS distance,
        CAST(puLocationId AS STRING) AS zone
    FROM trips
),
measured AS (
    SELECT
        pickup_s,
        dropoff_s,
        CASE WHEN abs(fare) < 1e7 THEN floor(fare * 100 + 0.5D) END AS fare,
        CASE WHEN abs(tip) < 1e7 THEN floor(tip * 100 + 0.5D) END AS tip,
        CASE WHEN abs(total) < 1e7 THEN floor(total * 100 + 0.5D) END AS total,
        CASE WHEN abs(distance) < 1e6 THEN floor(distance * 1000 + 0.5D) END AS distance,
        CASE WHEN NOT contains(zone, '+') THEN try_cast(zone AS INT) END AS zone
    FROM typed
),
judged AS (
    SELECT
        (pickup_s - :starts_at) DIV 86400 + 1 AS day,
        CASE WHEN zone BETWEEN 1 AND 265 THEN zone ELSE 0 END AS zone,
        coalesce(
            pickup_s >= :starts_at AND pickup_s < :ends_at
            AND dropoff_s >= pickup_s AND dropoff_s - pickup_s <= 21600
            AND fare BETWEEN 0 AND :cap AND total BETWEEN 0 AND :cap AND tip <= :cap
            AND distance BETWEEN 0 AND 500000,
            false
        ) AS accepted
    FROM measured
)
SELECT
    accepted,
    CASE WHEN accepted THEN day ELSE 0 END AS day,
    CASE WHEN accepted THEN zone ELSE 0 END AS zone,
    count(*) AS trips
FROM judged
GROUP BY 1, 2, 3
"""

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


class InputUnusableError(Exception):
    """The input cannot give a month's figures; nothing is written."""

    def __init__(self, code: str, message: str, *, got: object, expected: object) -> None:
        """Join the parts to one line in the form of the project's errors."""
        super().__init__(f"[{code}] {message} · got: {got} · expected: {expected}")


@dataclass(frozen=True)
class Options:
    """What the command line asks for."""

    month: str
    input: str
    output: Path
    outlier_cap_cents: int

    @property
    def first_day(self) -> date:
        """The month's first day."""
        return date.fromisoformat(f"{self.month}-01")

    @property
    def days(self) -> int:
        """How many days the month has."""
        return monthrange(self.first_day.year, self.first_day.month)[1]

    def parameters(self) -> dict[str, int]:
        """Return the values of the query's parameters; times are seconds since 1970, UTC."""
        starts_at = int(datetime.fromisoformat(f"{self.month}-01").replace(tzinfo=UTC).timestamp())
        ends_at = starts_at + self.days * 86_400
        return {"starts_at": starts_at, "ends_at": ends_at, "cap": self.outlier_cap_cents}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job; the exit code is 66 when the input is at fault."""
    options = parse_options(arguments)
    try:
        write_results(*count_trips(options), options)
    except InputUnusableError as error:
        print(error, file=sys.stderr, flush=True)
        return EXIT_INPUT_UNUSABLE
    return 0


def parse_options(arguments: Sequence[str] | None) -> Options:
    """Read the command line; argparse exits with 2 and a message when it is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)  # type: ignore[union-attr]
    parser.add_argument("--month", required=True, type=month, help="YYYY-MM, the month the pick-ups fall in")
    parser.add_argument("--input", required=True, help="folder of Parquet files: a file URI")
    parser.add_argument("--output", required=True, type=Path, help="local folder for the results")
    parser.add_argument(
        "--outlier-cap-cents", required=True, type=cap, help="no fare, tip or total above this"
    )
    return Options(**vars(parser.parse_args(arguments)))


def month(text: str) -> str:
    """Return a month from 2009 on as it is.

    :raises argparse.ArgumentTypeError: for anything else.
    """
    if re.fullmatch(r"(2009|20[1-9][0-9])-(0[1-9]|1[0-2])", text, re.ASCII) is None:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected YYYY-MM from 2009-01 on")
    return text


def cap(text: str) -> int:
    """Return a number of cents.

    :raises argparse.ArgumentTypeError: for anything but 1 … 999,999,999.
    """
    if re.fullmatch(r"[1-9][0-9]{0,8}", text, re.ASCII) is None:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected cents from 1 to 999999999")
    return int(text)


def count_trips(options: Options) -> tuple[list[dict[str, Any]], int]:
    """Return the query's rows (accepted, day, zone, trips), and how many milliseconds it took.

    :raises InputUnusableError: ``input-unreadable`` or ``input-schema``.
    """
    spark = start_spark()
    try:
        read_trips(spark, options.input)
        started = time.monotonic()
        rows = spark.sql(QUERY, args=options.parameters()).collect()
        return [row.asDict() for row in rows], round((time.monotonic() - started) * 1000)
    finally:
        spark.stop()


def start_spark() -> SparkSession:
    """Return the session; the conversions to UTC and the calendar are part of the figures' definition."""
    return (
        SparkSession.builder.appName("nytaxi_demand")
        .config("spark.sql.session.timeZone", "UTC")
        # Stray rows of a year long past are counted as outside the month; they must not stop the job.
        .config("spark.sql.parquet.int96RebaseModeInRead", "CORRECTED")
        .config("spark.sql.parquet.datetimeRebaseModeInRead", "CORRECTED")
        .getOrCreate()
    )


def read_trips(spark: SparkSession, uri: str) -> None:
    """Make the view `trips` of the columns that the query needs, with the types the files have.

    :raises InputUnusableError: ``input-unreadable`` or ``input-schema``.
    """
    path = spark_path(uri)
    try:
        found = spark.read.option("mergeSchema", "true").parquet(path).schema
    except (PySparkException, Py4JJavaError) as error:
        raise InputUnusableError(
            "input-unreadable",
            "The input cannot be read as one Parquet table.",
            got=cause(error),
            expected="a folder with at least one Parquet file, all of one schema",
        ) from None
    types = {field.name: field.dataType for field in found.fields}
    problems = [
        f"{name}: {types[name].simpleString() if name in types else 'missing'}, expected {' or '.join(kinds)}"
        for name, kinds in COLUMNS.items()
        if name not in types or types[name].simpleString() not in kinds
    ]
    if problems:
        raise InputUnusableError(
            "input-schema",
            "The input does not have the columns that the job reads.",
            got="; ".join(problems),
            expected=", ".join(COLUMNS),
        )
    schema = StructType([StructField(name, types[name]) for name in COLUMNS])
    spark.read.schema(schema).parquet(path).createOrReplaceTempView("trips")


def spark_path(uri: str) -> str:
    """Return a location in the form Hadoop takes it: file URIs decoded, and nothing in them a pattern."""
    parts = urlsplit(uri)
    if parts.scheme != "file":
        return uri
    return "file://" + re.sub(r"([\\*?\[\]{}])", r"\\\1", unquote(parts.path))


def cause(error: Exception) -> str:
    """Return the innermost cause that Spark names; the outer ones only say that a task failed."""
    lines = str(error).splitlines() or [type(error).__name__]
    causes = [line.removeprefix("Caused by: ") for line in lines if line.startswith("Caused by: ")]
    return (causes[-1] if causes else lines[0])[:300]


def write_results(rows: Sequence[Mapping[str, Any]], duration_ms: int, options: Options) -> None:
    """Write the tables and, last, the summary.

    :raises InputUnusableError: ``month-without-data``, with nothing written.
    """
    read = sum(row["trips"] for row in rows)
    print(f"Input DataFrame Count: {read}", flush=True)
    print(f"Aggregation duration: {duration_ms} ms", flush=True)
    counted = {(row["day"], row["zone"]): row["trips"] for row in rows if row["accepted"]}
    trips = dict(sorted(counted.items()))
    if not trips:
        raise InputUnusableError(
            "month-without-data",
            f"The input has no usable trip of {options.month}.",
            got=f"{read} rows, all rejected",
            expected="at least one trip",
        )
    tables = {
        "by_day_zone": [{"day": day, "zone": zone, "trips": n} for (day, zone), n in trips.items()],
        "by_day": by_day(trips, options),
        "by_weekday": by_weekday(trips, options),
        "top_zones": top_zones(trips),
    }
    for name, table in tables.items():
        write_table(options.output / f"{name}.parquet", table)
    summary = summarise(read, trips, options, duration_ms)
    text = json.dumps(summary, indent=1, allow_nan=False) + "\n"
    (options.output / "summary.json").write_text(text, encoding="utf-8")


def by_day(trips: Mapping[tuple[int, int], int], options: Options) -> list[dict[str, Any]]:
    """Return one row for each day of the month."""
    totals, zones = Counter[int](), Counter[int]()
    for (day, zone), number in trips.items():
        totals[day] += number
        zones[day] += zone in PLACES
    return [
        {"day": day, "weekday": weekday(day, options), "trips": totals[day], "zones": zones[day]}
        for day in range(1, options.days + 1)
    ]


def by_weekday(trips: Mapping[tuple[int, int], int], options: Options) -> list[dict[str, Any]]:
    """Return one row for each day of the week: how many of them the month has, and their trips."""
    days = Counter(weekday(day, options) for day in range(1, options.days + 1))
    totals = Counter[str]()
    for (day, _), number in trips.items():
        totals[weekday(day, options)] += number
    return [
        {
            "weekday": name,
            "days": days[name],
            "trips": totals[name],
            "trips_per_day": totals[name] / days[name],
        }
        for name in WEEKDAYS
    ]


def weekday(day: int, options: Options) -> str:
    """Return the name of a day of the month."""
    return WEEKDAYS[options.first_day.replace(day=day).weekday()]


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


def summarise(
    read: int, trips: Mapping[tuple[int, int], int], options: Options, duration_ms: int
) -> dict[str, Any]:
    """Return the content of summary.json."""
    zones, accepted = by_zone(trips), sum(trips.values())
    days = by_day(trips, options)
    busiest = max(days, key=lambda row: (row["trips"], -row["day"]))
    return {
        "v": 1,
        "job": "nytaxi_demand",
        "month": options.month,
        "rows": {"input": read, "accepted": accepted, "rejected": read - accepted},
        "totals": {
            "trips": accepted,
            "trips_without_zone": zones[0],
            "trips_in_unknown_zone": sum(n for zone, n in zones.items() if zone > PLACES[-1]),
            "zones": sum(zone in PLACES for zone in zones),
            "busiest_day": busiest["day"],
            "busiest_day_trips": busiest["trips"],
        },
        "options": {"outlier_cap_cents": options.outlier_cap_cents},
        "duration_ms": duration_ms,
    }


if __name__ == "__main__":
    sys.exit(main())
