"""An Airflow connection by its id, or why it could not be looked up."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from confidential_spark.core.errors import ConfigurationError
from confidential_spark.core.failures import failure_named

if TYPE_CHECKING:
    from airflow.sdk import Connection

DENIED = (401, 403)
AWAY = re.compile(r"Failed to resolve|Name or service not known|timed out|refused|unreachable|Max retries")


def find_connection(conn_id: str) -> Connection | None:
    """Return the connection, or None where no source of connections has it.

    :raises ConfigurationError: ``secrets-denied``, ``secrets-unreachable``.
    """
    try:
        return BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        # Airflow says the same of a vault that does not answer.
        _require_answers(conn_id)
        return None


def _require_answers(conn_id: str) -> None:
    """Ask each source of connections again, and raise what one of them says.

    :raises ConfigurationError: ``secrets-denied``, ``secrets-unreachable``.
    """
    from airflow.sdk.execution_time.supervisor import ensure_secrets_backend_loaded

    for backend in ensure_secrets_backend_loaded():
        try:
            backend.get_connection(conn_id=conn_id)
        except Exception as error:  # a deployment may name any backend, which raises what it likes
            raise _backend_error(conn_id, type(backend).__name__, error) from None


def _backend_error(conn_id: str, backend: str, error: Exception) -> ConfigurationError:
    from azure.core.exceptions import ClientAuthenticationError

    status, said = getattr(error, "status_code", None), " ".join(str(error).split())
    # An identity that cannot reach Entra is called a failed authentication too.
    without_token = isinstance(error, ClientAuthenticationError) and status is None
    denied = status in DENIED or (without_token and not AWAY.search(said))
    row = failure_named("secrets-denied" if denied else "secrets-unreachable")
    assert row is not None  # noqa: S101 - both are in the table
    return ConfigurationError(
        row.meaning,
        code=row.name,
        got=f"{backend} for {conn_id}: {said.partition('Attempted credentials: ')[2] or said}",
        action=row.action,
        retryable=row.retryable,
    )
