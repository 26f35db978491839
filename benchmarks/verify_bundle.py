"""How long one bundle takes to verify inside a process.

`PYTHONPATH=plugins:. python -m benchmarks.verify_bundle [ROUNDS]`

Budget: 20 ms. Prints the median and the slowest round, policy read from its plain values each time.
"""

from __future__ import annotations

import statistics
import sys
from time import perf_counter

from tests.support.factories.bundles import make_bundle

BUDGET_MS = 20


def main() -> int:
    """Return 1 when the median is over the budget."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    bundle = make_bundle()
    times = []
    for _ in range(rounds):
        start = perf_counter()
        report = bundle.verify()
        times.append((perf_counter() - start) * 1000)
        assert report.passed, report.text()
    median = statistics.median(times)
    slowest = max(times)
    print(f"{rounds} bundles: median {median:.2f} ms, slowest {slowest:.2f} ms, budget {BUDGET_MS} ms")
    print(f"of the budget:  median {median / BUDGET_MS:.2f}, slowest {slowest / BUDGET_MS:.2f}")
    return int(median > BUDGET_MS)


if __name__ == "__main__":
    sys.exit(main())
