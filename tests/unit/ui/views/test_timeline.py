"""When tasks worked: bars in proportion, logs of those that began, nothing of those that did not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from confidential_spark.core.stages import TASK_IDS
from confidential_spark.ui.views.run_view import Task
from confidential_spark.ui.views.timeline import SHORTEST, WIDTH, timeline
from hypothesis import given
from hypothesis import strategies as st

START = datetime(2026, 11, 1, 10, tzinfo=UTC)
FIRST, MINT, ATTEST = TASK_IDS[:3]


def task(task_id, begin, end, state="success", tries=1):
    moments = [None if at is None else START + timedelta(seconds=at) for at in (begin, end)]
    return Task(task_id, state, *moments, tries)


def test_bars_are_in_proportion_and_in_the_order_of_the_stages():
    found = timeline("d", "r", [task("own", 90, 100), task(ATTEST, 20, 60, tries=2), task(FIRST, 0, 20)])
    assert [(row.task_id, row.x, row.length) for row in found.rows] == [
        (FIRST, 0, 200),
        (ATTEST, 200, 400),
        ("own", 900, 100),
    ]
    assert found.elapsed == timedelta(seconds=100)
    assert (found.rows[1].after, found.rows[1].elapsed, found.rows[1].tries) == (
        timedelta(seconds=20),
        timedelta(seconds=40),
        2,
    )


def test_a_task_at_work_lasts_until_now():
    found = timeline("d", "r", [task(FIRST, 0, None, "running")], now=START + timedelta(seconds=7))
    assert found.elapsed == timedelta(seconds=7)
    assert (found.rows[0].css, found.rows[0].length) == ("running", WIDTH)


@pytest.mark.parametrize(
    ("state", "begin"),
    [
        pytest.param("upstream_failed", 5, id="airflow-notes-a-start-for-it"),
        pytest.param("skipped", 5, id="skipped"),
        pytest.param("waiting", None, id="not-begun"),
    ],
)
def test_a_task_that_did_not_work_has_no_bar_and_no_log(state, begin):
    found = timeline("d", "r", [task(FIRST, 0, 4), task(MINT, begin, begin, state)])
    assert (found.rows[1].length, found.rows[1].log, found.rows[1].elapsed) == (0, "", None)
    assert found.elapsed == timedelta(seconds=4)


def test_a_run_of_which_nothing_began_has_none():
    assert timeline("d", "r", [task(FIRST, None, None, "waiting")]) is None
    assert timeline("d", "r", []) is None


def test_the_log_is_airflows_page_of_the_task():
    (row,) = timeline("a/b", "manual__2026-11-01T00:00:00+00:00", [task(FIRST, 0, 1)]).rows
    run = "dags/a%2Fb/runs/manual__2026-11-01T00%3A00%3A00%2B00%3A00"
    assert row.log == f"{run}/tasks/image.resolve_image"


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), min_size=1, max_size=20))
def test_bars_can_be_seen_and_stay_inside_the_drawing(spans):
    found = timeline("d", "r", [task(f"t{n}", begin, begin + took) for n, (begin, took) in enumerate(spans)])
    assert all(row.length >= SHORTEST and 0 <= row.x <= row.x + row.length <= WIDTH for row in found.rows)
