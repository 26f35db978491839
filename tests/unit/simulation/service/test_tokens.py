import base64
import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from confidential_spark.simulation.enclave.software_quote import EnclaveIdentity, SoftwareQuote
from confidential_spark.simulation.hardware.authority import collateral
from confidential_spark.simulation.service.tokens import (
    ISSUER,
    issue_token,
    jwks,
    openid_configuration,
    sign_token,
    token_claims,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
RUNTIME_DATA = b'{"key":"value"}'
REPORT_DATA = hashlib.sha256(RUNTIME_DATA).digest() + bytes(32)
IDENTITY = EnclaveIdentity(b"e" * 32, b"s" * 32, product_id=7, svn=3, debug=True)
QUOTE = SoftwareQuote(IDENTITY).quote(REPORT_DATA)


def decode(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def claims_of(token: str) -> dict:
    return json.loads(decode(token.split(".")[1]))


def test_a_token_is_signed_by_the_one_published_key():
    header, payload, signature = issue_token(QUOTE, RUNTIME_DATA, now=NOW).split(".")
    (key,) = jwks()["keys"]
    certificate = x509.load_der_x509_certificate(base64.b64decode(key["x5c"][0]))

    certificate.public_key().verify(
        decode(signature), f"{header}.{payload}".encode(), padding.PKCS1v15(), hashes.SHA256()
    )
    assert set(key) == {"kid", "kty", "x5c"}
    assert json.loads(decode(header)) == {
        "alg": "RS256",
        "jku": f"{ISSUER}/certs",
        "kid": key["kid"],
        "typ": "JWT",
    }


@pytest.mark.shared
def test_a_token_has_the_claims_of_a_real_one(attestation_cases: Path):
    real = claims_of((attestation_cases / "tokens" / "sgx-runtime-binary" / "token.jwt").read_text())
    ours = claims_of(issue_token(QUOTE, RUNTIME_DATA, now=NOW))

    assert set(ours) == set(real)
    assert {name: type(value) for name, value in ours.items()} == {
        name: type(value) for name, value in real.items()
    }
    for nested in ("x-ms-sgx-collateral", "x-ms-policy"):
        assert set(ours[nested]) == set(real[nested])


@pytest.mark.shared
def test_the_metadata_document_is_like_a_real_one(attestation_cases: Path):
    real = json.loads((attestation_cases / "tokens" / "openid-configuration.json").read_text())
    ours = openid_configuration()

    assert set(real) - set(ours) == {"revocation_endpoint"}
    assert ours["issuer"] == ISSUER
    assert ours["jwks_uri"].removeprefix(ISSUER) == real["jwks_uri"].removeprefix(real["issuer"])


def test_the_claims_describe_the_quote():
    claims = token_claims(QUOTE, RUNTIME_DATA, now=NOW)

    identity = {
        "is-debuggable": True,
        "mrenclave": (b"e" * 32).hex(),
        "mrsigner": (b"s" * 32).hex(),
        "product-id": 7,
        "svn": 3,
    }
    assert {name: claims[f"x-ms-sgx-{name}"] for name in identity} == identity
    assert claims["x-ms-sgx-report-data"] == REPORT_DATA.hex()
    assert decode(claims["x-ms-sgx-ehd"]) == RUNTIME_DATA
    assert claims["x-ms-sgx-collateral"]["quotehash"] == hashlib.sha256(QUOTE).hexdigest()
    tcb_info = collateral(NOW)["tcb_info"].encode()
    assert claims["x-ms-sgx-collateral"]["tcbinfohash"] == hashlib.sha256(tcb_info).hexdigest()


def test_times_and_ids():
    one, other = (token_claims(QUOTE, RUNTIME_DATA, now=NOW) for _ in range(2))

    assert one["iat"] == one["nbf"] == int(NOW.timestamp())
    assert one["exp"] - one["iat"] == timedelta(hours=8).total_seconds()
    assert len(one["jti"]) == 64
    assert one["jti"] != other["jti"]


def test_json_runtime_data_becomes_a_claim_of_its_own():
    claims = token_claims(QUOTE, RUNTIME_DATA, now=NOW, data_type="JSON")

    assert claims["x-ms-runtime"] == {"key": "value"}
    assert "x-ms-sgx-ehd" not in claims


def test_changed_claims_and_headers_can_be_signed_for_tests_of_verifiers():
    claims = token_claims(QUOTE, RUNTIME_DATA, now=NOW, issuer="https://elsewhere.invalid")
    header, payload, _ = sign_token(claims | {"svn": 4}, {"alg": "none"}).split(".")

    assert json.loads(decode(header)) == {"alg": "none"}
    assert json.loads(decode(payload))["svn"] == 4
    assert json.loads(decode(sign_token(claims).split(".")[0]))["jku"] == "https://elsewhere.invalid/certs"
