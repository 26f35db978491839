"""Measure everything side by side, and write results, page and plot.

`make bench` takes an hour or more on two quiet cores; `make bench QUICK=1` takes minutes, with a smaller
month, one run of each subject and no live Airflow, and leaves the tracked page alone.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from functools import partial
from typing import TYPE_CHECKING

from confidential_spark.settings import PROJECT_DIR

from benchmarks.side_by_side.page import page
from benchmarks.side_by_side.plot import plot
from benchmarks.side_by_side.questions import groups
from benchmarks.side_by_side.record import Record, earlier, record, started, write
from benchmarks.side_by_side.rounds import Costs, answer, run_rounds
from benchmarks.side_by_side.subjects import Bench
from scripts.process_tree import end_with_make

if TYPE_CHECKING:
    from pathlib import Path

VAR = PROJECT_DIR / "var" / "bench"
RESULTS = PROJECT_DIR / "benchmarks" / "results.json"
DOCS = PROJECT_DIR / "docs"


def main() -> int:
    """Return 1 where a line has no answer."""
    # As Ctrl-C does: what is being measured ends with the bench.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    options = parse_options()
    end_with_make()
    results, docs = (VAR / "quick.json", VAR) if options.quick else (RESULTS, DOCS)
    if not options.page:
        measure_all(options, results)
    found = json.loads(results.read_text(encoding="utf-8"))
    write_page(found, docs)
    return int(any(line["answer"] is None for line in found["answers"]))


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="1 M rows, one round, no live Airflow")
    parser.add_argument("--page", action="store_true", help="only make the page of the last results anew")
    parser.add_argument("--missing", action="store_true", help="only what the last results have no answer to")
    parser.add_argument("--rounds", type=int, help="runs of each subject; default 3, quick 1")
    parser.add_argument("--large-rounds", type=int, help="runs of what takes minutes; default as --rounds")
    parser.add_argument("--rows", type=int, help="of the large month; default 9 million, quick 1 million")
    parser.add_argument("--no-live", action="store_true", help="leave out what starts a whole Airflow")
    return parser.parse_args()


def measure_all(options: argparse.Namespace, results: Path) -> None:
    """Measure, and write the results after each run."""
    rounds = options.rounds or (1 if options.quick else 3)
    rows = options.rows or (1_000_000 if options.quick else 9_000_000)
    live = not (options.quick or options.no_live)
    bench = Bench(VAR / "inputs")
    found = list(groups(bench, rows=rows, live=live))
    lines = [line for group in found for line in group]
    start, costs = earlier(results) if options.missing else (started(rounds), Costs())

    def keep() -> None:
        write(results, record(start, lines, costs))

    for number, group in enumerate(found):
        times = rounds if number == 0 else options.large_rounds or rounds
        wanted = [line for line in group if not options.missing or answer(line, costs) is None]
        run_rounds(wanted, times, costs, prepare=bench.prepare, say=partial(print, flush=True), keep=keep)


def write_page(found: Record, docs: Path) -> None:
    """Write page and plot."""
    (docs / "performance.md").write_text(page(found), encoding="utf-8")
    (docs / "performance.svg").write_text(plot(found["answers"]), encoding="utf-8")
    print(f"{docs / 'performance.md'} and its plot were written.")


if __name__ == "__main__":
    sys.exit(main())
