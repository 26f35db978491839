from __future__ import annotations

import json
import re

import pytest
from confidential_spark.jobs import JOBS
from confidential_spark.jobs.nytaxi import NYTAXI
from confidential_spark.ui.results.published import Published
from confidential_spark.ui.views.report_view import (
    check_lines,
    figures,
    identity,
    live_verdict,
    mapping,
    objects,
    result_view,
    step_lines,
)
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.ui.conftest import DAG_ID, KEY, MRENCLAVE, REPORT, RUN_ID, SUMMARY, with_checks

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda children: (
        st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=10), children, max_size=4)
    ),
    max_leaves=20,
)


def test_a_result_in_full(publish, judge, tmp_path):
    publish()
    result = Published(tmp_path).result(DAG_ID, KEY)
    assert result is not None
    view = result_view(judge, result)

    assert (view.trust, view.synthetic, view.run_id) == ("simulated", True, RUN_ID)
    assert dict(view.figures)["Revenue"] == "$167,118.01"
    assert [line.tone for line in view.steps] == ["good"] * 13
    assert [line.status for line in view.checks] == ["PASS", "WARN", "FAIL"]
    assert dict(view.identity)["MRENCLAVE"] == MRENCLAVE
    assert dict(view.identity)["TCB status"] == "UpToDate"
    assert [len(chart.bars) for chart in view.charts] == [24, 2]
    assert view.charts[1].bars[1].label == "no charge"


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
    identity({"mrenclave": value})


@given(JSON)
def test_no_content_of_a_summary_breaks_the_page(value):
    for job in JOBS.values():
        figures(mapping(value), job)
    figures({"rows": {"input": value}, "totals": value, "duration_ms": value}, NYTAXI)
    figures({"totals": {"revenue_cents": value, "speed_mph": value}}, NYTAXI)


def test_wrong_types_everywhere_show_nothing_and_raise_nothing(publish, judge, tmp_path):
    publish(report=dict.fromkeys(REPORT, 5), summary=dict.fromkeys(SUMMARY, "x"))
    result = Published(tmp_path).result(DAG_ID, KEY)
    assert result is not None
    view = result_view(judge, result)

    assert (view.figures, view.checks, view.synthetic) == ((), (), False)
    assert (view.trust, view.run_id) == ("", RUN_ID)


def test_what_a_refused_version_says_is_not_shown(publish, judge, tmp_path):
    (publish() / "summary.json").write_text(json.dumps({**SUMMARY, "rows": {"input": 666}}))
    result = Published(tmp_path).result(DAG_ID, KEY)
    assert result is not None
    view = result_view(judge, result)

    assert (view.figures, view.charts, view.trust) == ((), (), "")
    assert [line.code for line in view.steps if line.tone == "bad"] == ["result-digest-mismatch"]


JUST_NOW = r"VERIFIED JUST NOW 13/13 \(\d+ ms\)"


@pytest.mark.parametrize(
    ("severities", "word", "tone"),
    [
        pytest.param([], JUST_NOW, "good", id="passed"),
        pytest.param(["warn"], f"{JUST_NOW} · 1 WARNING", "warn", id="warned"),
        pytest.param(["warn", "warn"], f"{JUST_NOW} · 2 WARNINGS", "warn", id="warned-twice"),
        pytest.param(["error", "warn"], f"{JUST_NOW} · 1 CHECK FAILED · 1 WARNING", "bad", id="failed"),
    ],
)
def test_the_verdict_of_a_page_is_its_own_verification_and_its_warnings(
    publish, judge, tmp_path, severities, word, tone
):
    publish(report=with_checks(*severities))
    view = result_view(judge, Published(tmp_path).result(DAG_ID, KEY))
    found = live_verdict(view.judgement, view.checks)

    assert re.fullmatch(word, found.word)
    assert found.tone == tone


def test_a_refusal_names_the_first_step_that_failed(publish, judge, tmp_path):
    (publish() / "by_hour.parquet").unlink()
    view = result_view(judge, Published(tmp_path).result(DAG_ID, KEY))
    found = live_verdict(view.judgement, view.checks)

    assert (found.word, found.tone) == ("REFUSED JUST NOW", "bad")
    assert found.sentence.startswith("Step 12, result-missing: ")
