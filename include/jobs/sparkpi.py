"""Estimate π by throwing points at a square: the two-minute smoke test of a platform.

The points come from a fixed low-discrepancy sequence, so that a platform that computes wrongly is noticed.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

if TYPE_CHECKING:
    from collections.abc import Sequence

SAMPLES_PER_PARTITION = 200_000
MAX_PARTITIONS = 10_000
# The R2 sequence (M. Roberts, 2018): fractional parts of multiples of these two fill a square evenly.
ALPHA_X, ALPHA_Y = 0.7548776662466927, 0.5698402909980532


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)  # type: ignore[union-attr]
    parser.add_argument("--partitions", required=True, type=partitions, help="1 to 10000 tasks")
    parser.add_argument("--output", required=True, type=Path, help="local folder for the results")
    options = parser.parse_args(arguments)
    run(options.partitions, options.output)
    return 0


def partitions(text: str) -> int:
    """Return a number of partitions.

    :raises argparse.ArgumentTypeError: for anything but 1 … 10000.
    """
    if re.fullmatch(r"[1-9][0-9]{0,4}", text, re.ASCII) is None or int(text) > MAX_PARTITIONS:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected 1 to {MAX_PARTITIONS}")
    return int(text)


def run(tasks: int, output: Path) -> None:
    """Count the points inside the quarter circle and write the summary."""
    spark = SparkSession.builder.appName("sparkpi").getOrCreate()
    samples = tasks * SAMPLES_PER_PARTITION
    started = time.monotonic()
    try:
        x = F.col("id") * ALPHA_X - F.floor(F.col("id") * ALPHA_X)
        y = F.col("id") * ALPHA_Y - F.floor(F.col("id") * ALPHA_Y)
        inside = spark.range(0, samples, 1, tasks).where(x * x + y * y <= 1).count()
        duration_ms = round((time.monotonic() - started) * 1000)
    finally:
        spark.stop()
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
    (output / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
