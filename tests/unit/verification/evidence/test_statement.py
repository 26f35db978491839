"""Statements that must be refused (step 11, and step 1 for what cannot be read at all)."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import timedelta

import pytest
from confidential_spark.agent.protocol import arguments_sha256, b64url, sign_envelope
from confidential_spark.core.errors import VerificationError
from confidential_spark.simulation.hardware.keys import p256_key
from confidential_spark.verification.evidence.bundle import Evidence
from confidential_spark.verification.evidence.statement import Statement
from confidential_spark.verification.json_object import JsonObject
from confidential_spark.verification.refusals import Refusal
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.factories.bundles import JOB, NOW, RESULTS, make_bundle
from tests.support.factories.changes import drop, put, swap

UNREADABLE = [
    pytest.param({"envelope": drop("payload")}, "statement-malformed", id="payload-absent"),
    pytest.param({"envelope": put("payload", "")}, "statement-malformed", id="payload-empty"),
    pytest.param({"envelope": put("payload", ["e30="])}, "statement-malformed", id="payload-list"),
    pytest.param({"envelope": put("payload", "e30")}, "statement-malformed", id="payload-unpadded"),
    pytest.param({"envelope": put("payload", "e31=")}, "statement-malformed", id="payload-trailing-bits"),
    pytest.param({"envelope": put("payload", "e30=\n")}, "statement-malformed", id="payload-newline"),
    pytest.param({"payload": lambda b: b"[]"}, "statement-malformed", id="array"),
    pytest.param({"payload": lambda b: b[:-1]}, "statement-malformed", id="truncated"),
    pytest.param({"payload": lambda b: b"\xff" + b}, "statement-malformed", id="not-utf8"),
    pytest.param({"payload": swap(b"{", b'{"x":NaN,')}, "statement-malformed", id="nan"),
    pytest.param({"payload": swap(b"{", b'{"_type":"x",')}, "statement-duplicate-key", id="member-twice"),
    pytest.param({"statement": drop("predicate")}, "statement-malformed", id="predicate-absent"),
    pytest.param({"statement": put("predicate", [])}, "statement-malformed", id="predicate-array"),
    pytest.param({"predicate": drop("token")}, "statement-malformed", id="token-absent"),
    pytest.param({"predicate": put("token", 7)}, "statement-malformed", id="token-number"),
    pytest.param({"predicate": put("quote", "?")}, "statement-malformed", id="quote-garbage"),
    pytest.param({"predicate": put("quote", None)}, "statement-malformed", id="quote-null"),
    pytest.param({"predicate": put("runtime_data", "A")}, "statement-malformed", id="runtime-data-garbage"),
]

SIGNATURES = [
    pytest.param({"envelope": put("signatures", [])}, "dsse-signature-count", id="none"),
    pytest.param(
        {"envelope": lambda e: e | {"signatures": e["signatures"] * 2}}, "dsse-signature-count", id="two"
    ),
    pytest.param({"envelope": put("signatures", {})}, "dsse-malformed", id="object"),
    pytest.param({"envelope": drop("signatures")}, "dsse-malformed", id="absent"),
    pytest.param({"envelope": put("signatures/0", "x")}, "dsse-malformed", id="string"),
    pytest.param({"envelope": put("signatures/0/sig", "")}, "dsse-malformed", id="sig-empty"),
    pytest.param({"envelope": put("signatures/0/sig", "AAAA")}, "dsse-signature", id="sig-short"),
    pytest.param({"envelope": put("signatures/0/sig", "~")}, "dsse-malformed", id="sig-garbage"),
    pytest.param({"envelope": put("signatures/0/sig", 5)}, "dsse-malformed", id="sig-number"),
    pytest.param({"envelope": put("signatures/0/cert", "x")}, "dsse-malformed", id="certificate-member"),
    pytest.param({"envelope": put("signatures/0/keyid", "other")}, "dsse-keyid-mismatch", id="keyid-other"),
    pytest.param({"envelope": put("signatures/0/keyid", None)}, "dsse-keyid-mismatch", id="keyid-null"),
    pytest.param({"envelope": put("payloadType", "text/plain")}, "dsse-malformed", id="payload-type"),
    pytest.param(
        {"envelope": put("payloadType", "application/vnd/in-toto+json")},
        "dsse-malformed",
        id="payload-type-similar",
    ),
    pytest.param({"envelope": drop("payloadType")}, "dsse-malformed", id="payload-type-absent"),
    pytest.param({"envelope": put("extra", 1)}, "dsse-malformed", id="unknown-member"),
]


def of_job(name="nytaxi", arguments=("--month", "2018-05")):
    """Hooks for a run of another job: its runtime data and its statement agree."""
    digest = arguments_sha256(list(arguments))
    job = {"name": name, "file_sha256": JOB.file_sha256, "arguments_sha256": digest}
    return {
        "runtime": put("job", job),
        "predicate": put("job", job | {"arguments": list(arguments)}),
    }


@pytest.mark.parametrize("name", ["attest", "executor"])
def test_the_drivers_job_has_no_reserved_name(name):
    report = make_bundle(**of_job(name)).verify(expected_job=None)
    assert (report.code, report.failure.number) == ("job-reserved", 11)


@pytest.mark.parametrize("option", ["--m", "--mo", "--mon", "--mont"])
@pytest.mark.parametrize("value", [("2018-06",), None], ids=["apart", "together"])
def test_an_abbreviated_month_is_refused(option, value):
    more = (option, *value) if value else (f"{option}=2018-06",)
    report = make_bundle(**of_job(arguments=("--month", "2018-05", *more))).verify(expected_job=None)
    assert (report.code, report.failure.number, report.failure.got) == ("arguments-ambiguous", 11, more[0])


@pytest.mark.parametrize("option", ["--months", "--max-rows", "-m", "--montage=1", "month"])
def test_another_option_is_no_month(option):
    report = make_bundle(**of_job(arguments=("--month", "2018-05", option, "1"))).verify(expected_job=None)
    assert report.passed, report.text()


def test_names_that_stay_apart_are_accepted():
    names = ("a/part-0.csv", "a/part-1.csv", "b/part-0.csv", "a b.csv", "gr\u00fc\u00dfe.csv", "a-", "a.b")
    results = RESULTS | dict.fromkeys(names, b"")
    digest = hashlib.sha256(b"").hexdigest()
    assert make_bundle(statement=more_subjects(*names, digest=digest)).verify(results=results).passed


def resigned(envelope):
    """Sign the same payload with a key that was never attested, under the attested key's id."""
    payload = base64.b64decode(envelope["payload"])
    signature = sign_envelope(payload, p256_key("attacker"))["signatures"][0]["sig"]
    return put("signatures/0/sig", signature)(envelope)


def edited(change):
    """Change the statement after it was signed."""

    def edit(envelope):
        statement = change(json.loads(base64.b64decode(envelope["payload"])))
        return envelope | {"payload": base64.b64encode(json.dumps(statement).encode()).decode()}

    return edit


FORGED = [
    pytest.param({"envelope": resigned}, "dsse-signature", id="another-key"),
    pytest.param({"envelope": edited(lambda s: s)}, "dsse-signature", id="same-content-other-bytes"),
    pytest.param({"envelope": edited(put("predicate/month", "2018-06"))}, "dsse-signature", id="month"),
    pytest.param({"envelope": edited(put("predicate/trust", "hardware"))}, "dsse-signature", id="trust"),
    pytest.param({"envelope": edited(put("predicate/rows/accepted", 9))}, "dsse-signature", id="rows"),
    pytest.param(
        {"envelope": edited(put("subject/0/digest/sha256", "00" * 32))}, "dsse-signature", id="digest"
    ),
    pytest.param({"envelope": edited(drop("subject/1"))}, "dsse-signature", id="subject-removed"),
    pytest.param({"envelope": edited(put("predicate/run_id", "other"))}, "dsse-signature", id="run-id"),
    pytest.param({"envelope": edited(put("predicate/inputs", []))}, "dsse-signature", id="inputs"),
]


def more_subjects(*names, digest="00" * 32):
    """List further files, in this order."""

    def change(statement):
        added = [{"name": name, "digest": {"sha256": digest}} for name in names]
        return statement | {"subject": [*statement["subject"], *added]}

    return change


CONTENT = [
    pytest.param(
        {"statement": put("_type", "https://in-toto.io/Statement/v0.1")}, "statement-type", id="v0.1"
    ),
    pytest.param(
        {"statement": put("predicateType", "https://slsa.dev/provenance/v1")}, "statement-type", id="slsa"
    ),
    pytest.param({"statement": put("extra", 1)}, "statement-type", id="unknown-member"),
    pytest.param({"statement": drop("_type")}, "statement-type", id="type-absent"),
    pytest.param({"statement": put("subject", [])}, "statement-subject", id="no-subject"),
    pytest.param({"statement": put("subject", {})}, "statement-subject", id="subject-object"),
    pytest.param({"statement": put("subject/0", "x")}, "statement-subject", id="subject-string"),
    pytest.param({"statement": drop("subject/0/digest")}, "statement-subject", id="digest-absent"),
    pytest.param({"statement": put("subject/0/digest", {"sha1": "x"})}, "statement-subject", id="sha1"),
    pytest.param({"statement": put("subject/0/digest/sha512", "x")}, "statement-subject", id="second-digest"),
    pytest.param(
        {"statement": put("subject/0/digest/sha256", "AB" * 32)}, "statement-subject", id="upper-case"
    ),
    pytest.param({"statement": put("subject/0/uri", "x")}, "statement-subject", id="subject-unknown-member"),
    pytest.param(
        {"statement": lambda s: s | {"subject": [*s["subject"], s["subject"][0]]}},
        "statement-subject",
        id="subject-twice",
    ),
    *(
        pytest.param({"statement": put("subject/0/name", name)}, "statement-subject", id=f"name-{label}")
        for label, name in {
            "absolute": "/etc/passwd",
            "parent": "../summary.json",
            "inner-parent": "a/../b",
            "dot": "./a",
            "empty": "",
            "empty-part": "a//b",
            "trailing-slash": "a/",
            "back-slash": "a\\b",
            "nul": "a\0b",
            "newline": "a\nb",
            "number": 7,
            "list": ["a"],
            "evidence": "evidence.json",
            "envelope": "envelope.json",
            "report": "report.json",
            "evidence-in-other-case": "Evidence.JSON",
            "escape": "a\x1b[2Jb",
            "next-line": "a\x85b",
            "right-to-left-override": "a\u202egpj.exe",
            "isolate": "a\u2066b",
            "arabic-letter-mark": "a\u061cb",
            "zero-width-space": "a\u200bb",
            "byte-order-mark": "a\ufeffb",
            "line-separator": "a\u2028b",
        }.items()
    ),
    *(
        pytest.param({"statement": more_subjects(*names)}, "statement-subject", id=f"collision-{label}")
        for label, names in {
            "case": ("a.csv", "A.csv"),
            "sharp-s": ("stra\u00dfe.csv", "STRASSE.csv"),
            "normal-form": ("caf\u00e9.csv", "cafe\u0301.csv"),
            "folder": ("part", "part/0.csv"),
            "folder-in-other-case": ("Part", "part/a/0.csv"),
            "folder-first": ("x/y/0.csv", "x/y"),
        }.items()
    ),
    *(
        pytest.param({"predicate": put("inputs/0/uri", uri)}, "statement-predicate", id=f"uri-{label}")
        for label, uri in {
            "escape": "file:///a\x1b[2Jb",
            "newline": "file:///a\nb",
            "right-to-left-override": "file:///a\u202etxt.b",
            "empty": "",
        }.items()
    ),
    *(
        pytest.param({"predicate": drop(name)}, "statement-predicate", id=f"{name}-absent")
        for name in ("v", "trust", "notice", "run_id", "nonce", "job", "month", "inputs", "rows")
    ),
    *(
        pytest.param({"predicate": drop(name)}, "statement-predicate", id=f"{name}-absent")
        for name in ("image_digest", "started_at", "finished_at")
    ),
    pytest.param({"predicate": put("extra", 1)}, "statement-predicate", id="predicate-unknown-member"),
    pytest.param({"predicate": put("v", 2)}, "statement-predicate", id="version"),
    pytest.param({"predicate": put("v", True)}, "statement-predicate", id="version-bool"),
    pytest.param({"predicate": put("month", "2018-13")}, "statement-predicate", id="month-13"),
    pytest.param({"predicate": put("month", 201805)}, "statement-predicate", id="month-number"),
    pytest.param({"predicate": put("image_digest", "latest")}, "statement-predicate", id="image-tag"),
    pytest.param({"predicate": put("rows/input", -1)}, "statement-predicate", id="rows-negative"),
    pytest.param({"predicate": put("rows/input", 1.0)}, "statement-predicate", id="rows-float"),
    pytest.param({"predicate": put("rows/accepted", 3)}, "statement-predicate", id="rows-do-not-add-up"),
    pytest.param({"predicate": put("rows/extra", 1)}, "statement-predicate", id="rows-unknown-member"),
    pytest.param({"predicate": put("inputs", {})}, "statement-predicate", id="inputs-object"),
    pytest.param({"predicate": put("inputs/0", "x")}, "statement-predicate", id="input-string"),
    pytest.param({"predicate": put("inputs/0/sha256", "x")}, "statement-predicate", id="input-digest"),
    pytest.param({"predicate": put("inputs/0/bytes", "4")}, "statement-predicate", id="input-bytes"),
    pytest.param(
        {"predicate": put("job/arguments", "--month")}, "statement-predicate", id="arguments-string"
    ),
    pytest.param({"predicate": put("job/arguments", [1])}, "statement-predicate", id="argument-number"),
    pytest.param({"predicate": put("started_at", "yesterday")}, "statement-predicate", id="start-text"),
    pytest.param({"predicate": put("started_at", 1795428000)}, "statement-predicate", id="start-number"),
    pytest.param(
        {"predicate": put("started_at", "2026-11-23T09:59:58+00:00")},
        "statement-predicate",
        id="start-offset",
    ),
    pytest.param(
        {"predicate": put("started_at", "2026-11-31T09:59:58Z")},
        "statement-predicate",
        id="start-no-such-day",
    ),
    pytest.param({"predicate": put("month", "2019-12")}, "statement-mismatch", id="month-not-the-jobs"),
    pytest.param({"predicate": put("month", None)}, "statement-mismatch", id="month-left-out"),
    pytest.param({"predicate": put("inputs", [])}, "statement-predicate", id="month-without-input"),
    pytest.param({"predicate": put("run_id", "other")}, "statement-mismatch", id="run-id-other"),
    pytest.param({"predicate": put("nonce", b64url(bytes(32)))}, "statement-mismatch", id="nonce-other"),
    pytest.param({"predicate": put("job/name", "sparkpi")}, "statement-mismatch", id="job-name-other"),
    pytest.param({"predicate": put("job/file_sha256", "00" * 32)}, "statement-mismatch", id="job-file-other"),
    pytest.param(
        {"predicate": put("job/arguments", ["--month", "2018-06"])}, "statement-mismatch", id="arguments"
    ),
    pytest.param(
        {"predicate": put("job/arguments_sha256", "00" * 32)},
        "statement-mismatch",
        id="arguments-digest-other",
    ),
    pytest.param(
        {"predicate": put("started_at", "2026-11-23T10:00:01Z")}, "statement-time", id="start-after-token"
    ),
    pytest.param(
        {"predicate": put("started_at", "0001-01-01T00:00:00Z")}, "statement-time", id="start-in-year-1"
    ),
    pytest.param(
        {"predicate": put("started_at", "2026-11-23T09:59:54.999Z")},
        "statement-time",
        id="start-before-launch",
    ),
    pytest.param(
        {"predicate": put("finished_at", "2026-11-23T09:59:59Z")}, "statement-time", id="end-before-token"
    ),
    pytest.param(
        {"predicate": put("finished_at", "2026-11-23T10:01:01Z")}, "statement-time", id="end-in-future"
    ),
]


@pytest.mark.parametrize(
    ("step", "change", "code"),
    [
        pytest.param(step, *row.values, id=f"step{step}-{row.id}")
        for step, rows in ((1, UNREADABLE), (11, SIGNATURES), (11, FORGED), (11, CONTENT))
        for row in rows
    ],
)
def test_wrong_statement_is_refused_for_its_reason(step, change, code):
    report = make_bundle(**change).verify()
    assert (report.code, report.failure.number) == (code, step), report.text()


def test_a_job_without_a_month_needs_no_input():
    arguments = ["--partitions", "2"]
    digest = arguments_sha256(arguments)

    def predicate(value):
        job = value["job"] | {"arguments": arguments, "arguments_sha256": digest}
        return value | {"job": job, "month": None, "inputs": []}

    bundle = make_bundle(runtime=put("job/arguments_sha256", digest), predicate=predicate)
    report = bundle.verify(expected_job=None)
    assert report.passed, report.text()
    assert "no month" in report.text()
    assert bundle.verify(expected_job=None, expected_month="2018-05").code == "statement-mismatch"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(
            {"predicate": put("started_at", "2026-11-23T10:00:00.999999Z")}, id="fraction-of-a-second"
        ),
        pytest.param({"predicate": put("started_at", "2026-11-23T09:59:55Z")}, id="start-at-launch"),
        pytest.param({"envelope": drop("signatures/0/keyid")}, id="no-keyid"),
        pytest.param({"payload": lambda b: json.dumps(json.loads(b), indent=1).encode()}, id="indented"),
    ],
)
def test_unusual_but_right_statement_is_accepted(change):
    report = make_bundle(**change).verify()
    assert report.passed, report.text()


def test_clock_skew_applies_to_the_statements_times():
    bundle = make_bundle(
        policy=put("attestation/clock_skew", "2s"), predicate=put("started_at", "2026-11-23T10:00:02Z")
    )
    assert bundle.verify().passed
    assert bundle.verify(now=NOW + timedelta(seconds=27)).code == "statement-time"


def test_key_of_another_enclave_does_not_sign_for_this_one():
    other = make_bundle(key=p256_key("another enclave"), nonce=b"o" * 32)
    envelope = json.loads(other.evidence)["envelope"]
    report = make_bundle(envelope=lambda e: e | {"signatures": envelope["signatures"]}).verify()
    assert report.code == "dsse-keyid-mismatch"


def test_facts_of_the_run_are_reported():
    facts = make_bundle().verify().facts
    assert (facts.month, facts.started_at) == ("2018-05", "2026-11-23T09:59:58Z")
    assert set(facts.results) == {"summary.json", "by_hour/part-0.parquet", "empty.csv"}


@settings(max_examples=60)
@given(st.binary(max_size=300))
def test_any_payload_is_a_statement_or_a_refusal(payload):
    envelope = {"payload": base64.b64encode(payload).decode(), "payloadType": "x", "signatures": []}
    with pytest.raises(VerificationError, match="statement-"):
        Statement.decode(JsonObject("envelope", envelope, Refusal.EVIDENCE_MALFORMED))


def test_statement_is_read_from_the_bundle():
    bundle = make_bundle()
    assert Evidence.parse(bundle.evidence).statement.attested.quote == bundle.quote
