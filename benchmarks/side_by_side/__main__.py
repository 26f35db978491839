"""Measure everything side by side, and write results, page and plot.

`make bench` takes an hour or more on two quiet cores; `make bench QUICK=1` takes minutes, with a smaller month,
one run of each subject and no live Airflow, and leaves the tracked page alone.
"""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from pathlib import Path

from confidential_spark.settings import PROJECT_DIR

from benchmarks.side_by_side.page import page
from benchmarks.side_by_side.plot import plot
from benchmarks.side_by_side.questions import questions
from benchmarks.side_by_side.record import Record, record, started, write
from benchmarks.side_by_side.rounds import Costs, run_rounds
from benchmarks.side_by_side.subjects import Bench

VAR = PROJECT_DIR / "var" / "bench"
RESULTS = PROJECT_DIR / "benchmarks" / "results.json"
DOCS = PROJECT_DIR / "docs"


def main() -> int:
    """Return 1 where a subject has no run."""
    options = parse_options()
    results, docs = (VAR / "quick.json", VAR) if options.quick else (RESULTS, DOCS)
    if not options.page:
        measure_all(options, results)
    found = json.loads(results.read_text(encoding="utf-8"))
    write_page(found, docs)
    return int(not all(found["costs"].values()))


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="1 M rows, one round, no live Airflow")
    parser.add_argument("--page", action="store_true", help="only make the page of the last results anew")
    parser.add_argument("--rounds", type=int, help="runs of each subject; default 3, quick 1")
    parser.add_argument("--rows", type=int, help="of the large month; default 9 million, quick 1 million")
    parser.add_argument("--no-live", action="store_true", help="leave out what starts a whole Airflow")
    parser.add_argument("--only", default="", help="only lines whose name has this in it")
    return parser.parse_args()


def measure_all(options: argparse.Namespace, results: Path) -> None:
    """Measure, and write the results after each run."""
    rounds = options.rounds or (1 if options.quick else 3)
    rows = options.rows or (1_000_000 if options.quick else 9_000_000)
    bench = Bench(VAR / "inputs")
    lines = list(questions(bench, rows=rows, live=not (options.quick or options.no_live)))
    lines = [line for line in lines if options.only in line.name]
    start = started(rounds)

    def keep(costs: Costs) -> None:
        write(results, record(start, lines, costs))

    run_rounds(lines, rounds, partial(print, flush=True), keep)


def write_page(found: Record, docs: Path) -> None:
    """Write page and plot."""
    (docs / "performance.md").write_text(page(found), encoding="utf-8")
    (docs / "performance.svg").write_text(plot(found["answers"]), encoding="utf-8")
    print(f"{docs / 'performance.md'} and its plot were written.")


if __name__ == "__main__":
    sys.exit(main())
