"""Bundles that must be refused: their own shape (step 1), trust and notices (step 13), swapped parts."""

from __future__ import annotations

import json

import pytest
from confidential_spark.agent.protocol import MAX_TOKEN_BYTES, b64url
from confidential_spark.core.errors import VerificationError
from confidential_spark.simulation.hardware.keys import p256_key
from confidential_spark.simulation.service import tokens as attestation_tokens
from confidential_spark.verification.evidence.bundle import MAX_EVIDENCE_BYTES, Evidence
from hypothesis import given
from hypothesis import strategies as st

from tests.support.factories.bundles import jwk as served_key
from tests.support.factories.bundles import make_bundle, rsa_key
from tests.support.factories.changes import drop, put, swap

MEMBERS = ["mediaType", "notice", "envelope", "collateral", "jwks"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        *(
            pytest.param({"bundle": drop(name)}, "evidence-malformed", id=f"{name}-absent")
            for name in MEMBERS
        ),
        *(
            pytest.param({"bundle": put(name, 7)}, "evidence-malformed", id=f"{name}-number")
            for name in MEMBERS
        ),
        *(
            pytest.param({"bundle": put(name, ["x"])}, "evidence-malformed", id=f"{name}-list")
            for name in MEMBERS
        ),
        pytest.param({"bundle": put("extra", 1)}, "evidence-malformed", id="unknown-member"),
        pytest.param({"bundle": put("mediaType", "application/json")}, "evidence-malformed", id="media-type"),
        pytest.param({"evidence": lambda b: b""}, "evidence-malformed", id="empty"),
        pytest.param({"evidence": lambda b: b"{}"}, "evidence-malformed", id="empty-object"),
        pytest.param({"evidence": lambda b: b"[]"}, "evidence-malformed", id="array"),
        pytest.param({"evidence": lambda b: b"\xef\xbb\xbf" + b}, "evidence-malformed", id="bom"),
        pytest.param({"evidence": lambda b: b.decode().encode("utf-16")}, "evidence-malformed", id="utf-16"),
        pytest.param({"evidence": lambda b: b[:-1]}, "evidence-malformed", id="truncated"),
        pytest.param({"evidence": lambda b: b + b"{}"}, "evidence-malformed", id="two-documents"),
        pytest.param({"evidence": lambda b: b"[" * 100_000}, "evidence-malformed", id="deep"),
        pytest.param({"evidence": lambda b: b"[" + b"1," * 200_000 + b"1]"}, "evidence-malformed", id="wide"),
        pytest.param({"evidence": swap(b"{", b'{"jwks":{},')}, "evidence-duplicate-key", id="member-twice"),
        pytest.param(
            {"evidence": swap(b'"payload":', b'"payload":"","payload":')},
            "evidence-duplicate-key",
            id="payload-twice",
        ),
        pytest.param(
            {"evidence": lambda b: b" " * (MAX_EVIDENCE_BYTES + 1)}, "input-too-large", id="too-large"
        ),
        pytest.param({"evidence": lambda b: b.decode()}, "input-type", id="text-instead-of-bytes"),
        pytest.param({"evidence": lambda b: None}, "input-type", id="none"),
        pytest.param({"predicate": put("token", "x.y")}, "token-malformed", id="token-two-parts"),
        pytest.param(
            {"predicate": put("token", "A" * MAX_TOKEN_BYTES)}, "token-malformed", id="token-of-full-size"
        ),
        pytest.param(
            {"predicate": put("quote", b64url(bytes(40_000)))}, "input-too-large", id="quote-too-large"
        ),
    ],
)
def test_what_is_no_bundle_is_refused(change, code):
    report = make_bundle(**change).verify()
    assert (report.code, report.failure.number) == (code, 1), report.text()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        pytest.param({"predicate": put("trust", "hardware")}, "trust-mismatch", id="claims-hardware"),
        pytest.param({"predicate": put("trust", "none")}, "trust-mismatch", id="claims-nonsense"),
        pytest.param({"predicate": put("trust", True)}, "trust-mismatch", id="claims-true"),
        pytest.param({"predicate": put("trust", ["simulated"])}, "trust-mismatch", id="claims-list"),
        pytest.param({"predicate": put("trust", None)}, "trust-mismatch", id="claims-null"),
        pytest.param({"predicate": put("notice", None)}, "notice-mismatch", id="notice-removed"),
        pytest.param({"predicate": put("notice", "fine")}, "notice-mismatch", id="notice-replaced"),
        pytest.param({"bundle": put("notice", None)}, "notice-mismatch", id="bundle-notice-removed"),
        pytest.param({"bundle": put("notice", "fine")}, "notice-mismatch", id="bundle-notice-replaced"),
    ],
)
def test_wrong_level_of_trust_is_refused(change, code):
    report = make_bundle(**change).verify()
    assert (report.code, report.failure.number) == (code, 13), report.text()


@pytest.mark.parametrize(
    ("claimed", "code"), [(None, None), ("simulated", None), ("hardware", "trust-mismatch")]
)
def test_claimed_trust_of_an_attestation(claimed, code):
    assert make_bundle().verify_attestation(claimed_trust=claimed).code == code


OTHER = make_bundle(nonce=b"o" * 32, run_id="other", key=p256_key("other run"))
OTHER_PREDICATE = {
    "quote": b64url(OTHER.quote),
    "token": OTHER.token,
    "runtime_data": b64url(OTHER.runtime_data),
}


def taken(*names):
    return lambda predicate: predicate | {name: OTHER_PREDICATE[name] for name in names}


@pytest.mark.parametrize(
    ("names", "code"),
    [
        (("quote",), "quote-hash-mismatch"),
        (("token",), "ehd-mismatch"),
        (("runtime_data",), "ehd-mismatch"),
        (("quote", "token"), "ehd-mismatch"),
        (("quote", "runtime_data"), "ehd-mismatch"),
        (("token", "runtime_data"), "quote-hash-mismatch"),
        (("quote", "token", "runtime_data"), "nonce-mismatch"),
    ],
    ids="+".join,
)
def test_parts_of_another_run_are_noticed(names, code):
    assert make_bundle(predicate=taken(*names)).verify().code == code


def test_whole_attestation_of_another_run_does_not_cover_the_statement():
    bundle = make_bundle(predicate=taken("quote", "token", "runtime_data"))
    unknown_run = {"expected_nonce": None, "expected_run_id": None}
    assert bundle.verify(**unknown_run).code == "dsse-keyid-mismatch"


def test_whole_bundle_of_another_run_is_refused():
    ours = make_bundle()
    assert ours.verify(evidence=OTHER.evidence).code == "nonce-mismatch"
    assert ours.verify(evidence=OTHER.evidence, expected_nonce=None).code == "run-id-mismatch"


def test_replayed_bundle_is_refused():
    bundle = make_bundle()
    first = bundle.verify()
    assert bundle.verify(seen_token_ids={first.facts.token_id}).code == "token-replayed"
    assert bundle.verify(seen_nonces={first.facts.nonce}).code == "nonce-replayed"


def test_attackers_key_set_in_the_bundle_is_not_trusted():
    attacker = rsa_key()
    bundle = make_bundle(
        signing_key=attacker,
        jwks=lambda s: {"keys": [served_key(attacker)]},
        policy=put("attestation/token_signing_keys", ["ab" * 32]),
    )
    assert bundle.verify(jwks=None).code == "key-not-pinned"
    assert bundle.verify(jwks=attestation_tokens.jwks()).code == "key-not-pinned"


@given(
    st.binary(max_size=200)
    | st.fixed_dictionaries(
        {}, optional=dict.fromkeys(MEMBERS, st.none() | st.text() | st.dictionaries(st.text(), st.none()))
    )
    .map(json.dumps)
    .map(str.encode)
)
def test_any_bytes_are_a_bundle_or_a_refusal(data):
    with pytest.raises(VerificationError, match=r"evidence-|statement-"):
        Evidence.parse(data)
