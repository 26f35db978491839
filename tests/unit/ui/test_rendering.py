from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from confidential_spark.ui.rendering import moment, render, span


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (timedelta(seconds=4.24), "4.2 s"),
        (timedelta(minutes=2, seconds=3), "2 min 03 s"),
        (timedelta(hours=1, minutes=2), "1 h 02 min"),
    ],
)
def test_span(value, text):
    assert span(value) == text


def test_moments_are_in_utc():
    there = timezone(timedelta(hours=2))
    assert moment(datetime(2026, 1, 1, 1, tzinfo=there)) == "2025-12-31 23:00:00 UTC"
    assert moment(datetime(2026, 1, 1, tzinfo=UTC)) == "2026-01-01 00:00:00 UTC"
    assert moment(None) == "–"


def test_markup_in_values_is_escaped():
    said = {"detail": "<b>&\"'", "advice": "<b>", "login": "/<b>"}
    page = render("error.html", root="", status=404, **said)
    assert "<b>" not in page
    assert "&lt;b&gt;&amp;&#34;&#39;" in page
