"""`results.json`: all that was measured, from which page and plot are made."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from benchmarks.side_by_side.cost import Cost
from benchmarks.side_by_side.machine import load, machine, versions
from benchmarks.side_by_side.rounds import answer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.side_by_side.questions import Question
    from benchmarks.side_by_side.rounds import Costs

Record = dict[str, Any]


def started(rounds: int) -> Record:
    """Return what is known before the first run."""
    now = datetime.now(UTC).isoformat(timespec="minutes")
    return {"v": 1, "at": now, "rounds": rounds, "machine": machine(), "versions": versions()}


def earlier(path: Path) -> tuple[Record, Costs]:
    """Return what was known before the first run of results that were written, and their costs."""
    whole = json.loads(path.read_text(encoding="utf-8"))
    costs = {title: [Cost(**cost) for cost in runs] for title, runs in whole["costs"].items()}
    return {name: whole[name] for name in ("v", "at", "rounds", "machine", "versions")}, costs


def record(start: Record, questions: Sequence[Question], costs: Costs) -> Record:
    """Return all of it, with the answers to the questions."""
    answers = [
        {
            "name": question.name,
            "one": question.one.title,
            "other": question.other.title if question.other else None,
            "figure": question.figure.value,
            "goal": question.goal,
            "answer": answer(question, costs),
        }
        for question in questions
    ]
    plain = {title: [asdict(cost) for cost in runs] for title, runs in costs.items()}
    return {**start, "load_at_end": load(), "answers": answers, "costs": plain}


def write(path: Path, whole: Record) -> None:
    """Replace the file at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    new.replace(path)
