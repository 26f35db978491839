"""What readers of every style meet while a month is published again and again.

`PYTHONPATH=plugins:. python -m benchmarks.republished_month [PUBLICATIONS] [GRACE_SECONDS]`

Prints each style's readings, how many mixed versions and how many met a fault. With a grace period of -1
replaced versions are removed at once, as they were before ADR 0012.
"""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from tests.support.month_on_files import MonthOnFiles
from tests.support.published_months import republish


def main() -> int:
    """Return 1 when a reader met what it must not meet."""
    publications = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    grace_s = float(sys.argv[2]) if len(sys.argv) > 2 else 3600
    started = perf_counter()
    with TemporaryDirectory() as folder:
        month = MonthOnFiles(Path(folder), timedelta(seconds=grace_s))
        tallies = republish(month, publications)
    torn = 0
    print(f"{'style':34} {'readings':>8} {'mixed':>6} {'faults':>6}  must not")
    for style in month.styles():
        tally = tallies[style.name]
        bad = len(tally.faults) + (tally.mixed if style.consistent else 0)
        torn += bad
        print(f"{style.name:34} {tally.readings:8} {tally.mixed:6} {len(tally.faults):6}  {bad or '–'}")
        for fault in tally.faults[:1]:
            print(f"    {fault.splitlines()[-1]}")
    print(f"{publications} publications in {perf_counter() - started:.0f} s")
    return int(torn > 0)


if __name__ == "__main__":
    sys.exit(main())
