"""A container registry's credentials: an Airflow connection of type Docker or Azure Container Registry."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException
from airflow.sdk.log import mask_secret
from docker.auth import resolve_repository_name

from confidential_spark.core.errors import ConfigurationError

if TYPE_CHECKING:
    from airflow.sdk import Connection

AZURE = "azure_container_registry"


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

        :raises ConfigurationError: ``registry-connection-missing``, ``registry-connection-invalid``.
        """
        if conn_id is None:
            return None
        try:
            connection = BaseHook.get_connection(conn_id)
        except AirflowNotFoundException as error:
            raise ConfigurationError(
                "The registry's connection does not exist.",
                code="registry-connection-missing",
                got=conn_id,
                expected="a connection of type docker or azure_container_registry",
                action="add it to Airflow, or unset CONFIDENTIAL_SPARK_IMAGE_REGISTRY_CONN_ID",
            ) from error
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
