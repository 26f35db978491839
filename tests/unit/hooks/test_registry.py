"""A registry's credentials come from a connection, complete or not at all."""

from __future__ import annotations

import pytest
from airflow.sdk import BaseHook, Connection
from airflow.sdk.exceptions import AirflowNotFoundException
from confidential_spark.core.errors import ConfidentialSparkError
from confidential_spark.hooks.registry import RegistryLogin

FIELDS = {"conn_type": "docker", "host": "example.azurecr.io", "login": "robot", "password": "hush-hush"}


@pytest.fixture
def connection(monkeypatch):
    def install(**fields) -> None:
        made = Connection(conn_id="registry", **fields)
        monkeypatch.setattr(BaseHook, "get_connection", lambda conn_id: made)

    return install


@pytest.mark.parametrize("conn_type", ["docker", "azure_container_registry"])
def test_credentials_are_read(connection, conn_type: str) -> None:
    connection(**FIELDS | {"conn_type": conn_type})
    login = RegistryLogin.of_connection("registry")
    assert login.auth_config == {
        "username": "robot",
        "password": "hush-hush",
        "serveraddress": "example.azurecr.io",
    }
    assert "hush" not in repr(login)


def test_no_connection_means_no_credentials() -> None:
    assert RegistryLogin.of_connection(None) is None


@pytest.mark.parametrize("absent", ["host", "login", "password"])
def test_half_a_connection_is_refused(connection, absent: str) -> None:
    connection(**{name: value for name, value in FIELDS.items() if name != absent})
    with pytest.raises(ConfidentialSparkError, match="registry-connection-invalid") as refusal:
        RegistryLogin.of_connection("registry")
    assert "hush" not in str(refusal.value)


def test_a_missing_connection_is_named(monkeypatch) -> None:
    def absent(conn_id: str) -> Connection:
        raise AirflowNotFoundException(conn_id)

    monkeypatch.setattr(BaseHook, "get_connection", absent)
    with pytest.raises(ConfidentialSparkError, match=r"registry-connection-missing.*got: registry"):
        RegistryLogin.of_connection("registry")


def test_azure_is_asked_where_the_connection_has_no_password(connection, monkeypatch) -> None:
    from airflow.providers.microsoft.azure.hooks import container_registry

    class Hook:
        def __init__(self, conn_id: str) -> None:
            self.connection = type("Credential", (), {"password": "from-azure"})

    monkeypatch.setattr(container_registry, "AzureContainerRegistryHook", Hook)
    connection(**FIELDS | {"conn_type": "azure_container_registry", "password": None})
    assert RegistryLogin.of_connection("registry").password == "from-azure"
