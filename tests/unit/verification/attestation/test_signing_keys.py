"""Key sets and signatures that must be refused (step 3)."""

from __future__ import annotations

import base64
import json
import warnings

import pytest
from confidential_spark.agent.protocol import b64url
from confidential_spark.core.errors import VerificationError
from confidential_spark.simulation.hardware.keys import token_signing_key
from confidential_spark.simulation.service import tokens as attestation_tokens
from confidential_spark.verification.attestation import signing_keys as jwks
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.utils import CryptographyDeprecationWarning
from hypothesis import given
from hypothesis import strategies as st

from tests.support.factories.bundles import jwk, make_bundle, rsa_key
from tests.support.factories.changes import drop, put

KID = attestation_tokens.key_id()


def own_key(**changes):
    """The genuine key as the tests' own certificate carries it."""
    return {"keys": [jwk(token_signing_key()) | changes]}


def public_numbers(key):
    numbers = key.public_key().public_numbers()
    return {
        "n": b64url(numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8, "big")),
        "e": b64url(numbers.e.to_bytes(3, "big")),
    }


KEY_SETS = [
    pytest.param(lambda s: {}, "jwks-malformed", id="no-keys"),
    pytest.param(lambda s: {"keys": {}}, "jwks-malformed", id="keys-object"),
    pytest.param(lambda s: {"keys": ["x"]}, "jwks-malformed", id="key-string"),
    pytest.param(lambda s: {"keys": []}, "kid-unknown", id="empty"),
    pytest.param(put("keys/0/kid", "other"), "kid-unknown", id="kid-other"),
    pytest.param(put("keys/0/kid", [KID]), "kid-unknown", id="kid-list"),
    pytest.param(drop("keys/0/kid"), "kid-unknown", id="kid-absent"),
    pytest.param(lambda s: {"keys": s["keys"] * 2}, "kid-ambiguous", id="same-key-twice"),
    pytest.param(
        lambda s: {"keys": [*s["keys"], jwk(rsa_key())]}, "kid-ambiguous", id="attackers-key-beside-genuine"
    ),
    pytest.param(put("keys/0/kty", "EC"), "key-type", id="kty"),
    pytest.param(drop("keys/0/kty"), "key-type", id="kty-absent"),
    pytest.param(put("keys/0/use", "enc"), "key-type", id="use-encryption"),
    pytest.param(put("keys/0/alg", "PS256"), "key-type", id="alg-other"),
    pytest.param(put("keys/0/key_ops", ["encrypt"]), "key-type", id="key-ops-encrypt"),
    pytest.param(put("keys/0/key_ops", []), "key-type", id="key-ops-none"),
    pytest.param(put("keys/0/key_ops", "verify"), "key-type", id="key-ops-string"),
    pytest.param(put("keys/0/d", "AQ"), "key-malformed", id="private-rsa"),
    pytest.param(put("keys/0/k", "AQ"), "key-malformed", id="symmetric"),
    pytest.param(lambda s: {"keys": [jwk(ec.generate_private_key(ec.SECP256R1()))]}, "key-type", id="ec-key"),
    pytest.param(drop("keys/0/x5c"), "key-malformed", id="x5c-absent"),
    pytest.param(put("keys/0/x5c", []), "key-malformed", id="x5c-empty"),
    pytest.param(put("keys/0/x5c", "AAAA"), "key-malformed", id="x5c-string"),
    pytest.param(put("keys/0/x5c", [1]), "key-malformed", id="x5c-number"),
    pytest.param(
        lambda s: {"keys": [s["keys"][0] | {"x5c": [*s["keys"][0]["x5c"], 5, {}]}]},
        "key-malformed",
        id="x5c-number-after-genuine",
    ),
    pytest.param(put("keys/0/x5c/0", "AAAA"), "key-malformed", id="x5c-not-der"),
    pytest.param(put("keys/0/x5c/0", "~~~~"), "key-malformed", id="x5c-not-base64"),
    pytest.param(put("keys/0/x5c/0", ""), "key-malformed", id="x5c-empty-string"),
    pytest.param(
        lambda s: {"keys": [{"kid": KID, "kty": "RSA"} | public_numbers(token_signing_key())]},
        "key-malformed",
        id="n-and-e-without-certificate",
    ),
    pytest.param(lambda s: own_key(**public_numbers(rsa_key())), "key-mismatch", id="n-of-another-key"),
    pytest.param(lambda s: own_key(e="Aw"), "key-mismatch", id="e-other"),
    pytest.param(lambda s: own_key(n=1), "key-mismatch", id="n-number"),
    pytest.param(lambda s: {"keys": [jwk(rsa_key(1024))]}, "key-too-small", id="rsa-1024"),
    pytest.param(lambda s: {"keys": [jwk(rsa_key())]}, "signature-invalid", id="another-key-same-kid"),
]


@pytest.mark.parametrize(("change", "code"), KEY_SETS)
def test_wrong_key_set_is_refused_for_its_reason(change, code):
    report = make_bundle(jwks=change).verify_attestation()
    assert (report.code, report.failure.number) == (code, 3)


def test_too_long_a_key_is_refused_by_its_size(monkeypatch):
    monkeypatch.setattr(jwks, "MAX_RSA_BITS", 2047)
    failure = make_bundle().verify_attestation().failure
    assert (failure.code, failure.expected) == ("key-type", "RSA of at most 2047 bits")
    assert f"{token_signing_key().key_size} bits" in failure.got


@pytest.mark.parametrize(
    ("token", "code"),
    [
        pytest.param(lambda t: t.rpartition(".")[0] + ".", "signature-invalid", id="empty"),
        pytest.param(lambda t: t.rpartition(".")[0] + "." + "A" * 341, "token-malformed", id="odd-length"),
        pytest.param(
            lambda t: t.rpartition(".")[0] + "." + b64url(bytes(256)), "signature-invalid", id="zeros"
        ),
        pytest.param(
            lambda t: t.rpartition(".")[0] + "." + b64url(bytes(5000)), "signature-invalid", id="long"
        ),
    ],
)
def test_wrong_signature_is_refused(token, code):
    assert make_bundle(token=token).verify_attestation().code == code


@pytest.mark.parametrize("claim", ["x-ms-sgx-mrenclave", "exp", "iss", "x-ms-sgx-is-debuggable", "jti"])
def test_claims_of_another_genuine_token_do_not_fit_the_signature(claim):
    genuine = make_bundle().token.split(".")
    forged = make_bundle(claims=put(claim, "changed")).token.split(".")
    token = ".".join((genuine[0], forged[1], genuine[2]))
    assert make_bundle().verify_attestation(token=token).code == "signature-invalid"


def test_token_of_a_key_that_nobody_trusts_is_refused():
    report = make_bundle(signing_key=rsa_key()).verify_attestation()
    assert report.code == "signature-invalid"


@pytest.mark.parametrize(
    ("key_set", "code"),
    [
        pytest.param(b'{"keys":[],"keys":[]}', "jwks-duplicate-key", id="member-twice"),
        pytest.param(b"", "jwks-malformed", id="empty"),
        pytest.param(b"<html>429</html>", "jwks-malformed", id="html"),
        pytest.param("[" * 50_000, "jwks-malformed", id="deep"),
        pytest.param({"keys": [float("nan")]}, "jwks-malformed", id="nan"),
        pytest.param({"keys": [b"x"]}, "jwks-malformed", id="bytes"),
        pytest.param({1: [], "1": []}, "jwks-duplicate-key", id="names-that-become-one"),
        pytest.param([], "input-type", id="list"),
        pytest.param(None, "input-type", id="none"),
        pytest.param(b" " * 1_100_000, "input-too-large", id="too-large"),
    ],
)
def test_key_set_that_is_no_document_is_refused(key_set, code):
    assert make_bundle().verify_attestation(jwks=key_set).code == code


def test_other_keys_of_the_set_do_not_matter():
    others = [{"kid": "ec", "kty": "EC", "x": "?"}, {"kty": "oct"}, {"kid": 7}]
    report = make_bundle(jwks=lambda s: {"keys": [*others, *s["keys"]], "x": 1}).verify_attestation()
    assert report.passed, report.text()


def test_odd_certificates_are_accepted():
    key = own_key()["keys"][0]
    der = base64.b64decode(key["x5c"][0])
    odd = der.replace(bytes.fromhex("020102020101"), bytes.fromhex("020102020100"))
    assert odd != der, "the serial number became zero"
    x5c = [base64.b64encode(odd).decode()]
    bundle = make_bundle(jwks=lambda s: {"keys": [key | {"x5c": x5c}]})
    filters = list(warnings.filters)
    with pytest.warns(CryptographyDeprecationWarning):
        assert bundle.verify_attestation().passed
    assert warnings.filters == filters, "the process's own filters are its caller's"


def test_matching_n_and_e_are_accepted():
    changed = own_key(use="sig", alg="RS256", key_ops=["verify"], **public_numbers(token_signing_key()))
    assert make_bundle(jwks=lambda s: changed).verify_attestation().passed


@pytest.mark.parametrize(
    ("pins", "code"),
    [
        pytest.param([jwks.fingerprint(token_signing_key().public_key())], None, id="pinned"),
        pytest.param(["00" * 32], "key-not-pinned", id="another-is-pinned"),
    ],
)
def test_pins_are_enforced_even_for_a_trusted_key_set(pins, code):
    bundle = make_bundle(policy=put("attestation/token_signing_keys", pins))
    assert bundle.verify_attestation().code == code
    assert bundle.verify(jwks=None).code == code


def test_bundles_own_key_set_is_not_trusted_without_pins():
    report = make_bundle().verify(jwks=None)
    assert (report.code, report.outcome, report.failure.number) == ("jwks-missing", "not-checked", 0)
    assert "/certs" in report.failure.action


@given(
    st.binary()
    | st.recursive(st.none() | st.text(), lambda v: st.lists(v) | st.dictionaries(st.text(), v)).map(
        lambda v: json.dumps({"keys": [v, {"kid": "k", "kty": "RSA", "x5c": v}]}).encode()
    )
)
def test_any_key_set_gives_a_key_or_a_refusal(data):
    with pytest.raises(VerificationError) as refusal:
        jwks.signing_key(data, "k")
    assert refusal.value.code.startswith(("jwks-", "kid-", "key-"))
