"""Monthly analytics of New York's yellow taxis; `docs/results.md` defines every figure.

DataFrame functions only, so that the file runs unchanged on Spark 3.5 and 4. Money is integer cents and
distance is integer thousandths of a mile: sums are exact, whatever the order of the rows. One Spark action
counts and sums by (first reason to reject, hour, zone, payment type); plain Python turns its few thousand
groups into the tables.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructField, StructType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from pyspark import SparkContext
    from pyspark.sql import Column, DataFrame, Row

EXIT_INPUT_UNUSABLE = 66
DEFAULT_OUTLIER_CAP_CENTS = 100_000
LONGEST_TRIP_S = 6 * 3600
LONGEST_TRIP_MILLIMILES = 500_000
USABLE_DOLLARS = 1e7
USABLE_MILES = 1e6
LAST_ZONE = 265
UNKNOWN_ZONES = (264, 265)
PROGRESS_INTERVAL_S = 1.0

TEXT = ("string", "int", "bigint")
WHOLE = ("int", "bigint", "smallint", "tinyint")
REAL = ("double", "float")
TIME = ("timestamp", "timestamp_ntz")
COLUMNS: dict[str, Sequence[str]] = {
    "vendorID": TEXT,
    "tpepPickupDateTime": TIME,
    "tpepDropoffDateTime": TIME,
    "passengerCount": WHOLE,
    "tripDistance": REAL,
    "puLocationId": TEXT,
    "doLocationId": TEXT,
    "paymentType": TEXT,
    "fareAmount": REAL,
    "tipAmount": REAL,
    "totalAmount": REAL,
}

PAYMENT_TYPES = ("credit", "cash", "no_charge", "dispute", "unknown", "voided")
# The TLC's codes are 1 to 6. Before 2011 every vendor spelled the words in its own way, so prefixes decide.
PAYMENT_PREFIXES = (
    ("car", "credit"),
    ("cr", "credit"),
    ("ca", "cash"),
    ("cs", "cash"),
    ("no", "no_charge"),
    ("di", "dispute"),
    ("un", "unknown"),
    ("na", "unknown"),
    ("vo", "voided"),
)
# In place of a zone or a payment type: there is a text, and it is none.
INVALID = -1


class InputUnusableError(Exception):
    """The input cannot give a month's figures; nothing is written."""

    def __init__(self, code: str, message: str, *, got: object, expected: object) -> None:
        """Join the parts to one line in the form of the project's errors."""
        super().__init__(f"[{code}] {message} · got: {got} · expected: {expected}")


@dataclass(frozen=True)
class Rule:
    """One quirk of the data: rows it meets are rejected from all sums, or only counted."""

    name: str
    action: str
    condition: Callable[[Options], Column]


@dataclass(frozen=True)
class Options:
    """What the command line asks for; the month's bounds are seconds since 1970, UTC."""

    month: str
    input: str
    output: Path
    outlier_cap_cents: int

    @property
    def starts_at(self) -> int:
        """First second of the month."""
        return _epoch(int(self.month[:4]), int(self.month[5:]))

    @property
    def ends_at(self) -> int:
        """First second of the next month."""
        year, month = int(self.month[:4]), int(self.month[5:])
        return _epoch(year + month // 12, month % 12 + 1)


def _missing(name: str) -> Callable[[Options], Column]:
    return lambda _: F.col(name).isNull()


def _amount_beyond_cap(options: Options) -> Column:
    return F.greatest(F.col("fare"), F.col("tip"), F.col("total")) > options.outlier_cap_cents


def _outside_month(options: Options) -> Column:
    return (F.col("pickup_s") < options.starts_at) | (F.col("pickup_s") >= options.ends_at)


# Order matters: the first rule that rejects a row is the reason it is filed under.
RULES = (
    Rule("pickup_time_missing", "reject", _missing("pickup_s")),
    Rule("pickup_outside_month", "reject", _outside_month),
    Rule("dropoff_time_missing", "reject", _missing("dropoff_s")),
    Rule("dropoff_before_pickup", "reject", lambda _: F.col("duration") < 0),
    Rule("duration_over_6h", "reject", lambda _: F.col("duration") > LONGEST_TRIP_S),
    Rule(
        "amount_unusable",
        "reject",
        lambda _: F.col("fare").isNull() | F.col("tip").isNull() | F.col("total").isNull(),
    ),
    Rule("fare_negative", "reject", lambda _: (F.col("fare") < 0) | (F.col("total") < 0)),
    Rule("amount_outlier", "reject", _amount_beyond_cap),
    Rule(
        "distance_unusable",
        "reject",
        lambda _: F.col("distance").isNull() | ~F.col("distance").between(0, LONGEST_TRIP_MILLIMILES),
    ),
    Rule("distance_zero", "count", lambda _: F.col("distance") == 0),
    Rule("duration_zero", "count", lambda _: F.col("duration") == 0),
    Rule("passengers_zero", "count", lambda _: F.col("passengers") == 0),
    Rule("passengers_missing", "count", _missing("passengers")),
    Rule("vendor_missing", "count", _missing("vendor")),
    Rule("payment_missing", "count", _missing("payment_text")),
    Rule(
        "vendor_payment_passengers_missing",
        "count",
        lambda _: F.col("vendor").isNull() & F.col("payment_text").isNull() & F.col("passengers").isNull(),
    ),
    Rule("payment_unrecognised", "count", lambda _: F.col("payment") == INVALID),
    Rule("pickup_zone_missing", "count", _missing("pickup_text")),
    Rule("pickup_zone_unknown", "count", lambda _: F.col("pickup_zone").isin(*UNKNOWN_ZONES)),
    Rule("pickup_zone_invalid", "count", lambda _: F.col("pickup_zone") == INVALID),
    Rule("dropoff_zone_missing", "count", _missing("dropoff_text")),
    Rule("dropoff_zone_unknown", "count", lambda _: F.col("dropoff_zone").isin(*UNKNOWN_ZONES)),
    Rule("dropoff_zone_invalid", "count", lambda _: F.col("dropoff_zone") == INVALID),
)
REJECTING = tuple(rule for rule in RULES if rule.action == "reject")
ACCEPTED = len(REJECTING)
MEASURES = ("trips", "revenue_cents", "fare_cents", "tip_cents", "distance_millimiles", "duration_s")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job; the exit code is 66 when the input is at fault."""
    options = parse_options(arguments)
    try:
        run(options)
    except InputUnusableError as error:
        print(error, file=sys.stderr, flush=True)
        return EXIT_INPUT_UNUSABLE
    return 0


def parse_options(arguments: Sequence[str] | None) -> Options:
    """Read the command line; argparse exits with 2 and a message when it is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)  # type: ignore[union-attr]
    parser.add_argument("--month", required=True, type=month, help="YYYY-MM, the month the pick-ups fall in")
    parser.add_argument("--input", required=True, help="folder of Parquet files: file, wasbs or abfss URI")
    parser.add_argument("--output", required=True, type=Path, help="local folder for the results")
    parser.add_argument(
        "--outlier-cap-cents",
        type=cap,
        default=DEFAULT_OUTLIER_CAP_CENTS,
        help="a fare, tip or total above this is an outlier; default %(default)s",
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


def run(options: Options) -> None:
    """Read, aggregate and write one month.

    :raises InputUnusableError: before anything is written.
    """
    spark = start_spark()
    try:
        trips = read_trips(spark, options.input)
        started = time.monotonic()
        with Progress(spark.sparkContext):
            groups = aggregate(trips, options).collect()
        duration_ms = round((time.monotonic() - started) * 1000)
    finally:
        spark.stop()
    write_results(groups, options, duration_ms)


def start_spark() -> SparkSession:
    """Return the session; the conversions to UTC and the calendar are part of the figures' definition."""
    return (
        SparkSession.builder.appName("nytaxi")
        .config("spark.sql.session.timeZone", "UTC")
        # Stray rows of a year long past are counted as outside the month; they must not stop the job.
        .config("spark.sql.parquet.int96RebaseModeInRead", "CORRECTED")
        .config("spark.sql.parquet.datetimeRebaseModeInRead", "CORRECTED")
        .getOrCreate()
    )


def read_trips(spark: SparkSession, uri: str) -> DataFrame:
    """Return the columns the job needs, with the types the files have.

    :raises InputUnusableError: ``input-unreadable`` or ``input-schema``.
    """
    path = spark_path(uri)
    try:
        found = spark.read.option("mergeSchema", "true").parquet(path).schema
    except (PySparkException, Py4JJavaError) as error:
        raise InputUnusableError(
            "input-unreadable",
            "The input cannot be read as one Parquet table.",
            got=_cause(error),
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
            "The input does not have the columns of the yellow-taxi table.",
            got="; ".join(problems),
            expected=", ".join(COLUMNS),
        )
    schema = StructType([StructField(name, types[name]) for name in COLUMNS])
    return spark.read.schema(schema).parquet(path)


def spark_path(uri: str) -> str:
    """Return a location in the form Hadoop takes it: file URIs decoded, and nothing in them a pattern."""
    parts = urlsplit(uri)
    if parts.scheme != "file":
        return uri
    return "file://" + re.sub(r"([\\*?\[\]{}])", r"\\\1", unquote(parts.path))


def aggregate(trips: DataFrame, options: Options) -> DataFrame:
    """Return one row per (first reason, hour, zone, payment type), with counts and exact sums."""
    met = {rule.name: F.coalesce(rule.condition(options), F.lit(False)) for rule in RULES}
    reason = F.lit(ACCEPTED)
    for index in reversed(range(len(REJECTING))):
        reason = F.when(met[REJECTING[index].name], index).otherwise(reason)
    flagged = measured(trips).select(
        "*",
        reason.alias("reason"),
        *(condition.cast("int").alias(name) for name, condition in met.items()),
    )
    accepted = F.col("reason") == ACCEPTED
    return flagged.groupBy(
        "reason",
        F.when(accepted, F.floor(F.pmod("pickup_s", F.lit(86_400)) / 3600)).otherwise(0).alias("hour"),
        F.when(accepted, F.greatest("pickup_zone", F.lit(0))).otherwise(0).alias("zone"),
        F.when(accepted, F.col("payment")).otherwise(0).alias("payment"),
    ).agg(
        F.count("*").alias("trips"),
        F.sum("total").alias("revenue_cents"),
        F.sum("fare").alias("fare_cents"),
        F.sum("tip").alias("tip_cents"),
        F.sum("distance").alias("distance_millimiles"),
        F.sum("duration").alias("duration_s"),
        F.min("pickup_s").alias("first_pickup_s"),
        F.max("pickup_s").alias("last_pickup_s"),
        *(F.sum(rule.name).alias(rule.name) for rule in RULES),
    )


def measured(trips: DataFrame) -> DataFrame:
    """Return the trips in whole seconds, cents and thousandths of a mile."""
    pickup = F.col("tpepPickupDateTime").cast("timestamp").cast("long")
    dropoff = F.col("tpepDropoffDateTime").cast("timestamp").cast("long")
    return trips.select(
        pickup.alias("pickup_s"),
        dropoff.alias("dropoff_s"),
        (dropoff - pickup).alias("duration"),
        F.col("passengerCount").alias("passengers"),
        F.col("vendorID").alias("vendor"),
        F.col("paymentType").alias("payment_text"),
        F.col("puLocationId").alias("pickup_text"),
        F.col("doLocationId").alias("dropoff_text"),
        payment(F.col("paymentType").cast("string")).alias("payment"),
        zone("puLocationId").alias("pickup_zone"),
        zone("doLocationId").alias("dropoff_zone"),
        whole(F.col("fareAmount"), 100, USABLE_DOLLARS).alias("fare"),
        whole(F.col("tipAmount"), 100, USABLE_DOLLARS).alias("tip"),
        whole(F.col("totalAmount"), 100, USABLE_DOLLARS).alias("total"),
        whole(F.col("tripDistance"), 1000, USABLE_MILES).alias("distance"),
    )


def whole(value: Column, units: int, limit: float) -> Column:
    """Return floor(value × units + 0.5), or null where the value is missing, NaN or not below the limit.

    Spark's own round() goes through BigDecimal and takes as long as all the rest of the job.
    """
    value = value.cast("double")
    return F.when(F.abs(value) < limit, F.floor(value * units + 0.5))


def zone(name: str) -> Column:
    """Return the taxi zone 1 … 265, 0 where it is missing, -1 where it is anything else."""
    number = F.expr(f"try_cast({name} AS INT)")
    return (
        F.when(number.between(1, LAST_ZONE) & ~F.col(name).contains("+"), number)
        .when(F.col(name).isNull(), 0)
        .otherwise(INVALID)
    )


def payment(text: Column) -> Column:
    """Return the payment type's place in PAYMENT_TYPES; missing is unknown, -1 is not recognised."""
    result = F.when(text.isNull(), PAYMENT_TYPES.index("unknown"))
    for index in range(len(PAYMENT_TYPES)):
        result = result.when(text == str(index + 1), index)
    word = F.lower(F.trim(text))
    for prefix, name in PAYMENT_PREFIXES:
        result = result.when(word.startswith(prefix), PAYMENT_TYPES.index(name))
    return result.otherwise(INVALID)


def write_results(groups: Sequence[Row], options: Options, duration_ms: int) -> None:
    """Write the three tables and, last, the summary.

    :raises InputUnusableError: ``month-without-data``, with nothing written.
    """
    print(f"Input DataFrame Count: {sum(group['trips'] for group in groups)}", flush=True)
    print(f"Aggregation duration: {duration_ms} ms", flush=True)
    accepted = [group for group in groups if group["reason"] == ACCEPTED]
    if not accepted:
        raise _without_data(groups, options)
    write_table(options.output / "by_hour.parquet", "hour", by_key(accepted, "hour", range(24)))
    write_table(options.output / "by_pickup_zone.parquet", "zone", by_key(accepted, "zone", ()))
    payments = by_key(accepted, "payment", range(len(PAYMENT_TYPES)))
    write_table(
        options.output / "by_payment_type.parquet",
        "payment_type",
        {PAYMENT_TYPES[index]: sums for index, sums in payments.items()},
    )
    summary = summarise(groups, accepted, options, duration_ms)
    text = json.dumps(summary, indent=1, allow_nan=False) + "\n"
    (options.output / "summary.json").write_text(text, encoding="utf-8")


def by_key(groups: Iterable[Row], key: str, always: Iterable[int]) -> dict[int, dict[str, int]]:
    """Return exact sums by one key, in its order; keys of ``always`` are there even without trips."""
    sums: dict[int, dict[str, int]] = defaultdict(lambda: dict.fromkeys(MEASURES, 0))
    for value in always:
        sums[value] = dict.fromkeys(MEASURES, 0)
    for group in groups:
        value = PAYMENT_TYPES.index("unknown") if group[key] == INVALID else group[key]
        for measure in MEASURES:
            sums[value][measure] += group[measure]
    return dict(sorted(sums.items()))


def write_table(path: Path, key: str, rows: Mapping[Any, Mapping[str, int]]) -> None:
    """Write one table; the same rows give the same bytes."""
    # Imported late: 0.3 s that a refused input need not wait for.
    import pyarrow as pa
    import pyarrow.parquet as pq

    ratios = [derived(sums) for sums in rows.values()]
    columns = {
        key: pa.array(rows.keys(), pa.string() if key == "payment_type" else pa.int32()),
        **{name: pa.array([sums[name] for sums in rows.values()], pa.int64()) for name in MEASURES},
        **{
            name: pa.array([ratio[name] for ratio in ratios], pa.float64())
            for name in ("tip_share", "speed_mph")
        },
    }
    pq.write_table(pa.table(columns), path)


def derived(sums: Mapping[str, int]) -> dict[str, float | None]:
    """Return tip share and mean speed: one division of exact integers each; null without a divisor."""
    revenue, duration = sums["revenue_cents"], sums["duration_s"]
    return {
        "tip_share": sums["tip_cents"] / revenue if revenue else None,
        "speed_mph": sums["distance_millimiles"] * 3600 / (duration * 1000) if duration else None,
    }


def summarise(
    groups: Sequence[Row], accepted: Sequence[Row], options: Options, duration_ms: int
) -> dict[str, Any]:
    """Return the content of summary.json."""
    totals = {measure: sum(group[measure] for group in accepted) for measure in MEASURES}
    rows = sum(group["trips"] for group in groups)
    money = ("revenue_cents", "fare_cents", "tip_cents")
    return {
        "v": 1,
        "job": "nytaxi",
        "month": options.month,
        "rows": {"input": rows, "accepted": totals["trips"], "rejected": rows - totals["trips"]},
        "totals": totals | derived(totals),
        "all_rows": {"rows": rows} | {name: sum(group[name] or 0 for group in groups) for name in money},
        "first_pickup": _iso(min(group["first_pickup_s"] for group in accepted)),
        "last_pickup": _iso(max(group["last_pickup_s"] for group in accepted)),
        "rules": [
            {
                "name": rule.name,
                "action": rule.action,
                "rows": sum(group[rule.name] for group in groups),
                "first": sum(group["trips"] for group in groups if group["reason"] == index),
            }
            for index, rule in enumerate(RULES)
            if rule.action == "reject"
        ]
        + [
            {"name": rule.name, "action": rule.action, "rows": sum(group[rule.name] for group in groups)}
            for rule in RULES
            if rule.action == "count"
        ],
        "options": {"outlier_cap_cents": options.outlier_cap_cents},
        "duration_ms": duration_ms,
    }


class Progress:
    """Prints how many tasks of the running stages are done, at most once a second."""

    def __init__(self, context: SparkContext) -> None:
        """Watch ``context``; nothing starts yet."""
        self._tracker = context.statusTracker()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        """Start watching."""
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        """Stop watching."""
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(PROGRESS_INTERVAL_S):
            stages = [self._tracker.getStageInfo(stage) for stage in self._tracker.getActiveStageIds()]
            done = sum(stage.numCompletedTasks for stage in stages if stage)
            total = sum(stage.numTasks for stage in stages if stage)
            if total:
                record = {"stage": "spark", "done": done, "total": total, "text": f"{done} of {total} tasks"}
                print("PROGRESS " + json.dumps(record), flush=True)


def _epoch(year: int, month: int) -> int:
    return int(datetime(year, month, 1, tzinfo=UTC).timestamp())


def _iso(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _without_data(groups: Sequence[Row], options: Options) -> InputUnusableError:
    reasons = {REJECTING[group["reason"]].name: group["trips"] for group in groups}
    return InputUnusableError(
        "month-without-data",
        f"The input has no usable trip of {options.month}.",
        got=f"rejected: {reasons}" if reasons else "no rows at all",
        expected="at least one trip",
    )


def _cause(error: Exception) -> str:
    """Return the innermost cause that Spark names; the outer ones only say that a task failed."""
    lines = str(error).splitlines() or [type(error).__name__]
    causes = [line.removeprefix("Caused by: ") for line in lines if line.startswith("Caused by: ")]
    return (causes[-1] if causes else lines[0])[:300]


if __name__ == "__main__":
    sys.exit(main())
