"""Monthly analytics of New York's yellow taxis; `docs/results.md` defines every figure.

`query` prints the SQL of a month, which Spark runs; `finish` makes the tables and the summary of its result.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import defaultdict
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    Group = dict[str, Any]

EXIT_REQUEST_REFUSED = 65
EXIT_INPUT_UNUSABLE = 66
EXIT_FAILED = 80
DEFAULT_OUTLIER_CAP_CENTS = 100_000

COUNT = ("int", "bigint", "smallint", "tinyint", "double", "float")
ID = ("string", *COUNT)
AMOUNT = ("double", "float", "int", "bigint", "smallint", "tinyint", "decimal")
TIME = ("timestamp", "timestamp_ntz", "string")
TYPES: dict[str, Sequence[str]] = {
    "vendorID": ID,
    "tpepPickupDateTime": TIME,
    "tpepDropoffDateTime": TIME,
    "passengerCount": COUNT,
    "tripDistance": AMOUNT,
    "puLocationId": ID,
    "doLocationId": ID,
    "paymentType": ID,
    "fareAmount": AMOUNT,
    "tipAmount": AMOUNT,
    "totalAmount": AMOUNT,
}
# The layouts of the files, by the names of these columns: Azure's, and the TLC's since the year in the name.
# Where two have the same names, the columns behind them tell: a file of the version has at least one.
_RIDE = ("tpep_pickup_datetime", "tpep_dropoff_datetime", "passenger_count", "trip_distance")
_MONEY = ("payment_type", "fare_amount", "tip_amount", "total_amount")
_TLC = ("VendorID", *_RIDE, "PULocationID", "DOLocationID", *_MONEY)
_OF_2010 = ("vendor_id", "pickup_datetime", "dropoff_datetime", *_RIDE[2:], None, None, *_MONEY)
_OF_2009 = (
    "vendor_name",
    "Trip_Pickup_DateTime",
    "Trip_Dropoff_DateTime",
    "Passenger_Count",
    "Trip_Distance",
)
VERSIONS: dict[str, tuple[Sequence[str | None], Sequence[str]]] = {
    "azure-open-datasets": (tuple(TYPES), ()),
    "tlc-2025": (_TLC, ("cbd_congestion_fee",)),
    "tlc-2021": (_TLC, ("airport_fee",)),
    "tlc-2019": (_TLC, ("congestion_surcharge",)),
    "tlc-2011": (_TLC, ()),
    "tlc-2015-coordinates": (("VendorID", *_RIDE, None, None, *_MONEY), ("pickup_longitude",)),
    "tlc-2010": (_OF_2010, ()),
    "tlc-2009": ((*_OF_2009, None, None, "Payment_Type", "Fare_Amt", "Tip_Amt", "Total_Amt"), ()),
}

# What a column says, whatever its type. `typeof` is known before the first row, which leaves one branch: no
# work on text where the files have numbers. A number that is not whole is -1, and NaN is missing.
SECONDS = """\
CASE
      WHEN typeof({0}) <> 'string' OR length({0}) = 19
        AND {0} RLIKE '^[0-9]{{4}}-[0-9][0-9]-[0-9][0-9] [0-9][0-9]:[0-9][0-9]:[0-9][0-9]$'
      THEN CAST(CAST({0} AS TIMESTAMP) AS BIGINT)
    END"""
PRESENT = "CASE WHEN typeof({0}) NOT IN ('double', 'float') OR NOT isnan({0}) THEN {0} END"
NUMBER = """\
CASE
      WHEN typeof({0}) NOT IN ('double', 'float') OR {0} = floor({0}) THEN CAST({0} AS BIGINT)
      WHEN {0} IS NOT NULL AND NOT isnan({0}) THEN -1
    END"""
TEXT = f"CASE WHEN typeof({{0}}) = 'string' THEN CAST({{0}} AS STRING) WHEN {NUMBER} IS NOT NULL THEN '' END"
CODE = f"""\
CASE
      WHEN typeof({{0}}) = 'string' THEN CAST({{0}} AS STRING)
      WHEN {NUMBER} BETWEEN 0 AND 9 THEN substring('0123456789', CAST({{0}} AS INT) + 1, 1)
      WHEN {NUMBER} IS NOT NULL THEN '?'
    END"""

# Money is integer cents and distance integer thousandths of a mile: sums are exact, whatever the rows' order.
# `counted` is the one pass over the input, and its key is small: `met` has the bits of RULES, and `cell` is
# (hour * 267 + zone) * 9 + payment type, with zone 266 and payment type 8 for texts that are none.
# The rest unpacks these few ten thousand rows and adds them up by hour, zone, payment type and rules met:
# 82,944 ways to meet rules and 301 other rows at the most.
SQL = f"""\
WITH read AS (
  SELECT
    {SECONDS.format("tpepPickupDateTime")} AS pickup_s,
    {SECONDS.format("tpepDropoffDateTime")} AS dropoff_s,
    CAST(fareAmount AS DOUBLE) AS fare,
    CAST(tipAmount AS DOUBLE) AS tip,
    CAST(totalAmount AS DOUBLE) AS total,
    CAST(tripDistance AS DOUBLE) AS distance,
    {PRESENT.format("passengerCount")} AS passengers,
    {TEXT.format("vendorID")} AS vendor,
    {CODE.format("paymentType")} AS payment,
    {TEXT.format("puLocationId")} AS pickup_zone,
    {NUMBER.format("puLocationId")} AS pickup_number,
    {TEXT.format("doLocationId")} AS dropoff_zone,
    {NUMBER.format("doLocationId")} AS dropoff_number
  FROM trips
),
measured AS (
  SELECT
    pickup_s, dropoff_s, dropoff_s - pickup_s AS duration,
    CASE WHEN abs(fare) < 1e7 THEN floor(fare * 100 + 0.5D) END AS fare,
    CASE WHEN abs(tip) < 1e7 THEN floor(tip * 100 + 0.5D) END AS tip,
    CASE WHEN abs(total) < 1e7 THEN floor(total * 100 + 0.5D) END AS total,
    CASE WHEN abs(distance) < 1e6 THEN floor(distance * 1000 + 0.5D) END AS distance,
    passengers, vendor,
    -- The TLC's codes are 0 to 6. Before 2011 every vendor spelled the words in its own way: prefixes decide.
    CASE
      WHEN payment = '1' THEN 1 WHEN payment = '2' THEN 2 WHEN payment = '3' THEN 3
      WHEN payment = '4' THEN 4 WHEN payment = '5' THEN 5 WHEN payment = '6' THEN 6
      WHEN payment IS NULL THEN 0
      WHEN payment = '0' THEN 7
      WHEN startswith(lower(trim(payment)), 'car') OR startswith(lower(trim(payment)), 'cr') THEN 1
      WHEN startswith(lower(trim(payment)), 'ca') OR startswith(lower(trim(payment)), 'cs') THEN 2
      WHEN startswith(lower(trim(payment)), 'no') THEN 3
      WHEN startswith(lower(trim(payment)), 'di') THEN 4
      WHEN startswith(lower(trim(payment)), 'un') OR startswith(lower(trim(payment)), 'na') THEN 5
      WHEN startswith(lower(trim(payment)), 'vo') THEN 6
      ELSE 8
    END AS payment,
    -- The casts also read '+5' and '5.9' as 5; neither is a zone.
    CASE
      WHEN pickup_number BETWEEN 1 AND 265
        AND NOT contains(pickup_zone, '+') AND NOT contains(pickup_zone, '.') THEN pickup_number
      WHEN pickup_zone IS NULL THEN 0
      ELSE 266
    END AS pickup_zone,
    CASE
      WHEN dropoff_number BETWEEN 1 AND 265
        AND NOT contains(dropoff_zone, '+') AND NOT contains(dropoff_zone, '.') THEN dropoff_number
      WHEN dropoff_zone IS NULL THEN 0
      ELSE 266
    END AS dropoff_zone
  FROM read
),
-- Most rows meet no rule, so each CASE asks for the usual value first. A comparison with null is not true.
judged AS (
  SELECT
    *,
    CASE WHEN pickup_s >= :starts_at AND pickup_s < :ends_at THEN 0 WHEN pickup_s IS NULL THEN 1 ELSE 2 END
    + CASE
        WHEN duration BETWEEN 1 AND 21600 THEN 0
        WHEN duration = 0 THEN 1024
        WHEN duration < 0 THEN 8
        WHEN duration > 21600 THEN 16
        WHEN dropoff_s IS NULL THEN 4
        ELSE 0
      END
    + CASE
        WHEN fare BETWEEN 0 AND :outlier_cap_cents AND total BETWEEN 0 AND :outlier_cap_cents
          AND tip <= :outlier_cap_cents THEN 0
        ELSE
          CASE WHEN fare IS NULL OR tip IS NULL OR total IS NULL THEN 32 ELSE 0 END
          + CASE WHEN fare < 0 OR total < 0 THEN 64 ELSE 0 END
          + CASE WHEN greatest(fare, tip, total) > :outlier_cap_cents THEN 128 ELSE 0 END
      END
    + CASE WHEN distance BETWEEN 1 AND 500000 THEN 0 WHEN distance = 0 THEN 512 ELSE 256 END
    + CASE WHEN passengers <> 0 THEN 0 WHEN passengers = 0 THEN 2048 ELSE 4096 END
    + CASE WHEN vendor IS NULL THEN 8192 ELSE 0 END
    + CASE
        WHEN dropoff_zone BETWEEN 1 AND 263 THEN 0
        WHEN dropoff_zone = 0 THEN 524288
        WHEN dropoff_zone = 266 THEN 2097152
        ELSE 1048576
      END AS met,
    (coalesce(pmod(pickup_s div 3600, 24), 0) * 267 + pickup_zone) * 9 + payment AS cell
  FROM measured
),
counted AS (
  SELECT
    cell, met, count(*) AS trips,
    sum(total) AS revenue_cents,
    sum(fare) AS fare_cents,
    sum(tip) AS tip_cents,
    sum(distance) AS distance_millimiles,
    sum(duration) AS duration_s,
    min(pickup_s) AS first_pickup_s,
    max(pickup_s) AS last_pickup_s
  FROM judged
  GROUP BY cell, met
),
unpacked AS (
  SELECT
    CASE WHEN met & 511 = 0 THEN cell div 2403 END AS hour,
    CASE WHEN met & 511 = 0 THEN cell div 9 % 267 % 266 END AS zone,
    CASE WHEN met & 511 = 0 THEN cell % 9 END AS payment,
    met
      + CASE cell % 9 WHEN 0 THEN 16384 WHEN 7 THEN 4194304 WHEN 8 THEN 32768 ELSE 0 END
      + CASE
          WHEN cell div 9 % 267 BETWEEN 1 AND 263 THEN 0
          WHEN cell div 9 % 267 = 0 THEN 65536
          WHEN cell div 9 % 267 = 266 THEN 262144
          ELSE 131072
        END AS met,
    trips, revenue_cents, fare_cents, tip_cents, distance_millimiles, duration_s,
    first_pickup_s, last_pickup_s
  FROM counted
)
SELECT
  hour, zone, payment, met,
  sum(trips) AS trips,
  sum(revenue_cents) AS revenue_cents,
  sum(fare_cents) AS fare_cents,
  sum(tip_cents) AS tip_cents,
  sum(distance_millimiles) AS distance_millimiles,
  sum(duration_s) AS duration_s,
  min(first_pickup_s) AS first_pickup_s,
  max(last_pickup_s) AS last_pickup_s
FROM unpacked
GROUP BY GROUPING SETS ((hour), (zone), (payment), (met))
"""  # noqa: S608 - own names
MAX_ROWS = 100_000


class Rule(NamedTuple):
    """One quirk of the data: rows with all its bits in `met` are rejected from all sums, or only counted."""

    name: str
    action: str
    bits: int


# Order matters: the first rule that rejects a row is the reason it is filed under.
RULES = (
    Rule("pickup_time_missing", "reject", 1),
    Rule("pickup_outside_month", "reject", 2),
    Rule("dropoff_time_missing", "reject", 4),
    Rule("dropoff_before_pickup", "reject", 8),
    Rule("duration_over_6h", "reject", 16),
    Rule("amount_unusable", "reject", 32),
    Rule("fare_negative", "reject", 64),
    Rule("amount_outlier", "reject", 128),
    Rule("distance_unusable", "reject", 256),
    Rule("distance_zero", "count", 512),
    Rule("duration_zero", "count", 1024),
    Rule("passengers_zero", "count", 2048),
    Rule("passengers_missing", "count", 4096),
    Rule("vendor_missing", "count", 8192),
    Rule("payment_missing", "count", 16384),
    Rule("vendor_payment_passengers_missing", "count", 8192 + 16384 + 4096),
    Rule("payment_unrecognised", "count", 32768),
    Rule("payment_flex_fare", "count", 4194304),
    Rule("pickup_zone_missing", "count", 65536),
    Rule("pickup_zone_unknown", "count", 131072),
    Rule("pickup_zone_invalid", "count", 262144),
    Rule("dropoff_zone_missing", "count", 524288),
    Rule("dropoff_zone_unknown", "count", 1048576),
    Rule("dropoff_zone_invalid", "count", 2097152),
)
REJECTED = 511
PAYMENT_TYPES = ("credit", "cash", "no_charge", "dispute", "unknown", "voided", "flex_fare")
# By the code in `payment`: 0 is missing, 8 is not recognised.
PAYMENT_OF_CODE = ("unknown", *PAYMENT_TYPES, "unknown")
MEASURES = ("trips", "revenue_cents", "fare_cents", "tip_cents", "distance_millimiles", "duration_s")
RESULT = ("hour", "zone", "payment", "met", *MEASURES, "first_pickup_s", "last_pickup_s")


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
            help="a fare, tip or total above this is an outlier; default %(default)s",
        )
    add("--rows", required=True, type=Path, help="folder of Spark's result: figures.json, groups.jsonl")
    add("--output", required=True, type=Path, help="folder for the results")
    return top


def month(text: str) -> str:
    """Return a month from 2009 on as it is.

    :raises argparse.ArgumentTypeError: for anything else.
    """
    if re.fullmatch(r"(2009|20[1-9][0-9])-(0[1-9]|1[0-2])", text, re.ASCII) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not YYYY-MM from 2009-01 on")
    return text


def cap(text: str) -> int:
    """Return a number of cents.

    :raises argparse.ArgumentTypeError: for anything but 1 … 999,999,999.
    """
    if re.fullmatch(r"[1-9][0-9]{0,8}", text, re.ASCII) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of cents from 1 to 999999999")
    return int(text)


def query(options: argparse.Namespace) -> None:
    """Print what Spark shall compute, as one JSON object."""
    year, number = map(int, options.month.split("-"))
    parameters = {
        "starts_at": _epoch(year, number),
        "ends_at": _epoch(year + number // 12, number % 12 + 1),
        "outlier_cap_cents": options.outlier_cap_cents,
    }
    queries = [{"name": "groups", "sql": SQL, "max_rows": MAX_ROWS}]
    request = {"v": 1, "job": "nytaxi", "input": {"trips": versions()}, "parameters": parameters}
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
    """Write the three tables and, last, the summary.

    :raises JobError: ``month-without-data``, or Spark's result is malformed; nothing is written.
    """
    ran, groups = read_result(options.rows)
    print(f"Input DataFrame Count: {ran.rows}", flush=True)
    print(f"Input version: {ran.version}", flush=True)
    print(f"Aggregation duration: {ran.duration_ms} ms", flush=True)
    rows = [group for group in groups if group["met"] is not None]
    if not any(_accepted(group) for group in rows):
        raise _without_data(rows, options.month)
    write_table(options.output / "by_hour.parquet", "hour", by_key(groups, "hour", range(24)))
    write_table(options.output / "by_pickup_zone.parquet", "zone", by_key(groups, "zone", ()))
    payments = by_key(groups, "payment", PAYMENT_TYPES)
    write_table(options.output / "by_payment_type.parquet", "payment_type", payments)
    summary = summarise(rows, options, ran)
    text = json.dumps(summary, indent=1, allow_nan=False) + "\n"
    (options.output / "summary.json").write_text(text, encoding="utf-8")


class Ran(NamedTuple):
    """What the runner says of its run: rows and version of the input."""

    duration_ms: int
    rows: int
    version: str


def read_result(folder: Path) -> tuple[Ran, list[Group]]:
    """Return what the runner says of its run, and the result's rows.

    :raises JobError: ``result-malformed``; also where it does not count each of the input's rows once.
    """
    try:
        figures = _parsed((folder / "figures.json").read_text(encoding="utf-8"))
        lines = (folder / "groups.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [_row(line) for line in lines]
        trips = figures["input"]["trips"]
        ran = Ran(int(figures["duration_ms"]), int(trips["rows"]), str(trips["version"]))
        counted = sum(row["trips"] for row in rows if row["met"] is not None)
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise _malformed(repr(error), "figures.json and groups.jsonl") from error
    if counted != ran.rows:
        raise _malformed(f"{counted} rows", f"the input's {ran.rows}")
    return ran, rows


def _row(line: str) -> Group:
    """Return a row of the result: a whole number or null in each column.

    :raises ValueError: it is none.
    """
    row = _parsed(line)
    if not isinstance(row, dict) or row.keys() != set(RESULT):
        raise ValueError(f"no row of {', '.join(RESULT)}: {line[:200]}")
    if any(type(value) is not int for value in row.values() if value is not None):
        raise ValueError(f"no whole number: {line[:200]}")
    # Sums over nothing are null.
    return row | {name: row[name] or 0 for name in MEASURES}


def by_key(groups: Iterable[Group], key: str, always: Iterable[Any]) -> dict[Any, dict[str, int]]:
    """Return exact sums by one key, in its order; keys of ``always`` are there even without trips."""
    sums: dict[Any, dict[str, int]] = defaultdict(lambda: dict.fromkeys(MEASURES, 0))
    for value in always:
        sums[value] = dict.fromkeys(MEASURES, 0)
    for group in sorted((group for group in groups if group[key] is not None), key=itemgetter(key)):
        value = PAYMENT_OF_CODE[group[key]] if key == "payment" else group[key]
        for measure in MEASURES:
            sums[value][measure] += group[measure]
    return sums


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


def summarise(rows: Sequence[Group], options: argparse.Namespace, ran: Ran) -> dict[str, Any]:
    """Return the content of summary.json."""
    accepted = [group for group in rows if _accepted(group)]
    totals = {measure: sum(group[measure] for group in accepted) for measure in MEASURES}
    count = sum(group["trips"] for group in rows)
    money = ("revenue_cents", "fare_cents", "tip_cents")
    return {
        "v": 1,
        "job": "nytaxi",
        "month": options.month,
        "input_version": ran.version,
        "rows": {"input": count, "accepted": totals["trips"], "rejected": count - totals["trips"]},
        "totals": totals | derived(totals),
        "all_rows": {"rows": count} | {name: sum(group[name] for group in rows) for name in money},
        "first_pickup": _iso(min(group["first_pickup_s"] for group in accepted)),
        "last_pickup": _iso(max(group["last_pickup_s"] for group in accepted)),
        "rules": [_rule(rule, rows) for rule in RULES],
        "options": {"outlier_cap_cents": options.outlier_cap_cents},
        "duration_ms": ran.duration_ms,
    }


def _rule(rule: Rule, rows: Sequence[Group]) -> dict[str, Any]:
    """Return how many rows meet a rule, and how many it is the first to reject."""
    met = sum(group["trips"] for group in rows if group["met"] & rule.bits == rule.bits)
    first = {"first": _first(rule, rows)} if rule.action == "reject" else {}
    return {"name": rule.name, "action": rule.action, "rows": met} | first


def _first(rule: Rule, rows: Iterable[Group]) -> int:
    """Return the rows that have no lower bit than this rule's; the lowest bits are those that reject."""
    return sum(group["trips"] for group in rows if group["met"] & -group["met"] == rule.bits)


def _accepted(group: Group) -> bool:
    return not group["met"] & REJECTED


def _without_data(rows: Sequence[Group], month: str) -> JobError:
    reasons = {rule.name: _first(rule, rows) for rule in RULES if rule.action == "reject"}
    got = {name: trips for name, trips in reasons.items() if trips}
    return JobError(
        EXIT_INPUT_UNUSABLE,
        "month-without-data",
        f"The input has no usable trip of {month}.",
        got=f"rejected: {got}" if rows else "no rows at all",
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


def _epoch(year: int, month: int) -> int:
    return int(datetime(year, month, 1, tzinfo=UTC).timestamp())


def _iso(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


if __name__ == "__main__":
    sys.exit(main())
