"""Whose attestation service a platform's enclaves use."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

import pytest
from confidential_spark.core.errors import ConfidentialSparkError
from confidential_spark.core.platforms import Platform
from confidential_spark.hooks.endpoints import attestation_endpoints
from confidential_spark.settings import Settings

REAL = [Platform.DCSV3, Platform.AKS]


def test_local_starts_its_own_service_and_ends_it() -> None:
    with attestation_endpoints(Platform.LOCAL, Settings()) as endpoints:
        assert endpoints.provider.url.startswith("http://127.0.0.1:")
        assert endpoints.attestation.signing_keys()["keys"]
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{endpoints.provider.url}/certs", timeout=5)  # noqa: S310 - loopback


@pytest.mark.parametrize("platform", REAL)
def test_real_platforms_use_the_connection_and_the_configured_cache(platform, monkeypatch) -> None:
    connection = {"conn_type": "http", "host": "https://sharedweu.weu.attest.azure.net"}
    monkeypatch.setenv("AIRFLOW_CONN_MAA_OURS", json.dumps(connection))
    settings = Settings(attestation_conn_id="maa_ours", pccs_url="https://pccs.example/sgx/certification/v4/")
    with attestation_endpoints(platform, settings) as endpoints:
        assert endpoints.provider.url == "https://sharedweu.weu.attest.azure.net"
        assert endpoints.collateral.pccs_url == "https://pccs.example"


@pytest.mark.parametrize("platform", REAL)
def test_real_platforms_refuse_an_insecure_address(platform, monkeypatch) -> None:
    connection = {"conn_type": "http", "host": "http://example.weu.attest.azure.net"}
    monkeypatch.setenv("AIRFLOW_CONN_MAA_OURS", json.dumps(connection))
    settings = Settings(attestation_conn_id="maa_ours")
    with (
        pytest.raises(ConfidentialSparkError, match="insecure-url"),
        attestation_endpoints(platform, settings),
    ):
        pass


@pytest.mark.parametrize("platform", REAL)
def test_real_platforms_refuse_a_provider_that_the_policy_does_not_name(platform, monkeypatch) -> None:
    connection = {"conn_type": "http", "host": "https://another.weu.attest.azure.net"}
    monkeypatch.setenv("AIRFLOW_CONN_MAA_OURS", json.dumps(connection))
    with (
        pytest.raises(ConfidentialSparkError, match=r"attestation-provider-mismatch.*another.*sharedweu"),
        attestation_endpoints(platform, Settings(attestation_conn_id="maa_ours")),
    ):
        pass
