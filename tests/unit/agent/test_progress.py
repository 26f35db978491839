from __future__ import annotations

import pytest
from confidential_spark.agent.progress import parse_progress, progress_line
from hypothesis import given
from hypothesis import strategies as st


@given(
    st.sampled_from(["attest", "spark", "sign"]),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.text(max_size=50),
)
def test_reads_what_it_writes(stage, done, total, text):
    record = {"stage": stage, "done": done, "total": total, "text": text}
    assert parse_progress(progress_line(stage, done, total, text)) == record


@pytest.mark.parametrize(
    "line",
    [
        "",
        "INFO progress",
        "PROGRESS ",
        "PROGRESS {",
        "PROGRESS []",
        'PROGRESS {"stage":"spark"}',
        'PROGRESS {"stage":"spark","done":true,"total":1,"text":""}',
        'PROGRESS {"stage":1,"done":0,"total":1,"text":""}',
        'PROGRESS {"stage":"spark","done":0,"total":1,"text":"","more":1}',
        "PROGRESS " + "[" * 900,
        'PROGRESS {"stage":"spark","done":0,"total":1,"text":"' + "x" * 1000 + '"}',
    ],
)
def test_other_lines_are_no_progress(line):
    assert parse_progress(line) is None
