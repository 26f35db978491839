"""Notifiers of Airflow that the settings name: told of failures, of missed deadlines, or of neither."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk import AsyncCallback, BaseNotifier, SyncCallback
from confidential_spark.core.errors import ConfigurationError
from confidential_spark.core.platforms import Platform
from confidential_spark.jobs.nytaxi import NYTAXI
from confidential_spark.pipelines.alerts import deadline_alerts, default_args, failure_notifiers
from confidential_spark.pipelines.defaults import DEFAULT_ARGS
from confidential_spark.pipelines.job import confidential_dag

SMTP = "airflow.providers.smtp.notifications.smtp.SmtpNotifier"
GRAPH = "airflow.providers.microsoft.azure.notifications.msgraph.MSGraphNotifier"


class Told(BaseNotifier):
    """A notifier of a worker: no `async_notify`."""

    template_fields = ("text",)

    def __init__(self, *, text: str, **more: Any) -> None:
        super().__init__(**more)
        self.text = text


TOLD = f"{__name__}.Told"


@pytest.fixture
def notifiers(deploy):
    """Names notifiers in the settings."""

    def notifiers(*entries: dict[str, Any], **settings: object) -> None:
        deploy(alert_notifiers=json.dumps(entries), **settings)

    return notifiers


@pytest.fixture
def importable(monkeypatch):
    """Lets this module be found by its name, as a deployment's own notifier is."""
    import sys

    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or __import__(__name__))


def test_without_a_notifier_nothing_changes() -> None:
    assert failure_notifiers() == []
    assert deadline_alerts() == []
    assert default_args() is DEFAULT_ARGS


def test_a_failure_is_told_by_a_notifier_of_a_provider(notifiers) -> None:
    notifiers(
        {"notifier": SMTP, "arguments": {"to": "on-call@example.invalid", "subject": "{{ ti.task_id }}"}}
    )

    [notifier] = default_args()["on_failure_callback"]  # type: ignore[misc]
    assert type(notifier).__name__ == "SmtpNotifier"
    assert notifier.to == "on-call@example.invalid"
    assert default_args().keys() - DEFAULT_ARGS.keys() == {"on_failure_callback"}


@pytest.mark.parametrize(
    ("on", "failures", "deadlines"),
    [
        pytest.param(["failure"], 1, 0, id="failure"),
        pytest.param(["deadline"], 0, 1, id="deadline"),
        pytest.param(["failure", "deadline"], 1, 1, id="both"),
    ],
)
def test_each_is_told_what_it_asks_for(notifiers, on: list[str], failures: int, deadlines: int) -> None:
    notifiers({"notifier": SMTP, "arguments": {"to": "x@example.invalid"}, "on": on})

    assert len(failure_notifiers()) == failures
    assert len(deadline_alerts()) == deadlines


def test_a_deadline_is_told_by_the_triggerer_where_the_notifier_can_wait(notifiers) -> None:
    notifiers(
        {"notifier": SMTP, "arguments": {"to": "x@example.invalid"}},
        alert_deadline_hours=3,
    )
    [alert] = deadline_alerts()

    assert isinstance(alert.callback, AsyncCallback)
    assert alert.callback.path == SMTP
    assert alert.callback.kwargs == {"to": "x@example.invalid"}
    assert alert.interval == timedelta(hours=3)


def test_a_deadline_is_told_by_a_worker_where_it_cannot(notifiers, importable) -> None:
    notifiers({"notifier": TOLD, "arguments": {"text": "late"}})

    [alert] = deadline_alerts()
    assert isinstance(alert.callback, SyncCallback)


@pytest.mark.parametrize(
    ("path", "arguments", "code", "said"),
    [
        pytest.param("no.such.Notifier", {}, "alert-notifier-unknown", "No module named", id="module"),
        pytest.param(f"{SMTP}s", {}, "alert-notifier-unknown", "no attribute", id="class"),
        pytest.param("pathlib.Path", {}, "alert-notifier-unknown", "no subclass", id="no-notifier"),
        pytest.param(SMTP, {}, "alert-notifier-arguments", "argument: 'to'", id="argument"),
    ],
)
def test_a_wrong_notifier_is_named_when_the_dag_is_read(
    notifiers, path: str, arguments: dict[str, Any], code: str, said: str
) -> None:
    notifiers({"notifier": path, "arguments": arguments})
    with pytest.raises(ConfigurationError, match=said) as refusal:
        confidential_dag(NYTAXI, Platform.LOCAL, doc_md="", params={})
    assert refusal.value.code == code


def test_every_task_and_the_run_of_a_job_have_them(notifiers) -> None:
    notifiers({"notifier": SMTP, "arguments": {"to": "x@example.invalid"}})
    dag = confidential_dag(NYTAXI, Platform.LOCAL, doc_md="", params={})

    assert dag is not None
    assert dag.deadline is not None
    assert len(dag.deadline) == 1
    assert all(len(task.on_failure_callback) == 1 for task in dag.tasks)
