"""Connections and variables from Azure Key Vault, by the provider's own backend and the documented block."""

from __future__ import annotations

import json
import logging
import re
import socket
import time
from typing import TYPE_CHECKING

import pytest
from airflow.sdk import Variable
from airflow.sdk.configuration import clear_secrets_backends_cache
from airflow.sdk.exceptions import AirflowRuntimeError
from azure.keyvault.secrets._shared import http_challenge_cache
from confidential_spark.core.errors import ConfigurationError
from confidential_spark.hooks.attestation import AttestationHook
from confidential_spark.hooks.blob.account import BlobAccount
from confidential_spark.hooks.blob.settings import BlobSettings
from confidential_spark.hooks.connections import find_connection
from confidential_spark.jobs.input.blob_location import parse_blob_location

from tests.support.fakes.key_vault import CLIENT_SECRET, TOKEN, VAULT, key_vault, refused
from tests.support.places import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.fakes.key_vault import KeyVault

SAS = "sv=2025-07-05&sp=rl&sig=canary%2Fsignature%3D"
CONNECTION = json.dumps({"conn_type": "wasb", "login": "trips", "extra": {"sas_token": SAS}})
VALUE = "canary-variable"
CANARIES = (SAS, "canary%2Fsignature", "canary/signature", VALUE, TOKEN, CLIENT_SECRET)
MOST_SECONDS = 10.0


def documented() -> dict[str, str]:
    """Return the block of settings that docs/azure.md gives."""
    page = (ROOT / "docs" / "azure.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^export (AIRFLOW__SECRETS__BACKEND\w*)='?(.+?)'?$", page, re.MULTILINE))


@pytest.fixture
def vault(tmp_path, monkeypatch) -> Iterator[KeyVault]:
    """A vault with a connection and a variable, which Airflow is told of as documented."""
    for name, value in documented().items():
        monkeypatch.setenv(name, value.replace("VAULT.vault.azure.net", VAULT))
    clear_secrets_backends_cache()
    http_challenge_cache.clear()
    with key_vault(tmp_path, monkeypatch) as vault:
        vault.secrets = {
            "airflow-connections-trips": CONNECTION,
            "airflow-variables-month-limit": VALUE,
        }
        yield vault
    clear_secrets_backends_cache()
    http_challenge_cache.clear()


@pytest.fixture
def naps(monkeypatch) -> list[float]:
    """The seconds that anything has slept: nothing does."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    return slept


@pytest.fixture
def everything_logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], str]]:
    """All that any library logs, however chatty it is told to be."""
    chatty = "azure.core.pipeline.policies.http_logging_policy"
    # What makes a client sets the level of its log anew, to this.
    monkeypatch.setenv("AZURE_HTTP_LOGGING_LEVEL", "DEBUG")
    with caplog.at_level(logging.DEBUG), caplog.at_level(logging.DEBUG, logger=chatty):
        yield lambda: "\n".join(f"{record.getMessage()} {record.exc_text or ''}" for record in caplog.records)


def test_the_documented_block_names_the_providers_own_class() -> None:
    block = documented()
    assert sorted(block) == ["AIRFLOW__SECRETS__BACKEND", "AIRFLOW__SECRETS__BACKEND_KWARGS"]
    assert block["AIRFLOW__SECRETS__BACKEND"].startswith("airflow.providers.microsoft.azure.")


def test_a_connection_and_a_variable_are_found_and_logged_nowhere(vault, everything_logged) -> None:
    connection = find_connection("trips")
    assert (connection.conn_type, connection.login) == ("wasb", "trips")
    assert Variable.get("month_limit") == VALUE
    assert vault.asked_with_token == ["airflow-connections-trips", "airflow-variables-month-limit"]
    assert "secrets/airflow-connections-trips" in everything_logged()
    assert [canary for canary in CANARIES if canary in everything_logged()] == []


def test_the_storage_account_is_read_with_what_the_vault_holds(vault) -> None:
    location = parse_blob_location("wasbs://yellow@trips.blob.core.windows.net/")
    assert BlobAccount.of(location, BlobSettings(conn_id="trips")).sas == SAS


def test_the_documented_connection_without_a_secret_is_an_identity(vault) -> None:
    page = (ROOT / "docs" / "azure.md").read_text(encoding="utf-8")
    (value,) = re.findall(r"--value '(\{.+\})'$", page, re.MULTILINE)
    vault.secrets["airflow-connections-trips"] = value.replace("'$ACCOUNT'", "trips")
    account = BlobAccount.of(
        parse_blob_location("wasbs://yellow@trips.blob.core.windows.net/"), BlobSettings(conn_id="trips")
    )
    assert (account.key, account.sas, hasattr(account.token, "get_token")) == ("", "", True)


def test_an_absent_secret_is_an_absent_connection(vault) -> None:
    assert find_connection("elsewhere") is None
    with pytest.raises(AirflowRuntimeError, match="elsewhere not found"):
        Variable.get("elsewhere")
    with pytest.raises(ConfigurationError, match="attestation-connection-missing"):
        _ = AttestationHook("elsewhere").provider


REFUSALS = [
    pytest.param(refused(403, "Forbidden"), "secrets-denied", "Forbidden", False, id="forbidden"),
    pytest.param(refused(401, "Unauthorized"), "secrets-denied", "Unauthorized", False, id="unauthorized"),
    pytest.param(
        refused(429, "Throttled", **{"Retry-After": "600"}),
        "secrets-unreachable",
        "Throttled",
        True,
        id="throttled",
    ),
    pytest.param(refused(503, "Busy"), "secrets-unreachable", "Busy", True, id="unavailable"),
]


@pytest.mark.parametrize(("answer", "code", "said", "retryable"), REFUSALS)
def test_a_refusal_is_told_at_once(vault, naps, answer, code: str, said: str, retryable: bool) -> None:
    vault.service.proper = lambda *_: answer
    with pytest.raises(
        ConfigurationError, match=rf"{code}.*AzureKeyVaultBackend for trips: .*{said}"
    ) as told:
        find_connection("trips")
    assert told.value.retryable is retryable
    assert sum(naps) < MOST_SECONDS


@pytest.mark.parametrize("known", [False, True], ids=["at-first", "while-asking-for-a-token"])
def test_an_unreachable_vault_is_told_within_moments(vault, naps, monkeypatch, known: bool) -> None:
    if known:
        # Once its challenge is known, a client of the vault asks Entra first.
        assert find_connection("trips")
        clear_secrets_backends_cache()
        vault.service.requests.clear()

    def unresolved(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unresolved)
    with pytest.raises(ConfigurationError, match=r"secrets-unreachable.*Failed to resolve '[a-z.]+'") as told:
        find_connection("trips")
    assert told.value.retryable
    assert sum(naps) < MOST_SECONDS
    assert not vault.service.requests


def test_an_identity_without_a_token_is_told(vault, naps, monkeypatch) -> None:
    for name in ("TENANT_ID", "CLIENT_ID", "CLIENT_SECRET"):
        monkeypatch.delenv(f"AZURE_{name}")
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential")
    with pytest.raises(ConfigurationError, match=r"secrets-denied.*trips: "):
        find_connection("trips")
    assert vault.asked_with_token == []
