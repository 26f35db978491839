from __future__ import annotations

import json
from pathlib import Path

import pytest
from confidential_spark.jobs import JOBS
from confidential_spark.jobs.nytaxi import NYTAXI
from confidential_spark.ui.published import Published
from confidential_spark.ui.report_view import (
    check_lines,
    figures,
    identity,
    mapping,
    objects,
    result_view,
    step_lines,
)
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.ui.conftest import DAG_ID, KEY, REPORT, RUN_ID, SUMMARY

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda children: (
        st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=10), children, max_size=4)
    ),
    max_leaves=20,
)


def test_a_result_in_full(publish, tmp_path):
    publish()
    result = Published(tmp_path).result(DAG_ID, KEY)
    assert result is not None
    view = result_view(DAG_ID, NYTAXI, result, Path("policies/simulation.yaml"))

    assert (view.trust, view.synthetic, view.run_id) == ("simulated", True, RUN_ID)
    assert dict(view.figures)["Revenue"] == "$167,118.01"
    assert [line.tone for line in view.steps] == ["good", "bad"]
    assert [line.status for line in view.checks] == ["PASS", "WARN", "FAIL"]
    assert dict(view.identity) == {"MRENCLAVE": "ab" * 32, "TCB status": "UpToDate"}
    assert [len(chart.bars) for chart in view.charts] == [24, 2]
    assert view.charts[1].bars[1].label == "no charge"
    assert view.archive_command == (
        "confidential-spark verify nytaxi_local-2018-05/evidence.json "
        "--policy include/policies/simulation.yaml --at 2026-11-23T10:00:00Z"
    )
    assert view.verify_command == (
        f"confidential-spark verify {tmp_path / DAG_ID / KEY / 'evidence.json'} "
        "--policy policies/simulation.yaml --at 2026-11-23T10:00:00Z"
    )


@pytest.mark.parametrize("passed", ["true", 1, None, [True]])
def test_only_true_is_a_passed_check(passed):
    assert check_lines([{"name": "x", "severity": "error", "passed": passed}])[0].tone == "bad"


@pytest.mark.parametrize("status", ["pass", "NOT RUN", "", None])
def test_only_PASS_is_a_passed_step(status):
    assert step_lines([{"number": 1, "title": "x", "status": status}])[0].tone == "idle"


@pytest.mark.parametrize("value", [True, "12", None, [12], 1.5])
def test_a_figure_that_is_no_number_is_left_out(value):
    assert figures({"rows": {"input": value}}, NYTAXI) == ()


@given(JSON)
def test_no_content_of_a_report_breaks_the_page(value):
    step_lines(objects(value))
    check_lines(objects(value))
    identity(mapping(value))
    identity({"verification": value})


@given(JSON)
def test_no_content_of_a_summary_breaks_the_page(value):
    for job in JOBS.values():
        figures(mapping(value), job)
    figures({"rows": {"input": value}, "totals": value, "duration_ms": value}, NYTAXI)
    figures({"totals": {"revenue_cents": value, "speed_mph": value}}, NYTAXI)


def test_wrong_types_everywhere_show_nothing_and_raise_nothing(publish, tmp_path):
    publish(report=dict.fromkeys(REPORT, 5), summary=dict.fromkeys(SUMMARY, "x"))
    result = Published(tmp_path).result(DAG_ID, KEY)
    assert result is not None
    view = result_view(DAG_ID, NYTAXI, result, Path("p"))

    assert (view.figures, view.steps, view.checks, view.identity, view.synthetic) == ((), (), (), (), False)
    assert json.dumps(view.trust) == '"5"'
