"""Where the Docker engine is: an Airflow connection.

Connection type ``docker``. Host: ``unix:///var/run/docker.sock`` or ``tcp://vm.example``, and the port, 2376
with TLS; extra: ``tls_ca_cert``, ``tls_client_cert``, ``tls_client_key``, paths of PEM files. Without the
connection, or without a host in it: `DOCKER_HOST`, else the local socket.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow.providers.docker.hooks.docker import DockerHook
from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException
from docker.api import APIClient

from confidential_spark.core.errors import ConfigurationError
from confidential_spark.platforms.docker.failures import docker_failures

if TYPE_CHECKING:
    from airflow.sdk import Connection
    from docker.tls import TLSConfig

LOCAL_SOCKET = "unix:///var/run/docker.sock"
TLS_FIELDS = ("tls_ca_cert", "tls_client_cert", "tls_client_key")
# Committing or pushing an image of gigabytes is one silent request.
REQUEST_TIMEOUT_SECONDS = 900


@dataclass(frozen=True)
class EngineAddress:
    """Where an engine listens; the paths are PEM files, all three or none."""

    url: str
    ca_cert: str | None = None
    client_cert: str | None = None
    client_key: str | None = None

    @classmethod
    def of_connection(cls, conn_id: str) -> EngineAddress:
        """Read the engine's address from an Airflow connection.

        :raises ConfigurationError: ``docker-connection-invalid``.
        """
        try:
            connection = BaseHook.get_connection(conn_id)
        except AirflowNotFoundException:
            connection = None
        if connection is None or not connection.host:
            return cls(os.environ.get("DOCKER_HOST") or LOCAL_SOCKET)
        return cls(_url(connection), *_tls_files(connection))

    @property
    def tls(self) -> TLSConfig | bool:
        """What docker-py wants to know of TLS: False for none."""
        return DockerHook.construct_tls_config(self.ca_cert, self.client_cert, self.client_key)

    def connect(self, timeout: int = REQUEST_TIMEOUT_SECONDS) -> APIClient:
        """Return a client of the engine, which has answered.

        :param timeout: seconds of silence that are accepted.
        :raises EnclaveError: ``docker-…``.
        """
        # Not by Airflow's hook, which logs docker-py's reason and raises a sentence without it.
        with docker_failures():
            return APIClient(self.url, version="auto", tls=self.tls, timeout=timeout)


def _url(connection: Connection) -> str:
    host = str(connection.host)
    if "://" not in host:
        host = f"tcp://{host}"
    if not host.startswith(("unix://", "tcp://", "https://")):
        raise _invalid(connection, host, "unix://…, tcp://… or https://…")
    return f"{host}:{connection.port}" if connection.port else host


def _tls_files(connection: Connection) -> list[str | None]:
    extra = connection.extra_dejson
    paths = [extra.get(name) for name in TLS_FIELDS]
    if any(paths) and not all(paths):
        raise _invalid(connection, f"only {[n for n in TLS_FIELDS if extra.get(n)]}", f"all of {TLS_FIELDS}")
    return paths


def _invalid(connection: Connection, got: str, expected: str) -> ConfigurationError:
    return ConfigurationError(
        "The Docker engine's connection is not usable.",
        code="docker-connection-invalid",
        got=got,
        expected=expected,
        action=f"correct the Airflow connection {connection.conn_id}",
    )
