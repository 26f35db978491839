"""Connections that lead nowhere have one name, whoever asks for their client."""

from __future__ import annotations

import json

import pytest
from confidential_spark.core.errors import ConfigurationError, EnclaveError
from confidential_spark.platforms.kubernetes.client import cluster
from confidential_spark.platforms.kubernetes.client.cluster import Cluster, kubernetes_client

from tests.support.fakes.stalled_tls import HALF_A_SERVER_HELLO, StalledTls

CONNECTION = "AIRFLOW_CONN_KUBERNETES_DEFAULT"
KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://192.0.2.1:6443"}}]
users: [{name: u, user: {token: t}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
"""


@pytest.fixture
def connect(tmp_path, monkeypatch):
    """Make a client of a connection whose kubeconfig has this text; None: there is no such file."""

    def make(text, **extra):
        path = tmp_path / "kubeconfig"
        if text is not None:
            path.write_text(text)
        given = {"conn_type": "kubernetes", "extra": {"kube_config_path": str(path), **extra}}
        monkeypatch.setenv(CONNECTION, json.dumps(given))
        return kubernetes_client("kubernetes_default")

    return make


def test_a_client_of_the_connection_s_kubeconfig(connect) -> None:
    assert connect(KUBECONFIG).api_client.configuration.host == "https://192.0.2.1:6443"


@pytest.mark.parametrize(
    ("text", "extra"),
    [
        pytest.param(None, {}, id="no-file"),
        pytest.param("", {}, id="empty"),
        pytest.param("- a list", {}, id="a-list"),
        pytest.param("just text", {}, id="text"),
        pytest.param("a: [", {}, id="no-yaml"),
        pytest.param(KUBECONFIG.replace("current-context: x", "current-context: y"), {}, id="no-context"),
        pytest.param(KUBECONFIG.replace("token: t", "client-certificate: /no/file"), {}, id="no-certificate"),
        pytest.param(KUBECONFIG, {"in_cluster": True}, id="two-ways-at-once"),
    ],
)
def test_a_connection_that_leads_nowhere_is_named(connect, text, extra) -> None:
    with pytest.raises(ConfigurationError) as refused:
        connect(text, **extra)
    assert (refused.value.code, refused.value.retryable) == ("kubernetes-connection-invalid", False)
    assert "kubernetes_default" in str(refused.value)


def test_a_connection_that_nobody_made_is_named(monkeypatch) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_NOBODY_MADE_IT", raising=False)
    with pytest.raises(ConfigurationError) as refused:
        kubernetes_client("nobody_made_it")
    assert refused.value.code == "kubernetes-connection-invalid"


def test_an_airflow_that_does_not_answer_is_not_a_wrong_connection(monkeypatch) -> None:
    from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
    from airflow.sdk.execution_time.comms import ErrorResponse

    def away(**_: object) -> None:
        raise AirflowRuntimeError(ErrorResponse(error=ErrorType.API_SERVER_ERROR))

    monkeypatch.setattr("airflow.providers.cncf.kubernetes.hooks.kubernetes.KubernetesHook", away)
    with pytest.raises(AirflowRuntimeError):
        kubernetes_client("kubernetes_default")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("answer", [b"", HALF_A_SERVER_HELLO], ids=["silent", "half-a-handshake"])
def test_a_tls_handshake_has_a_time_out(connect, monkeypatch, answer: bytes) -> None:
    monkeypatch.setattr(cluster, "REQUEST_TIMEOUT_SECONDS", 0.2)
    with StalledTls(answer) as stalled:
        client = connect(KUBECONFIG.replace("https://192.0.2.1:6443", stalled.url))
        with pytest.raises(EnclaveError, match="kubernetes-unreachable"):
            Cluster(lambda: client, "n", patience=0.0).find("p", "enclave")
    assert stalled.connections
