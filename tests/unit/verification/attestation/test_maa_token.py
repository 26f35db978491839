"""Tokens that must be refused, each for its own reason (steps 1, 2, 4 and 5)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from confidential_spark.agent.protocol import MAX_TOKEN_BYTES
from confidential_spark.core.errors import VerificationError
from confidential_spark.verification.attestation.maa_token import Token, utc_text
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.factories.bundles import ISSUER, NOW, make_bundle, sign_compact
from tests.support.factories.changes import drop, put, swap

IAT = int(NOW.timestamp())
HEADER = {"alg": "RS256", "jku": f"{ISSUER}/certs", "kid": "k", "typ": "JWT"}


def nested(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


def without_signature(token: str) -> str:
    return token.rpartition(".")[0] + "."


def with_last_bits(token: str) -> str:
    """Set unused bits of the last character: the same bytes for a lenient decoder."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return token[:-1] + alphabet[alphabet.index(token[-1]) | 1]


DECODING = [
    pytest.param({"token": lambda t: ""}, "token-malformed", id="empty"),
    pytest.param({"token": lambda t: t.rpartition(".")[0]}, "token-malformed", id="two-parts"),
    pytest.param({"token": lambda t: t + ".x"}, "token-malformed", id="four-parts"),
    pytest.param({"token": lambda t: t + "=="}, "token-malformed", id="padding"),
    pytest.param({"token": lambda t: t + "\n"}, "token-malformed", id="newline"),
    pytest.param({"token": lambda t: " " + t}, "token-malformed", id="blank"),
    pytest.param({"token": lambda t: t.replace("_", "/").replace("-", "+")}, "token-malformed", id="base64"),
    pytest.param({"token": with_last_bits}, "token-malformed", id="non-zero-trailing-bits"),
    pytest.param({"token": lambda t: "é" + t[1:]}, "token-malformed", id="not-ascii"),
    pytest.param({"token": lambda t: "." * 10_000}, "token-malformed", id="only-dots"),
    pytest.param({"token": lambda t: "A" * (MAX_TOKEN_BYTES + 1)}, "input-too-large", id="too-large"),
    pytest.param({"header_bytes": lambda b: b"[]"}, "token-malformed", id="header-array"),
    pytest.param({"header_bytes": lambda b: b""}, "token-malformed", id="header-empty"),
    pytest.param({"header_bytes": lambda b: b"\xef\xbb\xbf" + b}, "token-malformed", id="header-bom"),
    pytest.param(
        {"header_bytes": lambda b: b.decode().encode("utf-16")}, "token-malformed", id="header-utf16"
    ),
    pytest.param(
        {"header_bytes": swap(b"{", b'{"alg":"none",')}, "token-duplicate-key", id="header-alg-twice"
    ),
    pytest.param({"header_bytes": lambda b: nested(20)}, "token-malformed", id="header-deep"),
    pytest.param({"claims_bytes": lambda b: b"null"}, "token-malformed", id="claims-null"),
    pytest.param({"claims_bytes": lambda b: b'"x"'}, "token-malformed", id="claims-string"),
    pytest.param({"claims_bytes": lambda b: b + b" x"}, "token-malformed", id="claims-trailing"),
    pytest.param({"claims_bytes": lambda b: b + b}, "token-malformed", id="claims-twice"),
    pytest.param({"claims_bytes": swap(b"{", b'{"iat":NaN,')}, "token-malformed", id="claims-nan"),
    pytest.param({"claims_bytes": swap(b"{", b'{"x":Infinity,')}, "token-malformed", id="claims-infinity"),
    pytest.param({"claims_bytes": swap(b"{", b'{"x":1e999,')}, "token-malformed", id="claims-float-overflow"),
    pytest.param({"claims_bytes": swap(b"{", b'{"x":"\\ud800",')}, "token-malformed", id="claims-surrogate"),
    pytest.param(
        {"claims_bytes": swap(b"{", b'{"\\udfff":1,')}, "token-malformed", id="claims-surrogate-name"
    ),
    pytest.param({"claims_bytes": swap(b"{", b'{"x":"\xff",')}, "token-malformed", id="claims-not-utf8"),
    pytest.param(
        {"claims_bytes": swap(b"{", b'{"x":1' + b"0" * 5000 + b",")}, "token-malformed", id="claims-huge-int"
    ),
    pytest.param({"claims_bytes": lambda b: nested(17)}, "token-malformed", id="claims-deep"),
    pytest.param({"claims_bytes": lambda b: b"[" * 40_000}, "token-malformed", id="claims-brackets"),
    pytest.param({"claims_bytes": swap(b"{", b'{"iss":"x",')}, "token-duplicate-key", id="claims-iss-twice"),
    pytest.param(
        {"claims_bytes": swap(b'"quotehash"', b'"quotehash":"","quotehash"')},
        "token-duplicate-key",
        id="claims-nested-twice",
    ),
    pytest.param(
        {"claims_bytes": swap(b"{", b'{"i\\u0073s":"x",')}, "token-duplicate-key", id="claims-escaped-twice"
    ),
]

HEADERS = [
    pytest.param({"header": put("alg", "none"), "token": without_signature}, "alg-not-rs256", id="alg-none"),
    pytest.param({"header": put("alg", "none")}, "alg-not-rs256", id="alg-none-signed"),
    pytest.param({"header": put("alg", "None")}, "alg-not-rs256", id="alg-None"),
    pytest.param({"header": put("alg", "HS256")}, "alg-not-rs256", id="alg-hs256"),
    pytest.param({"header": put("alg", "rs256")}, "alg-not-rs256", id="alg-lower-case"),
    pytest.param({"header": put("alg", "PS256")}, "alg-not-rs256", id="alg-ps256"),
    pytest.param({"header": put("alg", ["RS256"])}, "alg-not-rs256", id="alg-list"),
    pytest.param({"header": put("alg", None)}, "alg-not-rs256", id="alg-null"),
    pytest.param({"header": drop("alg")}, "alg-not-rs256", id="alg-absent"),
    pytest.param({"header": put("jwk", {"kty": "RSA"})}, "header-unknown-key", id="jwk"),
    pytest.param({"header": put("x5c", ["AAAA"])}, "header-unknown-key", id="x5c"),
    pytest.param({"header": put("x5u", "https://x.invalid")}, "header-unknown-key", id="x5u"),
    pytest.param({"header": put("crit", ["b64"])}, "header-unknown-key", id="crit"),
    pytest.param({"header": put("b64", False)}, "header-unknown-key", id="b64"),
    pytest.param({"header": put("ALG", "RS256")}, "header-unknown-key", id="upper-case-name"),
    pytest.param({"header": put("typ", "at+jwt")}, "typ-not-jwt", id="typ"),
    pytest.param({"header": put("typ", ["JWT"])}, "typ-not-jwt", id="typ-list"),
    pytest.param({"header": put("jku", "https://evil.invalid/certs")}, "jku-mismatch", id="jku-other"),
    pytest.param({"header": put("jku", f"{ISSUER}/certs/")}, "jku-mismatch", id="jku-slash"),
    pytest.param({"header": put("jku", f"{ISSUER}.evil.invalid/certs")}, "jku-mismatch", id="jku-suffix"),
    pytest.param({"header": put("jku", f"{ISSUER}@evil.invalid/certs")}, "jku-mismatch", id="jku-user"),
    pytest.param({"header": put("jku", f"{ISSUER}/certs".upper())}, "jku-mismatch", id="jku-case"),
    pytest.param({"header": put("jku", [f"{ISSUER}/certs"])}, "jku-mismatch", id="jku-list"),
    pytest.param({"header": drop("jku")}, "jku-mismatch", id="jku-absent"),
    pytest.param({"header": drop("kid")}, "kid-malformed", id="kid-absent"),
    pytest.param({"header": put("kid", "")}, "kid-malformed", id="kid-empty"),
    pytest.param({"header": put("kid", 1)}, "kid-malformed", id="kid-number"),
    pytest.param({"header": put("kid", ["k"])}, "kid-malformed", id="kid-list"),
    pytest.param({"header": put("kid", "k" * 300)}, "kid-malformed", id="kid-long"),
]

TIMES = [
    pytest.param({"claims": put("iss", "https://evil.invalid")}, "issuer-mismatch", id="issuer-other"),
    pytest.param({"claims": put("iss", f"{ISSUER}/")}, "issuer-mismatch", id="issuer-slash"),
    pytest.param({"claims": put("iss", [ISSUER])}, "issuer-mismatch", id="issuer-list"),
    pytest.param({"claims": drop("iss")}, "issuer-mismatch", id="issuer-absent"),
    pytest.param({"claims": drop("exp")}, "time-claim-malformed", id="exp-absent"),
    pytest.param({"claims": drop("iat")}, "time-claim-malformed", id="iat-absent"),
    pytest.param({"claims": drop("nbf")}, "time-claim-malformed", id="nbf-absent"),
    pytest.param({"claims": put("exp", str(IAT + 60))}, "time-claim-malformed", id="exp-string"),
    pytest.param({"claims": put("exp", IAT + 60.0)}, "time-claim-malformed", id="exp-float"),
    pytest.param({"claims": put("nbf", True)}, "time-claim-malformed", id="nbf-bool"),
    pytest.param({"claims": put("iat", None)}, "time-claim-malformed", id="iat-null"),
    pytest.param({"claims": put("iat", -1)}, "time-claim-malformed", id="iat-negative"),
    pytest.param({"claims": put("exp", [IAT + 60])}, "time-claim-malformed", id="exp-list"),
    pytest.param({"claims": put("exp", 10**300)}, "time-claim-malformed", id="exp-beyond-64-bits"),
    pytest.param({"claims": put("exp", 2**62)}, "token-lifetime", id="exp-for-ever"),
    pytest.param({"claims": put("exp", IAT + 8 * 3600 + 1)}, "token-lifetime", id="lifetime-8h-1s"),
    pytest.param({"claims": put("exp", IAT)}, "token-lifetime", id="lifetime-zero"),
    pytest.param({"claims": put("exp", IAT - 60)}, "token-lifetime", id="lifetime-negative"),
    pytest.param({"claims": put("nbf", IAT + 9 * 3600)}, "token-lifetime", id="nbf-after-exp"),
    pytest.param({"claims": put("nbf", IAT - 3600)}, "token-lifetime", id="nbf-before-iat-lengthens-it"),
    pytest.param({"claims": put("nbf", IAT + 3600)}, "token-not-yet-valid", id="nbf-in-future"),
    pytest.param(
        {"claims": lambda c: c | {"iat": IAT + 3600, "exp": IAT + 7200}},
        "token-not-yet-valid",
        id="iat-in-future",
    ),
    pytest.param({"claims": put("exp", IAT + 60)}, "token-expired", id="expired-this-second"),
    pytest.param(
        {"claims": lambda c: c | {"iat": IAT - 3600, "nbf": IAT - 3600, "exp": IAT}},
        "token-expired",
        id="expired",
    ),
    pytest.param(
        {"claims": lambda c: c | {"iat": IAT - 6, "exp": IAT + 3600}},
        "token-before-run",
        id="one-second-before-run",
    ),
    pytest.param({"claims": lambda c: c | {"jti": "used"}}, "token-replayed", id="replayed"),
]

KINDS = [
    pytest.param({"claims": drop("x-ms-attestation-type")}, "attestation-type", id="type-absent"),
    pytest.param({"claims": put("x-ms-attestation-type", "sevsnpvm")}, "attestation-type", id="type-sev"),
    pytest.param({"claims": put("x-ms-attestation-type", "SGX")}, "attestation-type", id="type-case"),
    pytest.param({"claims": put("x-ms-attestation-type", ["sgx"])}, "attestation-type", id="type-list"),
    pytest.param(
        {"claims": lambda c: drop("x-ms-attestation-type")(c) | {"tee": "sgx"}},
        "attestation-type",
        id="type-by-alias",
    ),
    pytest.param({"claims": put("x-ms-ver", "2.0")}, "attestation-version", id="version"),
    pytest.param({"claims": put("x-ms-ver", 1.0)}, "attestation-version", id="version-float"),
    pytest.param(
        {"policy": put("attestation/policy_hash", "A" * 43)}, "policy-hash-mismatch", id="policy-hash-other"
    ),
    pytest.param(
        {
            "policy": put("attestation/policy_hash", "A" * 43),
            "claims": drop("x-ms-policy-hash"),
        },
        "policy-hash-mismatch",
        id="policy-hash-absent",
    ),
    pytest.param({"claims": drop("jti")}, "token-id-missing", id="id-absent"),
    pytest.param({"claims": put("jti", 7)}, "token-id-missing", id="id-number"),
    pytest.param({"claims": put("jti", "")}, "token-id-missing", id="id-empty"),
]


@pytest.mark.parametrize(
    ("step", "change", "code"),
    [
        pytest.param(step, *row.values, id=f"step{step}-{row.id}")
        for step, rows in ((1, DECODING), (2, HEADERS), (4, TIMES), (5, KINDS))
        for row in rows
    ],
)
def test_wrong_token_is_refused_for_its_reason(step, change, code):
    report = make_bundle(**change).verify_attestation(seen_token_ids={"used"})
    assert (report.code, report.failure.number) == (code, step)
    assert report.trust is None
    assert report.failure.expected


@pytest.mark.parametrize(
    ("change", "now"),
    [
        pytest.param({"header": drop("typ")}, NOW, id="typ-is-optional"),
        pytest.param({"claims": put("exp", IAT + 1)}, NOW, id="last-second"),
        pytest.param({"claims": put("exp", IAT + 8 * 3600)}, NOW, id="whole-lifetime"),
        pytest.param(
            {"claims": lambda c: c | {"iat": IAT - 5, "exp": IAT + 3600}}, NOW, id="second-of-run-start"
        ),
        pytest.param({"claims": put("x-ms-custom", [1.5, {"a": None}])}, NOW, id="claims-of-a-custom-policy"),
        pytest.param({"claims": put("sgx-mrenclave", "00" * 32)}, NOW, id="alias-is-not-read"),
        pytest.param({"claims": put("is-debuggable", True)}, NOW, id="debug-alias-is-not-read"),
    ],
)
def test_unusual_but_right_token_is_accepted(change, now):
    report = make_bundle(**change).verify_attestation(now=now)
    assert report.passed, report.text()


@pytest.mark.parametrize(
    ("seconds", "code"),
    [
        pytest.param(-31, "token-not-yet-valid", id="skew-exceeded-before"),
        pytest.param(-30, None, id="skew-used-before"),
        pytest.param(8 * 3600 + 29, None, id="skew-used-after"),
        pytest.param(8 * 3600 + 30, "token-expired", id="skew-exceeded-after"),
    ],
)
def test_clock_skew_is_allowed_to_the_second(seconds, code):
    bundle = make_bundle(policy=put("attestation/clock_skew", "30s"))
    now = NOW + timedelta(seconds=seconds)
    assert bundle.verify_attestation(now=now, run_started_at=None).code == code


def test_token_older_than_the_policys_age_is_refused():
    bundle = make_bundle(policy=put("attestation/max_token_age", "10m"))
    assert bundle.verify_attestation(now=NOW + timedelta(minutes=10)).passed
    report = bundle.verify_attestation(now=NOW + timedelta(minutes=10, seconds=1))
    assert report.code == "token-too-old"


def test_a_token_may_be_bytes():
    bundle = make_bundle()
    assert bundle.verify_attestation(token=bundle.token.encode()).passed


@given(st.one_of(st.text(), st.from_regex(r"[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*", fullmatch=True)))
def test_decoding_any_text_gives_a_token_or_a_refusal(text):
    try:
        decoded = Token.decode(text).signing_input.decode()
    except VerificationError as error:
        decoded = error.code
    codes = {"token-malformed", "token-duplicate-key", "input-too-large"}
    assert decoded in {*codes, text.rpartition(".")[0]}


@settings(max_examples=60)
@given(
    st.dictionaries(
        st.sampled_from(["alg", "jku", "kid", "typ", "crit"]), st.one_of(st.none(), st.integers(), st.text())
    )
)
def test_no_other_header_is_accepted(header):
    report = make_bundle(header=lambda _: header).verify_attestation()
    assert report.failure.number == 2


def test_signing_helper_makes_what_it_says():
    token = Token.decode(sign_compact(b'{"alg":"RS256"}', b"{}"))
    assert (token.header.members, token.claims.members) == ({"alg": "RS256"}, {})


def test_times_beyond_the_calendar_are_shown_as_they_are():
    assert utc_text(0) == "1970-01-01T00:00:00Z"
    assert utc_text(2**62) == f"{2**62} s"
