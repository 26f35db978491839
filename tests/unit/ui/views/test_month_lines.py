from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from confidential_spark.core.months import Month
from confidential_spark.ui.airflow_runs import MonthRun
from confidential_spark.ui.results.published_state import PublishedState
from confidential_spark.ui.views.calendar_view import CellState
from confidential_spark.ui.views.month_lines import month_lines

SIGNED = datetime(2026, 11, 1, tzinfo=UTC)
MAY = Month(2018, 5)


def published(state: CellState) -> PublishedState:
    return PublishedState(
        "month=2018-05", state, "simulated", "simulated", "VERIFIED 13/13", "first", 3, SIGNED
    )


def run(state: CellState, hours: int = 1) -> MonthRun:
    return MonthRun("second", state, SIGNED + timedelta(hours=hours), "spark.run_spark failed.")


@pytest.mark.parametrize(
    ("what", "newest", "expected"),
    [
        pytest.param(CellState.PASSED, None, CellState.PASSED, id="forgotten-run"),
        pytest.param(CellState.PASSED, run(CellState.PASSED), CellState.PASSED, id="passed"),
        pytest.param(CellState.WARNED, run(CellState.PASSED), CellState.WARNED, id="warned"),
        pytest.param(CellState.REFUSED, run(CellState.PASSED), CellState.REFUSED, id="changed-since"),
        pytest.param(CellState.REFUSED, run(CellState.FAILED), CellState.REFUSED, id="changed-and-failed"),
        pytest.param(CellState.PASSED, run(CellState.RUNNING), CellState.RUNNING, id="runs-again"),
        pytest.param(CellState.PASSED, run(CellState.QUEUED), CellState.QUEUED, id="queued-again"),
        pytest.param(CellState.PASSED, run(CellState.FAILED), CellState.FAILED, id="failed-since"),
        pytest.param(CellState.PASSED, run(CellState.REFUSED), CellState.REFUSED, id="refused-since"),
        pytest.param(CellState.PASSED, run(CellState.FAILED, -1), CellState.PASSED, id="failed-before"),
        pytest.param(None, run(CellState.FAILED), CellState.FAILED, id="failed"),
        pytest.param(None, run(CellState.REFUSED), CellState.REFUSED, id="refused"),
        pytest.param(None, run(CellState.RUNNING), CellState.RUNNING, id="running"),
        pytest.param(None, run(CellState.QUEUED), CellState.QUEUED, id="queued"),
        pytest.param(None, run(CellState.PASSED), CellState.MISSING, id="passed-without-publishing"),
    ],
)
def test_a_months_state(what, newest, expected):
    states = [published(what)] if what else []
    lines = month_lines(states, {MAY: newest} if newest else {})

    assert lines[MAY].state is expected
    assert lines[MAY].key == ("month=2018-05" if what else "")


def test_a_month_that_runs_again_still_says_what_is_published():
    line = month_lines([published(CellState.PASSED)], {MAY: run(CellState.RUNNING)})[MAY]

    assert (line.words, line.run_id) == (
        "an earlier version is published: VERIFIED 13/13, SIMULATED",
        "second",
    )


def test_what_is_not_a_month_has_no_cell():
    single = PublishedState("run=x", CellState.PASSED, "simulated", "simulated", "", "x", 3, SIGNED)
    assert month_lines([single], {}) == {}
