"""A table that never says more than was looked at."""

from __future__ import annotations

import json

import pytest
from confidential_spark.core.check_rows import (
    NOT_LOOKED_AT,
    CheckRow,
    PlatformReport,
    Status,
    attempt,
    attempt_all,
    not_looked_at,
)
from confidential_spark.core.errors import ConfigurationError, EnclaveError
from hypothesis import given
from hypothesis import strategies as st

GOOD = CheckRow("engine", Status.OK, "Docker 20.10", "Docker 20.10 or later")
POOR = CheckRow("clock", Status.WARN, "9 s ahead", "within 5 s", "run NTP")
BAD = CheckRow("image", Status.FAIL, "no image", "an image", "run DAG enclave_image")
ABSENT = CheckRow("sgx-devices", Status.NOT_HERE, "no SGX device", "two devices", "use a DCsv3")
REFUSAL = ConfigurationError("No.", code="image-not-signed", got="x", expected="labels", action="build it")


def report(*rows, trust="simulated"):
    return PlatformReport("dcsv3", trust, "2026-11-23T06:00:00Z", rows)


def refuse():
    raise REFUSAL


@pytest.mark.parametrize(
    ("rows", "ready", "absent"),
    [
        pytest.param([GOOD], True, False, id="all-good"),
        pytest.param([GOOD, POOR], True, False, id="a-warning-does-not-stop"),
        pytest.param([GOOD, ABSENT], True, False, id="something-is-not-here"),
        pytest.param([GOOD, BAD], False, False, id="one-failure-stops"),
        pytest.param([ABSENT, BAD], False, False, id="failed-and-absent"),
        pytest.param([ABSENT, ABSENT], False, True, id="nothing-is-here"),
        pytest.param([], False, True, id="nothing-was-looked-at"),
    ],
)
def test_ready_means_that_something_was_checked_and_nothing_failed(rows, ready, absent):
    made = report(*rows)

    assert (made.is_ready, made.is_absent) == (ready, absent)
    if ready:
        made.require_ready()
    else:
        with pytest.raises(EnclaveError) as caught:
            made.require_ready()
        assert (caught.value.code, caught.value.retryable) == ("platform-not-ready", False)


@pytest.mark.parametrize(
    ("rows", "trust", "verdict"),
    [
        pytest.param([GOOD], "hardware", "dcsv3 can run hardware enclaves now", id="hardware"),
        pytest.param([BAD, GOOD], "hardware", "dcsv3 cannot run enclaves now: image", id="not-ready"),
        pytest.param([ABSENT], "hardware", "dcsv3 is not here: nothing was checked", id="not-here"),
    ],
)
def test_the_verdict_names_what_the_platform_is_ready_for(rows, trust, verdict):
    assert report(*rows, trust=trust).verdict == verdict


def test_a_simulated_platform_says_that_it_proves_nothing():
    assert "simulated enclaves" in report(GOOD).verdict
    assert "SIMULATED – proves nothing about hardware" in report(GOOD).table()


def test_the_table_has_a_line_per_row_and_what_to_do_for_each_that_is_not_ok():
    lines = report(GOOD, POOR, BAD, ABSENT).table().splitlines()

    assert lines[2:4] == ["OK        engine       Docker 20.10", "WARN      clock        9 s ahead"]
    assert [line.split("do: ")[1] for line in lines if "do: " in line] == [
        "run NTP",
        "run DAG enclave_image",
        "use a DCsv3",
    ]
    assert "expected: Docker 20.10 or later" not in report(GOOD).table()
    assert lines[-1].strip() == "1 OK · 1 WARN · 1 FAIL · 1 NOT HERE (not passed)"


def test_no_rows_still_make_a_table():
    assert "nothing was checked" in report().table()


def test_the_xcom_is_small_json_with_every_row():
    value = report(GOOD, BAD).to_dict()

    assert json.loads(json.dumps(value)) == value
    assert [row["status"] for row in value["rows"]] == ["OK", "FAIL"]
    assert value["ready"] is False


@pytest.mark.parametrize(
    ("trust", "passed", "status"),
    [
        ("hardware", True, Status.OK),
        ("hardware", False, Status.FAIL),
        ("simulated", True, Status.OK),
        ("simulated", False, Status.NOT_HERE),
    ],
)
def test_what_only_hardware_needs_is_absent_for_simulation(trust, passed, status):
    row = CheckRow.require_for_hardware("x", "a", "b", trust=trust, passed=passed, action="buy it")

    assert row.status is status
    assert bool(row.action) is not passed


def test_an_ok_row_needs_no_action():
    assert CheckRow.judge("x", 1, "1", passed=True, action="change it").action == ""
    assert CheckRow.advise("x", 1, "2", passed=False, action="change it").action == "change it"


def test_what_a_check_shows_is_short_and_printable():
    row = CheckRow.judge("x", "\x1b[31m" + "y" * 10_000, "z", passed=True, action="")

    assert len(row.got) <= 200
    assert row.got.isprintable()


def test_a_refusal_becomes_a_row_with_its_code_and_cure():
    row = attempt("image", "an image", refuse)

    assert (row.status, row.got, row.expected, row.action) == (
        Status.FAIL,
        "[image-not-signed] x",
        "labels",
        "build it",
    )


def test_rows_before_a_refusal_stay_and_rows_after_it_were_not_looked_at():
    def check():
        yield GOOD
        refuse()

    rows = attempt_all(("engine", "image", "measurement"), "…", check)

    assert [(row.name, row.status) for row in rows] == [
        ("engine", Status.OK),
        ("image", Status.FAIL),
        ("measurement", Status.NOT_HERE),
    ]
    assert rows[2].got == f"{NOT_LOOKED_AT}: correct image first"


def test_a_defect_in_a_check_is_not_a_row():
    with pytest.raises(ZeroDivisionError):
        attempt("x", "y", lambda: 1 // 0)


@given(st.lists(st.sampled_from(Status), max_size=12), st.sampled_from(["hardware", "simulated"]))
def test_what_was_not_looked_at_is_never_counted_as_passed(statuses, trust):
    rows = [CheckRow(f"r{number}", status, "g", "e", "a") for number, status in enumerate(statuses)]
    made = report(*rows, *not_looked_at(["last"], "engine"), trust=trust)

    assert made.is_ready == (Status.FAIL not in statuses and set(statuses) - {Status.NOT_HERE} != set())
    assert made.counts.endswith("NOT HERE (not passed)")
