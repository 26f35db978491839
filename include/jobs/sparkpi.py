"""Estimate π by throwing points at a square: the two-minute smoke test of a platform.

The points come from a fixed low-discrepancy sequence, so that a platform that computes wrongly is noticed.
`query` prints the SQL, which Spark runs; `finish` makes the summary of its one row.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Sequence

EXIT_REQUEST_REFUSED = 65
EXIT_FAILED = 80
SAMPLES_PER_PARTITION = 200_000
MAX_PARTITIONS = 10_000
# The R2 sequence (M. Roberts, 2018): fractional parts of multiples of these two fill a square evenly.
SQL = """\
WITH points AS (
  SELECT
    id * 0.7548776662466927D - floor(id * 0.7548776662466927D) AS x,
    id * 0.5698402909980532D - floor(id * 0.5698402909980532D) AS y
  FROM range(0, :samples, 1, :partitions)
)
SELECT count(*) AS inside FROM points WHERE x * x + y * y <= 1
"""


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
        add("--partitions", required=True, type=partitions, help="1 to 10000 tasks")
    add("--rows", required=True, type=Path, help="folder of Spark's result: figures.json, inside.jsonl")
    add("--output", required=True, type=Path, help="folder for the results")
    return top


def partitions(text: str) -> int:
    """Return a number of partitions.

    :raises argparse.ArgumentTypeError: for anything but 1 … 10000.
    """
    if re.fullmatch(r"[1-9][0-9]{0,4}", text, re.ASCII) is None or int(text) > MAX_PARTITIONS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {MAX_PARTITIONS}")
    return int(text)


def query(options: argparse.Namespace) -> None:
    """Print what Spark shall compute, as one JSON object."""
    parameters = {"samples": options.partitions * SAMPLES_PER_PARTITION, "partitions": options.partitions}
    queries = [{"name": "inside", "sql": SQL, "max_rows": 1}]
    request = {"v": 1, "job": "sparkpi", "input": {}, "parameters": parameters, "queries": queries}
    print(json.dumps(request), flush=True)


def finish(options: argparse.Namespace) -> None:
    """Write the summary.

    :raises JobError: ``result-malformed``, with nothing written.
    """
    samples = options.partitions * SAMPLES_PER_PARTITION
    inside, duration_ms = read_result(options.rows)
    if not 0 <= inside <= samples:
        raise _malformed(f"{inside} points inside", f"0 to {samples}")
    pi = 4 * inside / samples
    print(f"Pi is roughly {pi:.6f}", flush=True)
    summary = {
        "v": 1,
        "job": "sparkpi",
        "pi": pi,
        "samples": samples,
        "inside": inside,
        "rows": {"input": samples, "accepted": samples, "rejected": 0},
        "duration_ms": duration_ms,
    }
    (options.output / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")


def read_result(folder: Path) -> tuple[int, int]:
    """Return how many points lie inside the quarter circle, and how many milliseconds Spark took.

    :raises JobError: ``result-malformed``.
    """
    try:
        figures = _parsed((folder / "figures.json").read_text(encoding="utf-8"))
        (row,) = map(_parsed, (folder / "inside.jsonl").read_text(encoding="utf-8").splitlines())
        if row.keys() != {"inside"} or type(row["inside"]) is not int:
            raise ValueError(f"no row of a whole number inside: {row!r:.200}")
        return row["inside"], int(figures["duration_ms"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise _malformed(repr(error), "figures.json and inside.jsonl") from error


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
