"""Selectors mean what they mean to a real API server."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fakes.kubernetes_api.refusals import Refusal
from tests.support.fakes.kubernetes_api.selectors import field_matcher, label_matcher

POD = {
    "metadata": {"name": "driver", "namespace": "spark", "labels": {"role": "driver", "app/x": "a.b"}},
    "status": {"phase": "Running"},
}


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        pytest.param("", True, id="nothing-asked"),
        pytest.param("role=driver", True, id="equal"),
        pytest.param("role==driver,app/x=a.b", True, id="both-equal"),
        pytest.param("role=executor", False, id="other-value"),
        pytest.param("role!=executor", True, id="unequal"),
        pytest.param("checked!=True", True, id="an-absent-label-is-unequal"),
        pytest.param("role in (driver, executor)", True, id="in"),
        pytest.param("role in (executor),role=driver", False, id="in-and-equal"),
        pytest.param("role notin (executor)", True, id="notin"),
        pytest.param("absent notin (x)", True, id="an-absent-label-is-in-nothing"),
        pytest.param("role", True, id="there"),
        pytest.param("!role", False, id="not-there"),
        pytest.param("role=driver,!airflow-worker", True, id="as-airflow-asks"),
    ],
)
def test_labels(selector, matches) -> None:
    assert label_matcher(selector)(POD) is matches


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        pytest.param("metadata.name=driver", True, id="name"),
        pytest.param("metadata.name!=driver", False, id="other-name"),
        pytest.param("status.phase=Running,metadata.namespace=spark", True, id="both"),
        pytest.param("spec.nodeName=", True, id="an-absent-field-is-empty"),
    ],
)
def test_fields(selector, matches) -> None:
    assert field_matcher(selector)(POD) is matches


@pytest.mark.parametrize("selector", ["a=b=c", "a in b", "(a)", "a=b c"])
def test_other_label_selectors_are_refused(selector) -> None:
    with pytest.raises(Refusal, match="unable to parse"):
        label_matcher(selector)


@pytest.mark.parametrize(
    ("selector", "why"), [("metadata.labels=x", "not supported"), ("name", "invalid selector")]
)
def test_other_field_selectors_are_refused(selector, why) -> None:
    with pytest.raises(Refusal, match=why):
        field_matcher(selector)


@given(st.text())
def test_any_text_is_understood_or_refused(selector) -> None:
    for parse in (label_matcher, field_matcher):
        with contextlib.suppress(Refusal):
            assert parse(selector)(POD) in (True, False)
