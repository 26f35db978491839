"""Every job's command line: what it takes, and how it refuses the rest before anything is read or written."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from tests.support.job_runs import JOBS, call, load, query

ARGUMENTS = {
    "nytaxi": {"--month": "2018-05", "--outlier-cap-cents": "100000"},
    "nytaxi_demand": {"--month": "2018-05", "--outlier-cap-cents": "100000"},
    "sparkpi": {"--partitions": "2"},
}
TAXIS = ("nytaxi", "nytaxi_demand")


def joined(options):
    return [part for option in options.items() if option[1] is not None for part in option]


def test_every_job_is_here():
    assert {file.stem for file in JOBS.glob("*.py")} == set(ARGUMENTS)


@pytest.mark.parametrize("job", ARGUMENTS)
def test_query_needs_the_standard_library_only_and_prints_one_request(job):
    # -S: without the folder of installed packages.
    command = [sys.executable, "-I", "-S", str(JOBS / f"{job}.py"), "query", *joined(ARGUMENTS[job])]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    (line,) = done.stdout.splitlines()
    assert json.loads(line)["job"] == job


CASES = [
    *(
        pytest.param(job, changes, id=f"{job}-{name}")
        for job in TAXIS
        for name, changes in {
            "no-month": {"--month": None},
            "empty-month": {"--month": ""},
            "month-without-zero": {"--month": "2018-5"},
            "month-with-a-day": {"--month": "2018-05-01"},
            "month-in-other-digits": {"--month": "२०१८-०५"},
            "month-and-a-line-end": {"--month": "2018-05\n"},
            "thirteenth-month": {"--month": "2018-13"},
            "before-the-records": {"--month": "2008-12"},
            "no-cap-at-all": {"--outlier-cap-cents": "0"},
            "negative-cap": {"--outlier-cap-cents": "-1"},
            "cap-as-float": {"--outlier-cap-cents": "1e5"},
            "cap-with-a-blank": {"--outlier-cap-cents": " 1"},
            "huge-cap": {"--outlier-cap-cents": "1000000000"},
            "abbreviated": {"--outlier-cap-cents": None, "--outlier-cap": "1"},
            "unknown": {"--surprise": "1"},
            "input": {"--input": "file:///x"},
        }.items()
    ),
    *(
        pytest.param("sparkpi", changes, id=f"sparkpi-{name}")
        for name, changes in {
            "nothing": {"--partitions": None},
            "none": {"--partitions": "0"},
            "too-many": {"--partitions": "10001"},
            "negative": {"--partitions": "-2"},
            "float": {"--partitions": "2.0"},
            "abbreviated": {"--partitions": None, "--part": "2"},
            "month": {"--month": "2018-05"},
        }.items()
    ),
]


@pytest.mark.parametrize("command", ["query", "finish"])
@pytest.mark.parametrize(("job", "changes"), CASES)
def test_wrong_arguments_are_refused_in_one_line(tmp_path, job, changes, command):
    arguments = joined(ARGUMENTS[job] | changes)
    folders = ["--rows", str(tmp_path), "--output", str(tmp_path)] if command == "finish" else []
    ended = call(load(job), command, *arguments, *folders)
    assert (ended.code, ended.refusal, ended.lines) == (65, "argument-invalid", [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("job", ARGUMENTS)
@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param([], id="nothing"),
        pytest.param(["run"], id="another-command"),
        pytest.param(["que"], id="abbreviated-command"),
        pytest.param(["finish"], id="without-rows"),
        pytest.param(["query", "--rows", "/x", "--output", "/y"], id="query-with-folders"),
    ],
)
def test_another_command_is_refused(job, arguments):
    command, more = arguments[:1], arguments[1:]
    ended = call(load(job), *command, *(joined(ARGUMENTS[job]) if command else []), *more)
    assert (ended.code, ended.refusal, ended.lines) == (65, "argument-invalid", [])


@pytest.mark.parametrize("job", TAXIS)
@pytest.mark.parametrize("month", ["2009-01", "2018-12", "2024-02"])
def test_the_month_is_bounded_by_its_first_and_last_second(job, month):
    parameters = query(load(job), "--month", month, "--outlier-cap-cents", "5")["parameters"]
    first, last = (
        datetime.fromtimestamp(s, UTC) for s in (parameters["starts_at"], parameters["ends_at"] - 1)
    )
    assert (f"{first:%Y-%m-%d %H:%M:%S}", f"{last:%Y-%m %H:%M:%S}") == (
        f"{month}-01 00:00:00",
        f"{month} 23:59:59",
    )
    assert parameters["outlier_cap_cents"] == 5


@pytest.mark.parametrize("job", TAXIS)
def test_the_cap_has_a_default(job):
    assert query(load(job), "--month", "2018-05")["parameters"]["outlier_cap_cents"] == 100_000
