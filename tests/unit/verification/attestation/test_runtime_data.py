"""Runtime data that must be refused (step 10)."""

from __future__ import annotations

import base64
import hashlib
import json
from itertools import count

import pytest
from confidential_spark.agent.protocol import JobIdentity, b64url, public_jwk
from confidential_spark.core.errors import VerificationError
from confidential_spark.simulation.hardware.keys import p256_key
from confidential_spark.verification.attestation.runtime_data import RuntimeData
from hypothesis import given
from hypothesis import strategies as st

from tests.support.factories.bundles import JOB, NONCE, make_bundle
from tests.support.factories.changes import drop, put, swap

MALFORMED = "runtime-data-malformed"


def short_coordinate(runtime):
    """The key of a point whose x begins with a zero byte, left out: a second spelling of a genuine key."""
    keys = (p256_key(f"short {number}") for number in count())
    key = next(key for key in keys if key.public_key().public_numbers().x < 2**248)
    x = key.public_key().public_numbers().x.to_bytes(31, "big")
    return put("jwk", public_jwk(key.public_key()) | {"x": b64url(x)})(runtime)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        pytest.param({"runtime": put("v", 2)}, MALFORMED, id="version"),
        pytest.param({"runtime": put("v", True)}, MALFORMED, id="version-bool"),
        pytest.param({"runtime": put("v", 1.0)}, MALFORMED, id="version-float"),
        pytest.param({"runtime": drop("nonce")}, MALFORMED, id="nonce-absent"),
        pytest.param({"runtime": put("nonce", [b64url(NONCE)])}, MALFORMED, id="nonce-list"),
        pytest.param({"runtime": put("nonce", NONCE.hex())}, MALFORMED, id="nonce-hex"),
        pytest.param({"runtime": put("nonce", b64url(NONCE[:31]))}, MALFORMED, id="nonce-31-bytes"),
        pytest.param({"runtime": put("nonce", b64url(NONCE + b"x"))}, MALFORMED, id="nonce-33-bytes"),
        pytest.param({"runtime": put("nonce", b64url(NONCE) + "=")}, MALFORMED, id="nonce-padded"),
        pytest.param({"runtime": put("run_id", "")}, MALFORMED, id="run-id-empty"),
        pytest.param({"runtime": put("run_id", 5)}, MALFORMED, id="run-id-number"),
        pytest.param({"runtime": put("run_id", "r" * 600)}, MALFORMED, id="run-id-long"),
        pytest.param({"runtime": put("extra", 1)}, MALFORMED, id="unknown-member"),
        pytest.param({"runtime": put("job", "nytaxi")}, MALFORMED, id="job-string"),
        pytest.param({"runtime": put("job/extra", 1)}, MALFORMED, id="job-unknown-member"),
        pytest.param({"runtime": put("job/file_sha256", "AB" * 32)}, MALFORMED, id="job-upper-case-digest"),
        pytest.param({"runtime": put("job/name", "../x")}, MALFORMED, id="job-name"),
        pytest.param({"runtime": drop("jwk")}, MALFORMED, id="key-absent"),
        pytest.param({"runtime": put("jwk", [])}, MALFORMED, id="key-list"),
        pytest.param({"runtime": put("jwk/kty", "RSA")}, MALFORMED, id="key-rsa"),
        pytest.param({"runtime": put("jwk/crv", "P-384")}, MALFORMED, id="key-p384"),
        pytest.param({"runtime": put("jwk/use", "sig")}, MALFORMED, id="key-unknown-member"),
        pytest.param({"runtime": put("jwk/x", b64url(bytes(32)))}, MALFORMED, id="key-not-on-curve"),
        pytest.param({"runtime": put("jwk/x", b64url(bytes(31)))}, MALFORMED, id="key-31-bytes"),
        pytest.param({"runtime": short_coordinate}, MALFORMED, id="key-in-a-second-spelling"),
        pytest.param({"runtime": put("jwk/x", b64url(b"\xff" * 32))}, MALFORMED, id="key-beyond-the-field"),
        pytest.param(
            {"runtime": put("jwk/d", b64url(bytes(32)))}, "private-key-in-runtime-data", id="private-ec"
        ),
        pytest.param(
            {"runtime": put("jwk", {"kty": "RSA", "n": "AQ", "e": "AQAB", "d": "AQ"})},
            "private-key-in-runtime-data",
            id="private-rsa",
        ),
        pytest.param({"runtime": put("jwk/k", "AA")}, "private-key-in-runtime-data", id="symmetric"),
        pytest.param({"runtime_bytes": lambda b: b"x"}, MALFORMED, id="no-json"),
        pytest.param({"runtime_bytes": lambda b: b + b"\0"}, MALFORMED, id="zero-byte-after"),
        pytest.param({"runtime_bytes": lambda b: b"\xef\xbb\xbf" + b}, MALFORMED, id="bom"),
        pytest.param({"runtime_bytes": lambda b: b"[" * 5000}, MALFORMED, id="deep"),
        pytest.param(
            {"runtime_bytes": swap(b"{", b'{"v":1,')}, "runtime-data-duplicate-key", id="member-twice"
        ),
        pytest.param(
            {"runtime_bytes": swap(b'"run_id":', b'"run_id":"x","run_id":')},
            "runtime-data-duplicate-key",
            id="run-id-twice",
        ),
    ],
)
def test_runtime_data_of_another_shape_are_refused(change, code):
    report = make_bundle(**change).verify_attestation()
    assert (report.code, report.failure.number) == (code, 10), report.text()


OTHER_JOB = JobIdentity("sparkpi", JOB.file_sha256, JOB.arguments_sha256)
OTHER_FILE = JobIdentity(JOB.name, "00" * 32, JOB.arguments_sha256)
OTHER_ARGUMENTS = JobIdentity(JOB.name, JOB.file_sha256, "00" * 32)


STANDARD = base64.b64encode(NONCE).decode()
URL_SAFE = base64.urlsafe_b64encode(NONCE).decode()


@pytest.mark.parametrize(
    ("expected", "code"),
    [
        pytest.param({}, None, id="as-expected"),
        pytest.param({"expected_nonce": bytes(32)}, "nonce-mismatch", id="nonce"),
        pytest.param({"expected_run_id": "another"}, "run-id-mismatch", id="run-id"),
        pytest.param({"expected_run_id": ""}, "run-id-mismatch", id="run-id-empty"),
        pytest.param({"expected_job": OTHER_JOB}, "job-mismatch", id="job-name"),
        pytest.param({"expected_job": OTHER_FILE}, "job-mismatch", id="job-file"),
        pytest.param({"expected_job": OTHER_ARGUMENTS}, "job-mismatch", id="job-arguments"),
        pytest.param({"seen_nonces": {NONCE}}, "nonce-replayed", id="nonce-seen"),
        pytest.param({"seen_nonces": [b64url(NONCE)]}, "nonce-replayed", id="nonce-seen-as-base64url"),
        pytest.param({"seen_nonces": {NONCE.hex(): 1}}, "nonce-replayed", id="nonce-seen-as-hex"),
        *(
            pytest.param({"seen_nonces": {spelling}}, "nonce-replayed", id=f"nonce-seen-as-{label}")
            for label, spelling in {
                "upper-case-hex": NONCE.hex().upper(),
                "padded-base64url": URL_SAFE,
                "base64": STANDARD,
                "unpadded-base64": STANDARD.rstrip("="),
                "hex-in-bytes": NONCE.hex().encode(),
                "upper-case-hex-in-bytes": NONCE.hex().upper().encode(),
                "base64url-in-bytes": b64url(NONCE).encode(),
                "base64-in-bytes": STANDARD.encode(),
            }.items()
        ),
        pytest.param({"seen_nonces": {bytes(32)}}, None, id="another-nonce-seen"),
    ],
)
def test_expectations_about_the_run(expected, code):
    report = make_bundle().verify_attestation(**expected)
    assert report.code == code, report.text()


def test_what_is_not_compared_is_shown():
    nothing = dict.fromkeys(["expected_nonce", "expected_run_id", "expected_job", "run_started_at"])
    report = make_bundle().verify_attestation(**nothing)
    assert report.passed
    details = {step.number: step.detail for step in report.steps}
    assert details[10] == "nonce NOT COMPARED, run id NOT COMPARED, job NOT COMPARED"
    assert "run start NOT COMPARED" in details[4]
    assert "NOT COMPARED" in details[13]


def test_empty_expectations_count_as_compared():
    report = make_bundle(run_id="x").verify_attestation(expected_run_id="x")
    assert "run id as expected" in report.steps[9].detail


def test_facts_are_those_of_the_runtime_data():
    facts = make_bundle().verify_attestation().facts
    assert (facts.nonce, facts.job_name) == (b64url(NONCE), "nytaxi")
    assert facts.job_file_sha256 == hashlib.sha256(b"job file").hexdigest()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=50),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)
SHAPED = st.fixed_dictionaries({}, optional=dict.fromkeys(("v", "nonce", "run_id", "jwk", "job"), JSON)).map(
    lambda value: json.dumps(value).encode()
)


@given(st.binary(max_size=200) | SHAPED)
def test_any_bytes_are_runtime_data_or_a_refusal(data):
    with pytest.raises(VerificationError, match=r"runtime-data-|private-key"):
        RuntimeData.parse(data)
