"""`docs/performance.md`, made from `results.json`."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

HEAD = """\
# Performance

<!-- Made by `make bench` from benchmarks/results.json. -->

What an attested run costs beside what one would run without it. **(a)** is the taxi job's PySpark form
under a default `spark-submit`, kept in `benchmarks/pyspark`. A ratio below 1 means that this project takes
less. Ratios are of medians; unless a line says memory, of **CPU seconds of all processes**, which neighbours
change less than the wall time. Subjects that are compared ran in turn.

`make bench` makes this page anew, `make bench QUICK=1` a shorter one in `var/bench`;
[benchmarks/README.md](../benchmarks/README.md) says how.

![Each answer beside its goal](performance.svg)
"""


def page(record: Mapping[str, Any]) -> str:
    """Return the page."""
    parts = (HEAD, *conditions(record), "## Answers\n", *answers(record["answers"]), "")
    costs = ("## Costs\n", "Medians of the runs, and the spread of CPU seconds from least to most.\n")
    return "\n".join((*parts, *costs, *cost_rows(record["costs"]))) + "\n"


def conditions(record: Mapping[str, Any]) -> Iterator[str]:
    """Yield when, where and with what."""
    machine, cores = record["machine"], record["machine"]["cores"]
    yield "## How it was measured\n"
    where = f"{machine['processor']}, {cores} cores, {machine['memory_gib']} GiB"
    yield f"{record['at']}, rounds: {record['rounds']}; {where}."
    yield ", ".join(f"{name} {number}" for name, number in record["versions"].items()) + "."
    before, after = machine["load"], record["load_at_end"]
    yield f"\nLoad average of {cores} cores: {before} at the start, {after} at the end."
    if max(before, after) > cores:
        yield (
            "**The machine was shared**: more wanted a core than there are. That stretches wall times, "
            "and CPU seconds too, as caches are shared. Trust ratios, and no single figure.\n"
        )


def answers(lines: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the table of the questions."""
    yield "| what | answer | goal | |"
    yield "| --- | --- | --- | --- |"
    for one in lines:
        goal, found = one["goal"], one["answer"]
        verdict = "" if goal is None or found is None else "reached" if found <= goal else "**not reached**"
        limit = "–" if goal is None else f"≤ {goal:g}"
        yield f"| {one['name']} | {number(found)} | {limit} | {verdict} |"


def cost_rows(costs: Mapping[str, Sequence[Mapping[str, float]]]) -> Iterator[str]:
    """Yield the table of the subjects."""
    yield "| subject | runs | CPU s | from – to | wall s | peak MiB |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for title, runs in costs.items():
        cpu = [run["cpu_s"] for run in runs]
        spread = f"{number(min(cpu))} – {number(max(cpu))}"
        wall, peak = (statistics.median(run[name] for run in runs) for name in ("wall_s", "peak_mib"))
        middle = number(statistics.median(cpu))
        yield f"| {title} | {len(runs)} | {middle} | {spread} | {number(wall)} | {peak:.0f} |"


def number(value: float | None) -> str:
    """Return a figure with three significant digits."""
    if value is None:
        return "not measured"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
