"""What an account's answers, and silences, are called; with Azurite in tests/azure/test_preflight.py."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from azure.core.exceptions import (
    ClientAuthenticationError,
    IncompleteReadError,
    ServiceRequestError,
    ServiceResponseError,
)
from confidential_spark.core.errors import InputError
from confidential_spark.hooks.blob.failures import sas_problem, storage_errors

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("error", "code", "retryable"),
    [
        pytest.param(
            ServiceRequestError("Failed to resolve 'tripz.blob.core.windows.net'"),
            "storage-account-missing",
            False,
            id="name",
        ),
        pytest.param(
            ServiceRequestError("[Errno -2] Name or service not known"),
            "storage-account-missing",
            False,
            id="dns",
        ),
        pytest.param(ServiceRequestError("Connection refused"), "storage-unreachable", True, id="refused"),
        pytest.param(ServiceResponseError("Read timed out."), "storage-unreachable", True, id="timeout"),
        pytest.param(
            ServiceRequestError("[SSL: CERTIFICATE_VERIFY_FAILED] hostname mismatch"),
            "storage-certificate",
            False,
            id="certificate",
        ),
        pytest.param(IncompleteReadError("cut"), "storage-unreachable", True, id="cut-again-and-again"),
        pytest.param(
            ClientAuthenticationError("DefaultAzureCredential failed\nEnvironmentCredential: …"),
            "storage-denied",
            False,
            id="no-identity",
        ),
    ],
)
def test_silence_has_a_name(error, code, retryable):
    with (
        pytest.raises(InputError, match=rf"\[{code}\].*https://a\.blob") as caught,
        storage_errors("https://a.blob"),
    ):
        raise error
    assert caught.value.retryable is retryable
    assert caught.value.__cause__ is None


def test_an_emulator_that_is_not_there_is_worth_no_retry():
    with (
        pytest.raises(InputError, match=r"\[storage-unreachable\].*make storage") as caught,
        storage_errors("http://127.0.0.1:10000/devstoreaccount1/trips"),
    ):
        raise ServiceRequestError("Connection refused")
    assert not caught.value.retryable


def dates(starts: timedelta, ends: timedelta) -> str:
    at = [(NOW + delta).strftime("%Y-%m-%dT%H%%3A%M%%3A%SZ") for delta in (starts, ends)]
    return f"st={at[0]}&se={at[1]}&sp=rl&sig=x"


HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("sas", "code"),
    [
        pytest.param(dates(-HOUR, HOUR), None, id="valid"),
        pytest.param(dates(-2 * HOUR, -HOUR), "storage-sas-expired", id="expired"),
        pytest.param(dates(-2 * HOUR, timedelta()), "storage-sas-expired", id="expires-now"),
        pytest.param(dates(HOUR, 2 * HOUR), "storage-sas-early", id="early"),
        pytest.param("se=2026-11-28&sp=rl&sig=x", "storage-sas-expired", id="a-day-without-time"),
        pytest.param("sp=r&sig=x", "storage-sas-rights", id="no-list"),
        pytest.param("sp=racwdl&sig=x", None, id="more-rights"),
        pytest.param("si=policy&sig=x", None, id="stored-policy"),
        pytest.param("se=soon&sig=x", None, id="no-date"),
        pytest.param("", None, id="nothing"),
    ],
)
def test_what_a_sas_token_says_of_itself(sas, code):
    problem = sas_problem(sas, NOW)
    assert (problem.code if problem else None) == code
