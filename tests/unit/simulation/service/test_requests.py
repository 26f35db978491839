import base64
import hashlib
import json
from datetime import UTC, datetime

import pytest
from confidential_spark.agent.protocol import MAX_QUOTE_BYTES, MAX_RUNTIME_DATA_BYTES, b64url
from confidential_spark.simulation.enclave.software_quote import EnclaveIdentity, SoftwareQuote
from confidential_spark.simulation.service.api import ROUTES, Request, answer
from hypothesis import given, settings
from hypothesis import strategies as st

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
TARGET = "/attest/SgxEnclave?api-version=2022-08-01"
RUNTIME_DATA = b'{"key":{"nested":[1,2]}}'


def quote_over(runtime_data: bytes, *, debug: bool = False) -> bytes:
    identity = EnclaveIdentity(b"e" * 32, b"s" * 32, product_id=7, svn=3, debug=debug)
    return SoftwareQuote(identity).quote(hashlib.sha256(runtime_data).digest() + bytes(32))


QUOTE = quote_over(RUNTIME_DATA)
# What follows is PEM text, which bears a few changes; its certificates are signed.
BINARY_PART = QUOTE.index(b"-----BEGIN")


def request_document(**changes: object) -> dict:
    document = {"quote": b64url(QUOTE), "runtimeData": {"data": b64url(RUNTIME_DATA), "dataType": "Binary"}}
    return {name: value for name, value in (document | changes).items() if value is not None}


def runtime(data: bytes = RUNTIME_DATA, data_type: object = "Binary") -> dict:
    return {"data": b64url(data), "dataType": data_type}


def post(
    body: bytes | dict, target: str = TARGET, content_type: str = "application/json"
) -> tuple[int, dict]:
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    got = answer(Request("POST", target, content_type, sent), NOW)
    return got.status, json.loads(got.body)


def claims_of(token: str) -> dict:
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


@pytest.mark.parametrize("version", ["2020-10-01", "2022-08-01"])
def test_a_bound_quote_gets_a_token(version: str):
    status, document = post(request_document(), f"/attest/SgxEnclave?api-version={version}")

    assert (status, set(document)) == (200, {"token"})
    assert claims_of(document["token"])["x-ms-sgx-ehd"] == b64url(RUNTIME_DATA)


def test_occlums_padded_standard_base64_is_accepted():
    data = b"\xff\xfe\xfd\xfc" + bytes(3)
    standard = {
        "quote": base64.b64encode(quote_over(data)).decode(),
        "runtimeData": {"data": base64.b64encode(data).decode(), "dataType": "Binary"},
    }

    status, document = post(standard)

    assert status == 200
    assert claims_of(document["token"])["x-ms-sgx-ehd"] == b64url(data)


def test_json_runtime_data_and_a_nonce_come_back_as_claims():
    status, document = post(request_document(runtimeData=runtime(data_type="JSON"), nonce="n-1"))

    assert status == 200
    claims = claims_of(document["token"])
    assert (claims["x-ms-runtime"], claims["nonce"]) == ({"key": {"nested": [1, 2]}}, "n-1")


def test_a_debug_enclave_gets_a_token_that_says_so():
    status, document = post(request_document(quote=b64url(quote_over(RUNTIME_DATA, debug=True))))

    assert status == 200
    assert claims_of(document["token"])["x-ms-sgx-is-debuggable"] is True


def flipped(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="half-json"),
        pytest.param(b"[]", id="array"),
        pytest.param(b"\xff\xfe", id="not-utf8"),
        pytest.param(b'{"quote":"AA","quote":"AA","runtimeData":{}}', id="repeated-member"),
        pytest.param(b"[" * 5000 + b"]" * 5000, id="deep"),
        pytest.param(request_document(quote=None), id="no-quote"),
        pytest.param(request_document(runtimeData=None), id="no-runtime-data"),
        pytest.param(request_document(quote=7), id="quote-is-a-number"),
        pytest.param(request_document(quote=""), id="empty-quote"),
        pytest.param(request_document(quote="AAA*"), id="quote-not-base64"),
        pytest.param(request_document(quote="AAB"), id="quote-not-canonical"),
        pytest.param(request_document(quote=b64url(b"short")), id="short-quote"),
        pytest.param(request_document(quote=b64url(bytes(MAX_QUOTE_BYTES + 1))), id="huge-quote"),
        pytest.param(request_document(quote=b64url(QUOTE + b"\0")), id="trailing-byte"),
        pytest.param(request_document(quote=b64url(QUOTE[:-1])), id="missing-byte"),
        pytest.param(request_document(quote=b64url(flipped(QUOTE, 112))), id="changed-mrenclave"),
        pytest.param(request_document(quote=b64url(flipped(QUOTE, 440))), id="changed-signature"),
        pytest.param(request_document(extra=1), id="unknown-member"),
        pytest.param(request_document(nonce=7), id="nonce-is-a-number"),
        pytest.param(request_document(initTimeData=runtime()), id="init-time-data"),
        pytest.param(request_document(draftPolicyForAttestation="x"), id="draft-policy"),
        pytest.param(request_document(runtimeData="AA"), id="runtime-data-is-text"),
        pytest.param(request_document(runtimeData=runtime(b"other")), id="not-bound"),
        pytest.param(request_document(runtimeData=runtime(data_type="Xml")), id="unknown-data-type"),
        pytest.param(request_document(runtimeData=runtime(data_type=None)), id="null-data-type"),
        pytest.param(
            request_document(quote=b64url(quote_over(b"[1]")), runtimeData=runtime(b"[1]", "JSON")),
            id="json-runtime-data-no-object",
        ),
        pytest.param(
            request_document(quote=b64url(quote_over(b"{")), runtimeData=runtime(b"{", "JSON")),
            id="json-runtime-data-malformed",
        ),
        pytest.param(
            request_document(runtimeData=runtime(bytes(MAX_RUNTIME_DATA_BYTES + 1))), id="huge-runtime-data"
        ),
    ],
)
def test_a_bad_request_is_refused_as_maa_does(body: bytes | dict):
    status, document = post(body)

    assert (status, set(document), document["error"]["code"]) == (400, {"error"}, "InvalidParameter")
    assert document["error"]["message"]


@pytest.mark.parametrize(
    ("target", "content_type", "status", "code"),
    [
        ("/attest/SgxEnclave", "application/json", 400, "UnsupportedApiVersion"),
        (
            "/attest/SgxEnclave?api-version=2018-09-01-preview",
            "application/json",
            400,
            "UnsupportedApiVersion",
        ),
        ("/attest/SgxEnclave?api-version", "application/json", 400, "InvalidParameter"),
        (f"{TARGET}&api-version=2022-08-01", "application/json", 400, "InvalidParameter"),
        (TARGET, "text/plain", 415, "UnsupportedMediaType"),
        (TARGET, "", 415, "UnsupportedMediaType"),
        ("/certs", "application/json", 405, "MethodNotAllowed"),
        ("/attest/OpenEnclave?api-version=2022-08-01", "application/json", 404, "NotFound"),
        ("//attest/SgxEnclave", "application/json", 404, "NotFound"),
        ("http://[/", "application/json", 404, "NotFound"),
    ],
)
def test_requests_to_the_wrong_place_are_refused(target: str, content_type: str, status: int, code: str):
    got, document = post(request_document(), target, content_type)

    assert (got, document["error"]["code"]) == (status, code)


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/certs", 200),
        ("/.well-known/openid-configuration", 200),
        ("/sgx/certification/v4/rootcacrl", 200),
        ("/sgx/certification/v4/tcb?fmspc=53494D554C41", 200),
        ("/sgx/certification/v4/tcb?fmspc=00606A000000", 404),
        ("/sgx/certification/v4/tcb", 404),
        ("/sgx/certification/v4/pckcrl?ca=processor&encoding=der", 404),
        ("/sgx/certification/v4/pckcrl?ca=platform&encoding=pem", 404),
        ("/tdx/certification/v4/qe/identity", 404),
        ("/attest/SgxEnclave", 405),
    ],
)
def test_documents_are_served(target: str, status: int):
    assert answer(Request("GET", target), NOW).status == status


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=20),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=9), children, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=150)
@given(st.binary(max_size=300) | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_body_gets_an_answer_in_maas_shape(body: bytes):
    status, document = post(body)

    assert (status, document["error"]["code"]) == (400, "InvalidParameter")


@settings(max_examples=100)
@given(st.binary(max_size=600), st.integers(0, BINARY_PART - 1), st.integers(0, 40))
def test_any_mutilated_quote_gets_a_refusal(inserted: bytes, position: int, removed: int):
    mutilated = QUOTE[:position] + inserted + QUOTE[position + removed :]
    status, document = post(request_document(quote=b64url(mutilated) or "AA"))

    assert mutilated == QUOTE or (status, document["error"]["code"]) == (400, "InvalidParameter")


@settings(max_examples=100)
@given(
    st.sampled_from(["GET", "POST", "PUT", "x"]),
    st.text(max_size=60) | st.sampled_from(sorted(ROUTES)),
    st.text(),
)
def test_any_request_gets_an_answer(method: str, target: str, query: str):
    got = answer(Request(method, f"{target}?{query}", "application/json", b"{}"), NOW)

    assert got.status in {200, 400, 404, 405}
