"""The lines of docs/performance.md: what is divided by what, and the goal."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from benchmarks.side_by_side.subjects import DEFAULT_PI, Bench, Subject, program, sequence
from tests.support.places import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SMALL = 10_000
DAG_FILE = str(ROOT / "dags" / "nytaxi.py")
EMPTY_DAG_FILE = str(ROOT / "benchmarks" / "programs" / "empty_dag.py")


class Figure(StrEnum):
    """What of a cost is compared."""

    CPU = "cpu_s"
    WALL = "wall_s"
    MEMORY = "peak_mib"


@dataclass(frozen=True)
class Question:
    """One line of the page.

    :param other: what the cost is divided by; None: the cost itself is the answer.
    :param goal: the most that the answer should be; None: it is shown for comparison.
    """

    name: str
    one: Subject
    other: Subject | None = None
    goal: float | None = None
    figure: Figure = Figure.CPU


def groups(bench: Bench, *, rows: int, live: bool) -> Iterator[list[Question]]:
    """Yield the lines in groups whose subjects are run in turn, the quick ones first.

    :param rows: of the large month.
    :param live: whether to start whole Airflows as well, which takes many minutes.
    """
    pi = Question("SparkPi: our launcher / spark-submit", bench.pi(), DEFAULT_PI, 0.40)
    yield [pi, *of_month(bench, SMALL, whole_goal=1.0, stage_goal=0.40), *of_airflow()]
    yield [*of_month(bench, rows, whole_goal=1.0, stage_goal=0.55, recount_goal=4)]
    yield [*of_growth(bench, rows)]
    if live:
        yield [*of_live_airflow(bench)]


def of_airflow() -> Iterator[Question]:
    """Yield what a worker and the pages cost, Spark apart."""
    imports = Subject("imports of a task", program("task_imports", DAG_FILE))
    yield Question("One task's start: our imports, CPU s", imports, goal=0.3)
    files = {"nytaxi.py": DAG_FILE, "an empty DAG": EMPTY_DAG_FILE}
    whole = (Subject(f"python {name}", (sys.executable, file)) for name, file in files.items())
    yield Question("Parsing, whole process: nytaxi.py / an empty DAG", *whole, goal=3)
    # Without a goal: an empty file costs nearly nothing then.
    parse, empty = (program("parsed_dag", file) for file in files.values())
    parsed = Subject("parse of nytaxi.py", parse), Subject("parse of an empty DAG", empty)
    yield Question("Parsing, after Airflow's imports: nytaxi.py / an empty DAG", *parsed)
    names = {"ours": "verification of a bundle", "bare": "PyJWT and dcap-qvl alone"}
    ours, bare = (Subject(title, program("verified", name)) for name, title in names.items())
    yield Question("Verification / bare PyJWT and dcap-qvl", ours, bare, 3)
    for results, goal in ((400, 0.06), (648, 0.1)):
        listed = Subject(f"list page, {results} results", program("listed", str(results)))
        yield Question(f"List page with {results} results, CPU s", listed, goal=goal)
    room = Subject("control room, 18 years × 3 platforms × 3 jobs", program("room", "18"))
    yield Question("Control room with 18 years of 9 DAGs, CPU s", room, goal=0.1)


def of_month(
    bench: Bench, rows: int, *, whole_goal: float, stage_goal: float, recount_goal: float | None = None
) -> Iterator[Question]:
    """Yield a month of this size beside each baseline."""
    size = short(rows)
    whole, stage, submit = bench.make_run(rows), bench.spark_stage(rows), bench.default_submit(rows)
    yield Question(f"{size} rows: make run / (a)", whole, submit, whole_goal)
    yield Question(f"{size} rows: Spark stage / (a)", stage, submit, stage_goal)
    yield Question(f"{size} rows: Spark stage / (a), memory", stage, submit, figure=Figure.MEMORY)
    yield Question(f"{size} rows: make run / DuckDB's recount", whole, bench.recount(rows), recount_goal)
    if recount_goal:
        then = bench.recount_per_row(rows)
        yield Question(f"{size} rows: make run / the recount as the goal was set", whole, then, recount_goal)
    yield Question(f"{size} rows: Spark stage / bare count", stage, bench.bare_count(rows))
    for engine in ("duckdb", "polars"):
        yield Question(f"{size} rows: Spark stage / {engine}, sums only", stage, bench.engine(engine, rows))


def of_growth(bench: Bench, rows: int) -> Iterator[Question]:
    """Yield how cost and memory grow with three times the rows."""
    subjects: tuple[tuple[str, Callable[[int], Subject]], ...] = (
        ("Spark stage", bench.spark_stage),
        ("recount", bench.recount),
    )
    for name, subject in subjects:
        three, one, sizes = subject(3 * rows), subject(rows), f"{short(3 * rows)} / {short(rows)} rows"
        yield Question(f"{name}: {sizes}", three, one, 3.0)
        yield Question(f"{name}: {sizes}, memory", three, one, 1.1, Figure.MEMORY)


def of_live_airflow(bench: Bench) -> Iterator[Question]:
    """Yield what takes a whole Airflow."""
    back_fill = Subject("back-fill of 12 × 10,000 rows", program("live", "back-fill"))
    one_by_one = sequence(bench.default_submit(SMALL), 12)
    yield Question("Back-fill of 12 × 10,000 rows / 12 × (a)", back_fill, one_by_one, 0.7)
    yield Question("Back-fill of 12 × 10,000 rows, CPU s", back_fill, goal=200)
    idle = Subject("make ui, idle", program("live", "idle", "60"))
    yield Question("Idle make ui, share of a core", idle, goal=0.15)


def short(rows: int) -> str:
    """Return a number of rows as one says it."""
    return f"{rows / 1_000_000:g} M" if rows >= 1_000_000 else f"{rows:,}"
