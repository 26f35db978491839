"""A registry's credentials come from a connection, complete or not at all."""

from __future__ import annotations

import pytest
from airflow.sdk import BaseHook, Connection
from airflow.sdk.exceptions import AirflowNotFoundException
from confidential_spark.core.errors import ConfidentialSparkError, ConfigurationError
from confidential_spark.platforms.docker.engine import RegistryLogin

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
    assert login.for_image("example.azurecr.io/enclave@sha256:00") == {
        "username": "robot",
        "password": "hush-hush",
        "serveraddress": "example.azurecr.io",
    }
    assert "hush" not in repr(login)


@pytest.mark.parametrize(
    ("server", "image"),
    [
        pytest.param("example.azurecr.io", "example.azurecr.io/enclave:tag", id="tag"),
        pytest.param("https://example.azurecr.io/v2", "example.azurecr.io/enclave", id="address"),
        pytest.param("127.0.0.1:5000", "127.0.0.1:5000/enclave@sha256:00", id="port"),
        pytest.param("docker.io", "confidential/enclave", id="hub"),
    ],
)
def test_a_registry_gets_its_own_password(server: str, image: str) -> None:
    assert RegistryLogin(server, "robot", "hush-hush").for_image(image)["password"] == "hush-hush"


@pytest.mark.parametrize(
    "image",
    [
        pytest.param("example.azurecr.io.evil.example/enclave", id="longer"),
        pytest.param("azurecr.io/example/enclave", id="another"),
        pytest.param("enclave", id="hub"),
        pytest.param("example.azurecr.io:444/enclave", id="port"),
    ],
)
def test_no_other_registry_gets_the_password(image: str) -> None:
    login = RegistryLogin("example.azurecr.io", "robot", "hush-hush")
    with pytest.raises(ConfigurationError, match="registry-mismatch") as caught:
        login.for_image(image)
    assert "hush" not in str(caught.value)


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
