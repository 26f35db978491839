"""Names and labels of a try, which Kubernetes must accept whatever a run is called."""

from __future__ import annotations

import re

import pytest
from confidential_spark.platforms.kubernetes.names import TryNames, label_value, nonce_digest, selector
from hypothesis import given
from hypothesis import strategies as st

DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")


@given(st.from_regex(r"[a-z][a-z0-9_]{0,63}", fullmatch=True), st.text(max_size=64))
def test_names_are_dns_labels(job: str, nonce: str) -> None:
    names = TryNames.of(job, nonce)
    for name in (names.driver, names.launch, names.attest, names.measure):
        assert DNS_LABEL.fullmatch(name)
        assert len(name) <= 63
    # Spark adds "-exec-1" and more to its prefix, and refuses one that is too long.
    assert len(names.base) <= 47


def test_another_nonce_has_other_names() -> None:
    assert TryNames.of("nytaxi", "a") != TryNames.of("nytaxi", "b")
    assert TryNames.of("nytaxi", "a") == TryNames.of("nytaxi", "a")


@given(st.text(max_size=300))
def test_label_values_are_valid(text: str) -> None:
    value = label_value(text)
    assert LABEL_VALUE.fullmatch(value, re.ASCII)
    assert 0 < len(value) <= 63


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("sparkpi_aks", "sparkpi_aks", id="unchanged"),
        pytest.param(
            "manual__2018-05-01T00:00:00+00:00", "manual__2018-05-01T00-00-00-00-00-5ff2df4d", id="run"
        ),
        pytest.param("-1", "1-", id="no-map-index"),
    ],
)
def test_label_values_can_be_read(text: str, value: str) -> None:
    assert label_value(text).startswith(value.removesuffix("-5ff2df4d"))


def test_runs_that_look_alike_are_told_apart() -> None:
    assert label_value("a+b") != label_value("a:b")


def test_a_nonce_is_no_label_but_its_digest_is() -> None:
    assert re.fullmatch("[0-9a-f]{32}", nonce_digest("-nonce_"))


def test_a_selector_names_every_label() -> None:
    assert selector({"b": "2", "a": "1"}) == "a=1,b=2"
