"""Time and memory of one synthetic month.

    python benchmarks/synthetic_month.py --rows 9000000

CPU seconds matter more than wall time on a shared machine; the manifest's share is shown beside it.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

from confidential_spark.core.months import Month
from confidential_spark.jobs.input.manifest import read_manifest
from confidential_spark.jobs.nytaxi.trip_schema import TRIPS
from confidential_spark.simulation.trips.month import write_month


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=9_000_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter(), time.process_time()
        month = write_month(Month(2018, 5), rows, Path(folder))
        written = report("write_month", started, rows)
        started = time.perf_counter(), time.process_time()
        manifest = read_manifest(month.as_uri(), Month(2018, 5), TRIPS)
        read = report("read_manifest", started, rows)
        print(f"read / write   {read / written:.3f} CPU")
        print(f"{manifest.bytes / 1e6:.0f} MB in {len(manifest.files)} files")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory {peak:.0f} MB")


def report(name: str, started: tuple[float, float], rows: int) -> float:
    """Print one part's figures and return its CPU seconds."""
    wall, cpu = time.perf_counter() - started[0], time.process_time() - started[1]
    print(f"{name:14} {rows:>10,} rows  {wall:6.2f} s wall  {cpu:6.2f} s CPU  {rows / wall:>12,.0f} rows/s")
    return cpu


if __name__ == "__main__":
    main()
