"""Who is told when a run fails or takes too long."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic_settings import SettingsConfigDict

from confidential_spark.settings import ENV_PREFIX, DeploymentSettings, read_settings

DOTTED_PATH = r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)+$"
Event = Literal["failure", "deadline"]


class NotifierEntry(BaseModel):
    """One notifier of Airflow, and what it is told.

    :param notifier: dotted path of its class.
    :param arguments: of its constructor; texts are Jinja templates where the notifier says so.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    notifier: Annotated[str, Field(pattern=DOTTED_PATH)]
    arguments: dict[str, Any] = {}
    on: Annotated[tuple[Event, ...], Field(min_length=1)] = ("failure", "deadline")


class AlertSettings(DeploymentSettings):
    """What alerts need to know; see `docs/reference/settings.md`."""

    model_config = SettingsConfigDict(env_prefix=f"{ENV_PREFIX}ALERT_")

    notifiers: tuple[NotifierEntry, ...] = Field(
        default=(),
        description='Airflow notifiers that are told, as JSON: `[{"notifier": '
        '"airflow.providers.smtp.notifications.smtp.SmtpNotifier", "arguments": {"to": "on-call@example"}, '
        '"on": ["failure", "deadline"]}]`; without `on`, of both.',
    )
    deadline_hours: Annotated[int, Field(ge=1, le=8760)] = Field(
        default=12,
        description="Hours after which a queued run of a job that has not ended is told to notifiers of "
        "`deadline`.",
    )


def alert_settings() -> AlertSettings:
    """Return the settings of alerts.

    :raises ConfigurationError: ``settings-invalid``.
    """
    return read_settings(AlertSettings)
