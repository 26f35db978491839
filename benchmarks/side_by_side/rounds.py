"""Runs all subjects in turn, so that another program's load falls on each alike."""

from __future__ import annotations

import statistics
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from benchmarks.side_by_side.cost import CommandFailed, Cost, measure
from benchmarks.side_by_side.subjects import environment

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.side_by_side.questions import Question
    from benchmarks.side_by_side.subjects import Subject

Costs = dict[str, list[Cost]]


def run_rounds(
    questions: Sequence[Question],
    rounds: int,
    costs: Costs,
    *,
    prepare: Callable[[Subject], None],
    say: Callable[[str], None],
    keep: Callable[[], None],
) -> None:
    """Add to the costs of each subject, by its title; a subject that fails has fewer.

    :param prepare: called before each run.
    :param keep: called after each run: hours must not be lost to an interruption.
    """
    subjects = {one.title: one for question in questions for one in (question.one, question.other) if one}
    for number in range(1, rounds + 1):
        for title, subject in subjects.items():
            prepare(subject)
            load = Path("/proc/loadavg").read_text().split()[0]
            cost = run_once(subject, say)
            if cost:
                costs.setdefault(title, []).append(cost)
                say(f"{number}/{rounds}  {title:44} {line(cost)}  (load {load})")
                keep()


def run_once(subject: Subject, say: Callable[[str], None]) -> Cost | None:
    """Return what one run cost, or None: it failed, and its last lines were said."""
    with TemporaryDirectory() as logs, TemporaryDirectory() as folder:
        try:
            return measure(subject.argv(Path(folder)), environment(), Path(logs))
        except CommandFailed as error:
            say(f"FAILED  {subject.title}\n{error}")
            return None


def line(cost: Cost) -> str:
    """Return a cost in one line."""
    return f"{cost.cpu_s:9.3f} CPU s  {cost.wall_s:9.3f} s  {cost.peak_mib:6.0f} MiB"


def median(costs: Sequence[Cost], figure: str) -> float | None:
    """Return the median of one figure, or None: there is no run."""
    values = [asdict(cost)[figure] for cost in costs]
    return statistics.median(values) if values else None


def answer(question: Question, costs: Costs) -> float | None:
    """Return a question's ratio, or its figure; None where one of its subjects has no run."""
    one = median(costs.get(question.one.title, ()), question.figure)
    if question.other is None or one is None:
        return one
    other = median(costs.get(question.other.title, ()), question.figure)
    return one / other if other else None
