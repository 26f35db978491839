"""The bench's arithmetic and its page; no test asserts a time."""

import json
import os
import sys

import pytest

from benchmarks.side_by_side.cost import CommandFailed, Cost, measure, process_tree
from benchmarks.side_by_side.page import page
from benchmarks.side_by_side.plot import plot
from benchmarks.side_by_side.questions import Figure, Question
from benchmarks.side_by_side.record import earlier, record, started, write
from benchmarks.side_by_side.rounds import answer, run_rounds
from benchmarks.side_by_side.subjects import Subject, environment

OURS, THEIRS = Subject("ours", ("ours",)), Subject("theirs", ("theirs",))
COSTS = {
    "ours": [Cost(9.0, 1.0, 100.0), Cost(9.0, 50.0, 100.0), Cost(9.0, 2.0, 300.0)],
    "theirs": [Cost(18.0, 4.0, 50.0)],
}


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        pytest.param(Question("q", OURS, THEIRS), 0.5, id="cpu"),
        pytest.param(Question("q", OURS, THEIRS, figure=Figure.WALL), 0.5, id="wall"),
        pytest.param(Question("q", OURS, THEIRS, figure=Figure.MEMORY), 2.0, id="memory"),
        pytest.param(Question("q", OURS), 2.0, id="absolute"),
        pytest.param(Question("q", OURS, Subject("other", ())), None, id="other-not-measured"),
        pytest.param(Question("q", Subject("other", ()), THEIRS), None, id="not-measured"),
    ],
)
def test_answers_by_medians(question, expected):
    assert answer(question, COSTS) == expected


def test_the_page_says_what_was_reached_missed_and_not_measured():
    lines = [
        Question("good", OURS, THEIRS, goal=0.6),
        Question("bad", OURS, THEIRS, goal=0.4),
        Question("absent", Subject("other", ()), goal=1),
    ]
    whole = json.loads(json.dumps(record(started(3), lines, COSTS)))
    text = page(whole)
    assert "| good | 0.5 | ≤ 0.6 | reached |" in text
    assert "| bad | 0.5 | ≤ 0.4 | **not reached** |" in text
    assert "| absent | not measured | ≤ 1 |  |" in text
    assert "| ours | 3 | 2 | 1 – 50 | 9 | 100 |" in text
    drawing = plot(whole["answers"])
    assert ">good<" in drawing
    assert ">absent<" not in drawing


def test_what_is_missing_is_added_to_earlier_results(tmp_path):
    write(tmp_path / "results.json", record(started(3), [Question("q", OURS, THEIRS)], COSTS))
    start, costs = earlier(tmp_path / "results.json")
    assert costs == COSTS
    assert record(start, [], costs)["rounds"] == 3


@pytest.mark.parametrize("program", [["listed", "2"], ["room", "1"]], ids=" ".join)
def test_the_pages_that_are_measured_are_there(program, tmp_path):
    """By the project's own modules and templates, which move."""
    command = [sys.executable, "-m", f"benchmarks.programs.{program[0]}", *program[1:]]
    assert measure(command, environment(), tmp_path).cpu_s > 0


def python(text: str) -> list[str]:
    return [sys.executable, "-c", text]


def test_a_program_may_say_what_a_part_of_it_cost(tmp_path):
    cost = measure(python("""print('MEASURED {"wall_s": 2.5, "cpu_s": 1.5}')"""), os.environ, tmp_path)
    assert (cost.wall_s, cost.cpu_s) == (2.5, 1.5)


def test_a_failure_shows_the_commands_last_lines(tmp_path):
    with pytest.raises(CommandFailed, match=r"exit code 3 .*\n.*the reason"):
        measure(python("print('the reason'); raise SystemExit(3)"), os.environ, tmp_path)


def test_a_failed_subject_costs_nothing_and_stops_no_other():
    failing, working = Subject("failing", python("1/0")), Subject("working", python("pass"))
    costs, prepared, said, kept = {}, [], [], []
    run_rounds(
        [Question("q", failing, working)],
        2,
        costs,
        prepare=prepared.append,
        say=said.append,
        keep=lambda: kept.append(1),
    )
    assert prepared == 2 * [failing, working]
    assert {title: len(runs) for title, runs in costs.items()} == {"working": 2}
    assert len(kept) == 2
    assert sum("ZeroDivisionError" in line for line in said) == 2


def test_each_runs_folder_is_its_own(tmp_path):
    assert Subject("s", ("a", "--to={folder}")).argv(tmp_path) == ["a", f"--to={tmp_path}"]


def test_children_of_children_count():
    assert os.getpid() in process_tree(os.getppid())
