"""Where the Docker engine is, and who may use a registry: Airflow connections.

The engine's has type ``docker``. Host: ``unix:///var/run/docker.sock`` or ``tcp://vm.example``, and the port,
2376 with TLS; extra: ``tls_ca_cert``, ``tls_client_cert``, ``tls_client_key``, paths of PEM files. Without
it, or without a host in it: `DOCKER_HOST`, else the local socket.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow.sdk.log import mask_secret

from confidential_spark.core.errors import ConfigurationError
from confidential_spark.hooks.connections import find_connection
from confidential_spark.platforms.docker.failures import docker_failures

if TYPE_CHECKING:
    from airflow.sdk import Connection
    from docker.api import APIClient
    from docker.tls import TLSConfig

LOCAL_SOCKET = "unix:///var/run/docker.sock"
TLS_FIELDS = ("tls_ca_cert", "tls_client_cert", "tls_client_key")
# Committing or pushing an image of gigabytes is one silent request.
REQUEST_TIMEOUT_SECONDS = 900
AZURE = "azure_container_registry"


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

        :raises ConfigurationError: ``docker-connection-invalid``, ``secrets-…``.
        """
        connection = find_connection(conn_id)
        if connection is None or not connection.host:
            return cls(os.environ.get("DOCKER_HOST") or LOCAL_SOCKET)
        return cls(_url(connection), *_tls_files(connection))

    @property
    def tls(self) -> TLSConfig | bool:
        """What docker-py wants to know of TLS: False for none."""
        from airflow.providers.docker.hooks.docker import DockerHook

        return DockerHook.construct_tls_config(self.ca_cert, self.client_cert, self.client_key)

    def connect(self, timeout: int = REQUEST_TIMEOUT_SECONDS) -> APIClient:
        """Return a client of the engine, which has answered.

        :param timeout: seconds of silence that are accepted.
        :raises EnclaveError: ``docker-…``.
        """
        from confidential_spark.platforms.docker.client import EngineClient

        # Not by Airflow's hook, which logs docker-py's reason and raises a sentence without it.
        with docker_failures():
            return EngineClient(self.url, version="auto", tls=self.tls, timeout=timeout)


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


@dataclass(frozen=True)
class RegistryLogin:
    """Who may pull from and push to a registry."""

    server: str
    username: str
    password: str = field(repr=False)

    @classmethod
    def of_connection(cls, conn_id: str | None) -> RegistryLogin | None:
        """Read the credentials; None without a connection id, for registries that need none.

        An Azure connection without a password asks Azure for one, with the machine's managed identity.

        :raises ConfigurationError: ``registry-connection-missing``, ``registry-connection-invalid``,
            ``secrets-…``.
        """
        if conn_id is None:
            return None
        connection = find_connection(conn_id)
        if connection is None:
            raise ConfigurationError(
                "The registry's connection does not exist.",
                code="registry-connection-missing",
                got=conn_id,
                expected="a connection of type docker or azure_container_registry",
                action="add it to Airflow, or unset CONFIDENTIAL_SPARK_IMAGE_REGISTRY_CONN_ID",
            )
        login = cls(str(connection.host or ""), str(connection.login or ""), _password(connection))
        mask_secret(login.password)
        if not (login.server and login.username and login.password):
            raise ConfigurationError(
                "The registry's connection is not complete.",
                code="registry-connection-invalid",
                got=f"{conn_id}: host {login.server!r}, login {login.username!r}",
                expected="host, login and password",
                action="complete the connection in Airflow",
            )
        return login

    def for_image(self, reference: str) -> dict[str, str]:
        """Return the credentials as docker-py takes them, for an image of this very registry.

        :param reference: the image's name, with or without tag or digest.
        :raises ConfigurationError: ``registry-mismatch``: the password is for another registry.
        """
        from docker.auth import resolve_repository_name

        registry, _ = resolve_repository_name(reference.partition("@")[0])
        server = self.server.removeprefix("https://").removeprefix("http://").partition("/")[0]
        if registry.lower() != server.lower():
            raise ConfigurationError(
                "The registry's connection is for another registry than the image's.",
                code="registry-mismatch",
                got=registry,
                expected=server,
                action="correct the image's name, or CONFIDENTIAL_SPARK_IMAGE_REGISTRY_CONN_ID",
            )
        return {"username": self.username, "password": self.password, "serveraddress": self.server}


def _password(connection: Connection) -> str:
    if connection.password or connection.conn_type != AZURE:
        return str(connection.password or "")
    # Imported late: Azure's libraries take seconds, and only this case needs them.
    from airflow.providers.microsoft.azure.hooks.container_registry import AzureContainerRegistryHook

    return str(AzureContainerRegistryHook(conn_id=connection.conn_id).connection.password or "")
