"""Every job's `finish` with rows that are none: refused by name, and nothing is written."""

from __future__ import annotations

import json

import pytest

from tests.support.job_runs import call, load

TAXI_ROW = {
    "hour": None, "zone": None, "payment": None, "met": 0, "trips": 3, "revenue_cents": 1, "fare_cents": 1,
    "tip_cents": 0, "distance_millimiles": 1, "duration_s": 1, "first_pickup_s": 1, "last_pickup_s": 1,
}  # fmt: skip


def counted(rows):
    return {"trips": {"version": "tlc-2011", "rows": rows}}


INPUT = counted(3)
JOBS = {
    "nytaxi": ("groups", TAXI_ROW, INPUT, ["--month", "2018-05"]),
    "nytaxi_demand": (
        "cells",
        {"day": 1, "zone": 5, "trips": 3},
        INPUT,
        ["--month", "2018-05", "--outlier-cap-cents", "1"],
    ),
    "sparkpi": ("inside", {"inside": 3}, {}, ["--partitions", "1"]),
}


def changed(content, **members):
    return {name: value for name, value in (content | members).items() if value is not ...}


def first(row):
    """Return the one name of a row that no other value can stand for."""
    return "inside" if "inside" in row else "trips"


ROWS = {
    "no-rows-file": lambda row: None,
    "garbage": lambda row: "hello\n",
    "cut-off": lambda row: json.dumps(row)[:-5],
    "another-value": lambda row: "[1]\n",
    "a-number": lambda row: "1\n",
    "null": lambda row: "null\n",
    "not-a-number": lambda row: json.dumps(changed(row, **{first(row): float("nan")})) + "\n",
    "infinite": lambda row: json.dumps(changed(row, **{first(row): float("inf")})) + "\n",
    "float": lambda row: json.dumps(changed(row, **{first(row): 3.0})) + "\n",
    "text": lambda row: json.dumps(changed(row, **{first(row): "3"})) + "\n",
    "truth": lambda row: json.dumps(changed(row, **{first(row): True})) + "\n",
    "missing-column": lambda row: json.dumps(changed(row, **{first(row): ...})) + "\n",
    "other-column": lambda row: json.dumps(changed(row, more=1)) + "\n",
    "empty-line": lambda row: json.dumps(row) + "\n\n",
}
FIGURES = {
    "no-figures": None,
    "figures-garbage": "hello",
    "figures-empty": "{}",
    "figures-list": "[]",
    "figures-no-duration": {"input": INPUT},
    "figures-nan": '{"duration_ms": NaN, "input": {"trips": {"rows": 3}}}',
}
RIGHT = "right"


@pytest.fixture
def finish(tmp_path):
    """Run `finish` of a job over these rows and figures."""

    def finish(job, rows=RIGHT, figures=RIGHT):
        name, row, inputs, arguments = JOBS[job]
        folder, output = tmp_path / "rows", tmp_path / "output"
        folder.mkdir()
        output.mkdir()
        contents = {
            f"{name}.jsonl": json.dumps(row) + "\n" if rows == RIGHT else rows,
            "figures.json": {"duration_ms": 1, "input": inputs} if figures == RIGHT else figures,
        }
        for file, content in contents.items():
            if content is not None:
                text = content if isinstance(content, str) else json.dumps(content)
                (folder / file).write_text(text)
        folders = ["--rows", str(folder), "--output", str(output)]
        return call(load(job), "finish", *arguments, *folders), sorted(file.name for file in output.iterdir())

    return finish


@pytest.mark.parametrize("job", JOBS)
def test_right_rows_are_taken(finish, job):
    ended, files = finish(job)
    assert (ended.code, ended.errors) == (0, [])
    assert "summary.json" in files


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("rows", ROWS)
def test_rows_that_are_none_are_refused(finish, job, rows):
    ended, files = finish(job, rows=ROWS[rows](JOBS[job][1]))
    assert (ended.code, ended.refusal, files) == (80, "result-malformed", [])


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("figures", FIGURES)
def test_figures_that_are_none_are_refused(finish, job, figures):
    ended, files = finish(job, figures=FIGURES[figures])
    assert (ended.code, ended.refusal, files) == (80, "result-malformed", [])


@pytest.mark.parametrize("job", ["nytaxi", "nytaxi_demand"])
def test_figures_without_the_inputs_version_are_refused(finish, job):
    ended, files = finish(job, figures={"duration_ms": 1, "input": {"trips": {"rows": 3}}})
    assert (ended.code, ended.refusal, files) == (80, "result-malformed", [])


@pytest.mark.parametrize("job", ["nytaxi", "nytaxi_demand"])
@pytest.mark.parametrize("rows", [0, 2, 4], ids=["none", "fewer", "more"])
def test_rows_that_do_not_add_up_to_the_inputs_are_refused(finish, job, rows):
    ended, files = finish(job, figures={"duration_ms": 1, "input": counted(rows)})
    assert (ended.code, ended.refusal, files) == (80, "result-malformed", [])
    assert f"the input's {rows}" in ended.errors[0]


@pytest.mark.parametrize("inside", [-1, 200_001])
def test_more_points_than_were_thrown_are_refused(finish, inside):
    ended, files = finish("sparkpi", rows=json.dumps({"inside": inside}) + "\n")
    assert (ended.code, ended.refusal, files) == (80, "result-malformed", [])


@pytest.mark.parametrize("job", ["nytaxi", "nytaxi_demand"])
def test_a_month_without_rows_is_refused(finish, job):
    ended, files = finish(job, rows="", figures={"duration_ms": 1, "input": counted(0)})
    assert (ended.code, ended.refusal, files) == (66, "month-without-data", [])
