from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import timedelta

import pytest
from confidential_spark.agent.errors import AgentError
from confidential_spark.agent.executors.peer import (
    AttestationAnchor,
    PeerAttestation,
    mrenclave_of,
    verify_peer,
)
from confidential_spark.agent.protocol import b64url, canonical_json, executor_role, report_data
from confidential_spark.simulation.service.tokens import jwks
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.agent.executors.peers import ANCHOR, EXPECTED, JWKS, NOW, OURS, Enclave, spki_sha256


def refusal(peer: PeerAttestation, keys: bytes = JWKS, expected=EXPECTED) -> str:
    with pytest.raises(AgentError) as caught:
        verify_peer(peer, keys, expected)
    return caught.value.code


def test_accepts_a_twin_of_this_run_and_returns_its_key():
    enclave = Enclave()
    job, key = verify_peer(enclave.show(), JWKS, EXPECTED)
    assert job == executor_role("1")
    assert key.public_numbers() == enclave.key.public_key().public_numbers()


def test_accepts_a_key_that_the_image_pins():
    pinned = replace(EXPECTED, anchor=replace(ANCHOR, token_signing_keys=(spki_sha256(),)))
    assert verify_peer(Enclave().show(), JWKS, pinned)


@pytest.mark.parametrize(
    ("enclave", "code"),
    [
        pytest.param(Enclave().with_measurement(mrenclave="33" * 32), "peer-measurement", id="mrenclave"),
        pytest.param(Enclave().with_measurement(mrsigner="33" * 32), "peer-measurement", id="mrsigner"),
        pytest.param(Enclave().with_measurement(product_id=2), "peer-measurement", id="product"),
        pytest.param(Enclave().with_measurement(svn=2), "peer-measurement", id="svn"),
        pytest.param(Enclave().with_measurement(debuggable=True), "peer-measurement", id="debug"),
        pytest.param(Enclave(claims={"x-ms-sgx-is-debuggable": 0}), "peer-measurement", id="debug-number"),
        pytest.param(Enclave(claims={"x-ms-sgx-product-id": True}), "peer-measurement", id="product-bool"),
        pytest.param(Enclave(nonce=bytes(32)), "peer-foreign", id="nonce"),
        pytest.param(Enclave(run_id="nytaxi_aks/other"), "peer-foreign", id="run"),
        pytest.param(
            Enclave(nonce=bytes(32)).with_measurement(mrenclave="33" * 32), "peer-foreign", id="nonce-first"
        ),
        pytest.param(Enclave(issued_at=NOW - timedelta(hours=9)), "peer-token-invalid", id="expired"),
        pytest.param(Enclave(issued_at=NOW + timedelta(hours=1)), "peer-token-invalid", id="future"),
        pytest.param(Enclave(claims={"exp": "2099"}), "peer-token-invalid", id="exp-text"),
        pytest.param(Enclave(claims={"iss": "https://evil.example"}), "peer-token-invalid", id="issuer"),
        pytest.param(Enclave(claims={"x-ms-attestation-type": "tdx"}), "peer-token-invalid", id="kind"),
        pytest.param(Enclave(claims={"x-ms-sgx-ehd": b64url(b"{}")}), "peer-token-invalid", id="ehd"),
        pytest.param(
            Enclave(claims={"x-ms-sgx-report-data": "00" * 64}), "peer-token-invalid", id="report-data"
        ),
        pytest.param(
            Enclave(claims={"x-ms-sgx-collateral": {"quotehash": "00" * 32}}),
            "peer-token-invalid",
            id="quote-hash",
        ),
        pytest.param(Enclave(claims={"x-ms-sgx-collateral": None}), "peer-token-invalid", id="no-collateral"),
    ],
)
def test_refuses_an_enclave_that_is_not_ours(enclave: Enclave, code: str):
    assert refusal(enclave.show()) == code


def other_header(token: str, **changes: object) -> str:
    _, claims, signature = token.split(".")
    return f"{b64url(json.dumps({'alg': 'RS256', **changes}).encode())}.{claims}.{signature}"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        pytest.param(lambda t: t[:-4] + "AAAA", "peer-token-invalid", id="signature"),
        pytest.param(lambda t: other_header(t, alg="none"), "peer-token-invalid", id="alg-none"),
        pytest.param(lambda t: other_header(t, kid="other"), "peer-token-invalid", id="unknown-key"),
        pytest.param(lambda t: other_header(t, kid=None), "peer-token-invalid", id="no-key"),
        pytest.param(lambda t: t + ".x", "peer-malformed", id="four-parts"),
        pytest.param(lambda t: "e30." + t, "peer-malformed", id="shifted"),
        pytest.param(lambda t: t.replace(".", "=.", 1), "peer-malformed", id="padding"),
    ],
)
def test_refuses_a_changed_token(change, code: str):
    peer = Enclave().show()
    assert refusal(replace(peer, token=change(peer.token))) == code


def test_refuses_parts_of_two_attestations():
    one, other = Enclave().show(), Enclave().show()
    assert refusal(replace(one, quote=other.quote)) == "peer-token-invalid"
    assert refusal(replace(one, runtime_data=other.runtime_data)) == "peer-token-invalid"
    assert refusal(replace(one, token=other.token)) == "peer-token-invalid"


def test_refuses_a_key_that_the_image_does_not_pin():
    pinned = replace(EXPECTED, anchor=replace(ANCHOR, token_signing_keys=("00" * 32,)))
    assert refusal(Enclave().show(), expected=pinned) == "peer-token-invalid"


@pytest.mark.parametrize(
    "keys",
    [
        pytest.param(b"{}", id="empty"),
        pytest.param(b"[]", id="array"),
        pytest.param(b"<html>", id="garbage"),
        pytest.param(canonical_json({"keys": [*jwks()["keys"], *jwks()["keys"]]}), id="key-twice"),
        pytest.param(canonical_json({"keys": [{**jwks()["keys"][0], "x5c": []}]}), id="no-certificate"),
        pytest.param(canonical_json({"keys": [{**jwks()["keys"][0], "x5c": ["AAAA"]}]}), id="no-der"),
    ],
)
def test_refuses_an_unusable_key_set(keys: bytes):
    assert refusal(Enclave().show(), keys) in {"peer-token-invalid", "peer-malformed"}


def certified(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    """Return the provider's key set with another key under the same name."""
    name = x509.Name([])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, NOW, NOW + timedelta(days=1))
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    return canonical_json({"keys": [{**jwks()["keys"][0], "x5c": [base64.b64encode(certificate).decode()]}]})


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(ec.generate_private_key(ec.SECP256R1()), id="elliptic-curve"),
        pytest.param(rsa.generate_private_key(65537, 1024), id="short-rsa"),  # noqa: S505 - what is refused
    ],
)
def test_refuses_a_key_that_is_too_weak_for_rs256(key):
    with pytest.raises(AgentError, match=r"peer-token-invalid.*RSA of 2048 bits"):
        verify_peer(Enclave().show(), certified(key), EXPECTED)


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(None, id="none"),
        pytest.param({}, id="empty"),
        pytest.param({"quote": "AA", "token": "a.b.c", "runtime_data": "AA", "more": 1}, id="more"),
        pytest.param({"quote": 1, "token": "a.b.c", "runtime_data": "AA"}, id="number"),
        pytest.param({"quote": "A", "token": "a.b.c", "runtime_data": "AA"}, id="one-digit"),
        pytest.param({"quote": "AB", "token": "a.b.c", "runtime_data": "AA"}, id="not-canonical"),
        pytest.param({"quote": "A" * 100_000, "token": "a.b.c", "runtime_data": "AA"}, id="huge"),
        pytest.param({"quote": "AA", "token": "", "runtime_data": "AA"}, id="no-token"),
    ],
)
def test_refuses_records_that_are_none(record: object):
    with pytest.raises(AgentError, match="peer-malformed"):
        PeerAttestation.from_record(record)


@given(st.binary(max_size=300), st.text(max_size=300), st.binary(max_size=300))
def test_whatever_comes_is_refused_by_name(quote: bytes, token: str, data: bytes):
    assert refusal(PeerAttestation(quote, token, data)).startswith("peer-")


def test_reads_its_own_measurement_only_from_a_quote_about_itself():
    own = Enclave().attest()
    assert mrenclave_of(own.quote, report_data(own.runtime_data)) == OURS.mrenclave
    for quote, report in ((own.quote, bytes(64)), (b"", report_data(own.runtime_data))):
        with pytest.raises(AgentError, match="quote-foreign"):
            mrenclave_of(quote, report)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"issuer": "http://plain"}, id="http"),
        pytest.param({"mrsigner": "22"}, id="short-signer"),
        pytest.param({"token_signing_keys": ["x"]}, id="key"),
        pytest.param({"product_id": "1"}, id="product-text"),
        pytest.param({"svn": True}, id="svn-bool"),
        pytest.param({"more": 1}, id="unknown"),
        pytest.param({"issuer": None}, id="no-issuer"),
    ],
)
def test_refuses_an_anchor_that_is_not_whole(tmp_path, change: dict[str, object]):
    whole = vars(ANCHOR) | {"token_signing_keys": [spki_sha256()]}
    file = tmp_path / "anchor.json"
    file.write_text(json.dumps(whole))
    assert AttestationAnchor.read(file).token_signing_keys == (spki_sha256(),)
    file.write_text(json.dumps(whole | change))
    with pytest.raises(AgentError, match="anchor-unusable"):
        AttestationAnchor.read(file)


def test_an_image_without_an_anchor_trusts_nobody(tmp_path):
    with pytest.raises(AgentError, match="anchor-unusable"):
        AttestationAnchor.read(tmp_path / "absent.json")
