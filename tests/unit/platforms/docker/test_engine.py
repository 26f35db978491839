"""Where the engine is: the connection says it, else the environment, else the local socket."""

from __future__ import annotations

import pytest
from airflow.sdk import BaseHook, Connection
from airflow.sdk.exceptions import AirflowNotFoundException
from confidential_spark.core.errors import ConfidentialSparkError
from confidential_spark.platforms.docker import client
from confidential_spark.platforms.docker.engine import LOCAL_SOCKET, EngineAddress

from tests.support.fakes.stalled_tls import HALF_A_SERVER_HELLO, StalledTls

TLS = '{"tls_ca_cert": "/ca.pem", "tls_client_cert": "/cert.pem", "tls_client_key": "/key.pem"}'


@pytest.fixture
def connection(monkeypatch):
    monkeypatch.delenv("DOCKER_HOST", raising=False)

    def install(**fields) -> None:
        made = Connection(conn_id="docker_default", conn_type="docker", **fields)
        monkeypatch.setattr(BaseHook, "get_connection", lambda conn_id: made)

    return install


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        pytest.param({"host": "unix:///run/docker.sock"}, "unix:///run/docker.sock", id="socket"),
        pytest.param({"host": "tcp://vm.example", "port": 2376}, "tcp://vm.example:2376", id="tcp"),
        pytest.param({"host": "vm.example", "port": 2375}, "tcp://vm.example:2375", id="name-only"),
        pytest.param({"host": "https://vm.example:2376"}, "https://vm.example:2376", id="https"),
        pytest.param({}, LOCAL_SOCKET, id="no-host"),
    ],
)
def test_the_connection_names_the_engine(connection, fields, url: str) -> None:
    connection(**fields)
    address = EngineAddress.of_connection("docker_default")
    assert (address.url, address.tls) == (url, False)


def test_tls_needs_all_three_files(connection) -> None:
    connection(host="tcp://vm.example", port=2376, extra=TLS)
    address = EngineAddress.of_connection("docker_default")
    assert (address.ca_cert, address.client_cert, address.client_key) == ("/ca.pem", "/cert.pem", "/key.pem")
    connection(host="tcp://vm.example", extra='{"tls_ca_cert": "/ca.pem"}')
    with pytest.raises(ConfidentialSparkError, match="docker-connection-invalid"):
        EngineAddress.of_connection("docker_default")


def test_another_scheme_is_refused(connection) -> None:
    connection(host="ssh://vm.example")
    with pytest.raises(ConfidentialSparkError, match="docker-connection-invalid") as refusal:
        EngineAddress.of_connection("docker_default")
    assert not refusal.value.retryable


def test_without_a_connection_the_environment_decides(monkeypatch) -> None:
    def absent(conn_id: str) -> Connection:
        raise AirflowNotFoundException(conn_id)

    monkeypatch.setattr(BaseHook, "get_connection", absent)
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    assert EngineAddress.of_connection("docker_default").url == "tcp://127.0.0.1:1"
    monkeypatch.delenv("DOCKER_HOST")
    assert EngineAddress.of_connection("docker_default").url == LOCAL_SOCKET


def test_an_engine_that_is_not_there_is_worth_another_try(tmp_path) -> None:
    with pytest.raises(ConfidentialSparkError) as failure:
        EngineAddress(f"unix://{tmp_path}/docker.sock").connect(timeout=2)
    assert (failure.value.code, failure.value.retryable) == ("docker-unreachable", True)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("answer", [b"", HALF_A_SERVER_HELLO], ids=["silent", "half-a-handshake"])
def test_a_tls_handshake_ends_long_before_an_answer_would(monkeypatch, answer: bytes) -> None:
    monkeypatch.setattr(client, "CONNECT_SECONDS", 0.2)
    with StalledTls(answer) as stalled, pytest.raises(ConfidentialSparkError) as failure:
        EngineAddress(stalled.url).connect()
    assert (failure.value.code, failure.value.retryable) == ("docker-unreachable", True)
    assert len(stalled.connections) == 1
