"""What is counted, in the names of docs/production.md."""

from __future__ import annotations

import re
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException
from confidential_spark.core.errors import (
    AttestationServiceError,
    ConfigurationError,
    PolicyError,
    ResultError,
    VerificationError,
)
from confidential_spark.operators.base import airflow_failures
from confidential_spark.operators.outcomes import metrics
from confidential_spark.operators.outcomes.metrics import count_published

from tests.support.places import ROOT


@pytest.fixture
def told(monkeypatch) -> list[tuple[Any, ...]]:
    from airflow.sdk.observability import stats

    told: list[tuple[Any, ...]] = []
    monkeypatch.setattr(stats, "incr", lambda name, tags: told.append((name, tags)))
    monkeypatch.setattr(stats, "timing", lambda name, dt, tags: told.append((name, dt, tags)))
    return told


def test_a_publication_is_counted_by_its_worth_and_its_stages_are_timed(told) -> None:
    count_published("nytaxi_local", "simulated", synthetic=True, timings={"spark": 12.5})
    assert told == [
        (
            "confidential_spark.results.published",
            {"dag_id": "nytaxi_local", "trust": "simulated", "synthetic": "true"},
        ),
        (
            "confidential_spark.stage.duration",
            timedelta(seconds=12.5),
            {"dag_id": "nytaxi_local", "stage": "spark"},
        ),
    ]


@pytest.mark.parametrize(
    ("error", "counted"),
    [
        pytest.param(VerificationError("x", code="token-expired"), True, id="evidence"),
        pytest.param(PolicyError("x", code="policy-invalid"), True, id="policy"),
        pytest.param(ResultError("x", code="checks-failed"), True, id="checks"),
        pytest.param(ResultError("x", code="disk-full"), False, id="no-space"),
        pytest.param(ConfigurationError("x", code="settings-invalid"), False, id="settings"),
        pytest.param(AttestationServiceError("x", code="y", retryable=True), False, id="service-away"),
        pytest.param(ValueError("x"), False, id="defect"),
    ],
)
def test_a_refusal_is_counted_by_its_name_and_nothing_else_is(told, error, counted) -> None:
    ti = SimpleNamespace(dag_id="nytaxi_local", task_id="validation.x", xcom_push=lambda key, value: None)
    log = SimpleNamespace(error=lambda *a: None, debug=lambda *a, **k: None)
    with pytest.raises((AirflowException, ValueError)), airflow_failures(log, ti):
        raise error
    tags = {"dag_id": "nytaxi_local", "task_id": "validation.x", "code": getattr(error, "code", "")}
    assert told == ([("confidential_spark.results.refused", tags)] if counted else [])


def test_a_run_is_not_lost_for_a_metric(monkeypatch, caplog) -> None:
    from airflow.sdk.observability import stats

    def broken(name: str, tags: object) -> None:
        raise OSError("no collector")

    monkeypatch.setattr(stats, "incr", broken)
    count_published("nytaxi_local", "simulated", synthetic=True)
    assert "confidential_spark.results.published is not told: no collector" in caplog.text


def test_the_documented_names_are_these() -> None:
    page = (ROOT / "docs" / "production.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `(confidential_spark\.[a-z.]+)` \|", page, re.MULTILINE))
    assert documented == {metrics.PUBLISHED, metrics.REFUSED, metrics.STAGE_DURATION}
