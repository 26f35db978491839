import hashlib
import json
import logging
import re

import pytest
from confidential_spark.core.errors import AttestationServiceError
from confidential_spark.hooks import attestation
from confidential_spark.hooks.attestation import AttestationHook
from confidential_spark.hooks.bounded_http import CallLimits
from confidential_spark.simulation.enclave.software_quote import EnclaveIdentity, SoftwareQuote
from confidential_spark.simulation.service.server import ISSUER, LoopbackAttestationService, jwks
from confidential_spark.verification.attestation.signing_keys import fingerprint, signing_key
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.fakes.faulty_service import Fault, FaultyService

RUNTIME_DATA = b"runtime data"
REPORT_DATA = hashlib.sha256(RUNTIME_DATA).digest() + bytes(32)
QUOTE = SoftwareQuote(EnclaveIdentity(b"e" * 32, b"s" * 32, 7, 3)).quote(REPORT_DATA)
LIMITS = CallLimits(attempts=2, first_delay=0.001, max_delay=0.002, try_timeout=2.0)
KID = jwks()["keys"][0]["kid"]


def hook_for(service: FaultyService) -> AttestationHook:
    return AttestationHook.from_url(service.url, limits=LIMITS)


def answering(document: object) -> Fault:
    return Fault(body=json.dumps(document).encode())


def test_it_gets_a_token_from_the_loopback_service(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.DEBUG), LoopbackAttestationService() as service:
        token = AttestationHook.from_url(service.url).attest(QUOTE, RUNTIME_DATA)

    assert token.count(".") == 2
    assert re.search(r"x-ms-request-id [0-9a-f-]{36}", caplog.text)
    assert token not in caplog.text


def test_it_sends_what_maa_documents():
    with FaultyService() as service:
        AttestationHook.from_url(f"{service.url}/", api_version="2020-10-01").attest(QUOTE, RUNTIME_DATA)

    (request,) = service.requests
    assert (request.method, request.target) == ("POST", "/attest/SgxEnclave?api-version=2020-10-01")
    document = json.loads(request.body)
    assert set(document) == {"quote", "runtimeData"}
    assert document["runtimeData"] == {"data": "cnVudGltZSBkYXRh", "dataType": "Binary"}
    assert re.fullmatch("[A-Za-z0-9_-]+", document["quote"])


def test_a_refusal_is_not_tried_again():
    with (
        FaultyService() as service,
        pytest.raises(AttestationServiceError, match="InvalidParameter") as caught,
    ):
        hook_for(service).attest(QUOTE, b"something else")

    assert (caught.value.code, caught.value.retryable) == ("attestation-refused", False)
    assert len(service.requests) == 1


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault(body=b""), id="empty"),
        pytest.param(Fault(body=b"<html>welcome</html>"), id="html"),
        pytest.param(Fault(body=b"\xff\xfe"), id="not-utf8"),
        pytest.param(Fault(body=b'{"token":"a.b.c","token":"d.e.f"}'), id="two-tokens"),
        pytest.param(Fault(body=b'{"token":"a.b.c"}{'), id="trailing"),
        pytest.param(answering([]), id="array"),
        pytest.param(answering({}), id="no-token"),
        pytest.param(answering({"token": 7}), id="number"),
        pytest.param(answering({"token": ""}), id="empty-token"),
        pytest.param(answering({"token": "a.b"}), id="two-parts"),
        pytest.param(answering({"token": "a.b."}), id="unsigned"),
        pytest.param(answering({"token": "a.b.c\n"}), id="line-break"),
        pytest.param(Fault(body=b"[" * 9000), id="deep"),
    ],
)
def test_an_answer_without_a_token_is_garbage(fault: Fault):
    with FaultyService(fault) as service, pytest.raises(AttestationServiceError) as caught:
        hook_for(service).attest(QUOTE, RUNTIME_DATA)

    assert (caught.value.code, caught.value.retryable) == ("attestation-garbage", False)
    assert "a.b" not in str(caught.value)


def test_what_else_an_answer_says_is_not_read_and_named(caplog: pytest.LogCaptureFixture):
    with FaultyService(answering({"token": "a.b.c", "policy": {"trust": "all"}})) as service:
        assert hook_for(service).attest(QUOTE, RUNTIME_DATA) == "a.b.c"

    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warning.endswith("not read: policy")


@pytest.mark.parametrize(
    "stranger",
    [
        pytest.param({"kty": "AKP", "alg": "ML-DSA-65", "pub": "AAAA"}, id="without-an-id"),
        pytest.param({"kty": "RSA", "kid": 7}, id="id-of-another-type"),
        pytest.param({"kty": "oct", "kid": "x", "policy": {}}, id="of-another-kind"),
    ],
)
def test_a_key_of_another_kind_does_not_hide_the_others(stranger: dict[str, object]):
    key = {**jwks()["keys"][0], "unknown": [1]}
    document = {"keys": [stranger, key], "unknown": 1}
    with FaultyService(answering(document)) as service:
        keys = hook_for(service).signing_keys(KID)

    assert keys == document
    assert fingerprint(signing_key(json.dumps(keys), KID)) == fingerprint(
        signing_key(json.dumps(jwks()), KID)
    )


def test_metadata_may_say_more():
    document = {"issuer": ISSUER, "jwks_uri": "https://other.invalid/certs", "unknown": {"a": 1}}
    with FaultyService(answering(document)) as service:
        working, message = hook_for(service).test_connection()
        assert working, message
        # Where the keys are is the connection's to say, not the answer's.
        assert [request.target for request in service.requests][1:] == ["/certs"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        pytest.param({"code": "InvalidParameter", "message": "m", "innererror": {"code": 1}}, "m", id="more"),
        pytest.param({"code": "InvalidParameter"}, "HTTP 400", id="without-a-message"),
        pytest.param("InvalidParameter", "HTTP 400", id="text"),
        pytest.param(None, "HTTP 400", id="null"),
    ],
)
def test_an_error_of_any_shape_is_a_refusal(error: object, said: str):
    fault = Fault(status=400, body=json.dumps({"error": error, "traceId": "t"}).encode())
    with FaultyService(fault) as service, pytest.raises(AttestationServiceError, match=said) as caught:
        hook_for(service).attest(QUOTE, RUNTIME_DATA)

    assert (caught.value.code, caught.value.retryable) == ("attestation-refused", False)


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=200))
def test_any_answer_is_a_token_or_garbage(body: bytes):
    with FaultyService(Fault(body=body)) as service, pytest.raises(AttestationServiceError) as caught:
        hook_for(service).attest(QUOTE, RUNTIME_DATA)

    assert caught.value.code == "attestation-garbage"


def test_keys_are_fetched_once():
    with FaultyService() as service:
        hook = hook_for(service)

        assert hook.signing_keys() == hook.signing_keys(KID) == jwks()

    assert len(service.requests) == 1


def test_an_unknown_kid_is_looked_up_again_at_most_once_a_minute(monkeypatch: pytest.MonkeyPatch):
    with FaultyService(answering({"keys": [{"kid": "old"}]})) as service:
        hook = hook_for(service)
        hook.signing_keys()
        with pytest.raises(AttestationServiceError) as caught:
            hook.signing_keys(KID)
        assert (caught.value.code, caught.value.retryable) == ("attestation-unknown-key", False)
        assert len(service.requests) == 1

        monkeypatch.setattr(attestation, "KEYS_REFETCH_SECONDS", 0.0)
        assert hook.signing_keys(KID) == jwks()
        assert hook.signing_keys(KID) == jwks()

    assert len(service.requests) == 2


@pytest.mark.parametrize(
    "document",
    [
        pytest.param([], id="array"),
        pytest.param({}, id="no-keys"),
        pytest.param({"keys": {}}, id="keys-no-array"),
        pytest.param({"keys": ["x"]}, id="key-no-object"),
        pytest.param({"keys": [{"kty": "RSA"}]}, id="key-without-id"),
        pytest.param({"keys": [{"kid": 7}]}, id="id-is-a-number"),
    ],
)
def test_a_key_set_that_is_none_is_garbage(document: object):
    with FaultyService(answering(document)) as service, pytest.raises(AttestationServiceError) as caught:
        hook_for(service).signing_keys()

    assert caught.value.code == "attestation-garbage"


def test_the_connection_test_says_who_answers():
    with FaultyService() as service:
        assert hook_for(service).test_connection() == (True, f"{ISSUER} answers with 1 signing keys")


def test_the_connection_test_says_what_is_wrong():
    with FaultyService(answering({"issuer": 7})) as service:
        working, message = hook_for(service).test_connection()

    assert not working
    assert message.startswith("[attestation-garbage]")


@pytest.mark.parametrize(
    ("connection", "url", "version"),
    [
        pytest.param(
            {"host": "https://shared.attest.azure.net", "extra": {"api_version": "2020-10-01"}},
            "https://shared.attest.azure.net",
            "2020-10-01",
            id="url-as-host",
        ),
        pytest.param(
            {"host": "shared.attest.azure.net"}, "https://shared.attest.azure.net", "2022-08-01", id="host"
        ),
        pytest.param(
            {"host": "127.0.0.1", "schema": "http", "port": 8080},
            "http://127.0.0.1:8080",
            "2022-08-01",
            id="parts",
        ),
    ],
)
def test_the_provider_comes_from_the_connection(
    monkeypatch: pytest.MonkeyPatch, connection: dict, url: str, version: str
):
    monkeypatch.setenv("AIRFLOW_CONN_MAA_TEST", json.dumps({"conn_type": "http", **connection}))

    provider = AttestationHook(attestation_conn_id="maa_test").provider

    assert (provider.url, provider.api_version) == (url, version)


@pytest.mark.parametrize(
    ("connection", "code"),
    [
        pytest.param({"host": "http://shared.attest.azure.net"}, "attestation-insecure-url", id="no-tls"),
        pytest.param({}, "attestation-insecure-url", id="no-host"),
        pytest.param(
            {"host": "h", "extra": {"api_version": "1&x=y"}}, "attestation-api-version", id="version"
        ),
        pytest.param({"host": "h", "extra": {"api_version": 2022}}, "attestation-api-version", id="number"),
    ],
)
def test_an_unusable_connection_is_refused(monkeypatch: pytest.MonkeyPatch, connection: dict, code: str):
    monkeypatch.setenv("AIRFLOW_CONN_MAA_TEST", json.dumps({"conn_type": "http", **connection}))

    with pytest.raises(AttestationServiceError) as caught:
        _ = AttestationHook(attestation_conn_id="maa_test").provider_url

    assert (caught.value.code, caught.value.retryable) == (code, False)
