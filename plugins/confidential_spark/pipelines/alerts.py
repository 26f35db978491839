"""Failures and missed deadlines told by any notifier of Airflow that the settings name."""

from __future__ import annotations

from datetime import timedelta
from importlib import import_module
from typing import TYPE_CHECKING

from confidential_spark.core.errors import ConfigurationError
from confidential_spark.pipelines.defaults import DEFAULT_ARGS
from confidential_spark.pipelines.settings import alert_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow.sdk.bases.notifier import BaseNotifier
    from airflow.sdk.definitions.deadline import DeadlineAlert

    from confidential_spark.pipelines.settings import Event, NotifierEntry


def default_args() -> dict[str, object]:
    """Return what every task of a DAG has: the defaults, and who is told when it fails for good.

    :raises ConfigurationError: as :func:`failure_notifiers`.
    """
    notifiers = failure_notifiers()
    return {**DEFAULT_ARGS, "on_failure_callback": notifiers} if notifiers else DEFAULT_ARGS


def failure_notifiers() -> list[BaseNotifier]:
    """Return what is called when a task has failed for good: once for each cause, with its exception.

    :raises ConfigurationError: as :func:`notifier_of`, or ``settings-invalid``.
    """
    return [notifier_of(entry) for entry in entries("failure")]


def deadline_alerts() -> list[DeadlineAlert]:
    """Return what is called when a run has not ended in time.

    :raises ConfigurationError: as :func:`notifier_of`, or ``settings-invalid``.
    """
    found = list(entries("deadline"))
    if not found:
        return []
    # Imported late: most deployments have no alerts.
    from airflow.sdk.bases.notifier import BaseNotifier
    from airflow.sdk.definitions.callback import AsyncCallback, SyncCallback
    from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference

    interval = timedelta(hours=alert_settings().deadline_hours)
    alerts = []
    for entry in found:
        waits = type(notifier_of(entry)).async_notify is not BaseNotifier.async_notify
        # The triggerer calls those that can wait for an answer; a worker calls the others.
        callback = AsyncCallback if waits else SyncCallback
        alerts.append(
            DeadlineAlert(
                reference=DeadlineReference.DAGRUN_QUEUED_AT,
                interval=interval,
                callback=callback(entry.notifier, kwargs=dict(entry.arguments)),
            )
        )
    return alerts


def entries(event: Event) -> Iterator[NotifierEntry]:
    """Yield the notifiers that are told of an event."""
    return (entry for entry in alert_settings().notifiers if event in entry.on)


def notifier_of(entry: NotifierEntry) -> BaseNotifier:
    """Return a notifier as it will be called.

    :raises ConfigurationError: ``alert-notifier-unknown``: there is no such class, or it is no notifier;
        ``alert-notifier-arguments``: it refuses its arguments.
    """
    notifier = _notifier_class(entry.notifier)
    try:
        return notifier(**entry.arguments)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            "A notifier of alerts refuses its arguments.",
            code="alert-notifier-arguments",
            got=f"{entry.notifier}: {error}",
            expected="the arguments of its constructor",
            action="correct CONFIDENTIAL_SPARK_ALERT_NOTIFIERS; the provider's documentation has them",
        ) from error


def _notifier_class(path: str) -> type[BaseNotifier]:
    from airflow.sdk.bases.notifier import BaseNotifier

    module, _, name = path.rpartition(".")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise _unknown(path, str(error)) from error
    if not (isinstance(found, type) and issubclass(found, BaseNotifier)):
        raise _unknown(path, "it is no subclass of airflow.sdk.BaseNotifier")
    return found


def _unknown(path: str, why: str) -> ConfigurationError:
    return ConfigurationError(
        "A notifier of alerts is not there.",
        code="alert-notifier-unknown",
        got=f"{path}: {why}",
        expected="the dotted path of a notifier whose provider is installed everywhere",
        action="correct CONFIDENTIAL_SPARK_ALERT_NOTIFIERS, or install the provider",
    )
