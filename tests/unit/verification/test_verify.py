"""The verification as a whole: order, real material, hostile input of any type, and the report."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from confidential_spark import __version__
from confidential_spark.agent.protocol import b64url, sha256_hex
from confidential_spark.core.errors import VerificationError
from confidential_spark.verification import (
    VerificationReport,
    load_policy,
    verify_attestation,
    verify_evidence,
)
from confidential_spark.verification.policy import root_certificates
from confidential_spark.verification.policy.root_certificates import INTEL_ROOT_SPKI_SHA256, read_root
from confidential_spark.verification.report import Status, Step, run_checks
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.support.factories.bundles import ISSUER, JOB, NONCE, NOW, RUN_ID, make_bundle
from tests.support.factories.changes import put
from tests.support.factories.platform_ca import PlatformCa
from tests.support.places import ROOT

if TYPE_CHECKING:
    from pathlib import Path

POLICIES = ROOT / "include" / "policies"
GENUINE = make_bundle()


def test_genuine_evidence_passes_all_thirteen_steps():
    report = GENUINE.verify()
    assert report.passed
    assert [step.number for step in report.steps] == list(range(1, 14))
    assert (report.trust, report.code, report.failure, report.outcome) == (
        "simulated",
        None,
        None,
        "verified",
    )
    report.raise_for_failure()


def test_genuine_attestation_passes_its_eleven_steps():
    report = GENUINE.verify_attestation()
    assert report.passed
    assert [step.number for step in report.steps] == [*range(1, 11), 13]


def hardware_bundle(ca, roots=None, **made):
    """Evidence of a platform under the authority's root, and a policy that calls it hardware."""
    issuer = "https://maa.example.com"

    def hardware(policy):
        policy = put("attestation/issuer", issuer)(put("dcap/roots", roots or [ca.root_der])(policy))
        return policy | {"trust": "hardware"}

    return make_bundle(
        claims=put("iss", issuer),
        header=put("jku", f"{issuer}/certs"),
        predicate=lambda p: p | {"trust": "hardware", "notice": None},
        bundle=put("notice", None),
        policy=hardware,
        **made,
    )


def of_platform(ca):
    return {"quote_with": ca.quote, "collateral": lambda _: ca.collateral(NOW)}


def test_hardware_trust_is_reached_by_the_same_steps(monkeypatch):
    ca = PlatformCa()
    monkeypatch.setattr(root_certificates, "INTEL_ROOT_SPKI_SHA256", read_root(ca.root_der).spki_sha256)
    report = hardware_bundle(ca, **of_platform(ca)).verify()
    assert report.passed, report.text()
    assert report.trust == "hardware"
    assert "SIMULATED" not in report.text()


@pytest.mark.parametrize("beside_intels", [False, True], ids=["alone", "beside-intels"])
def test_hardware_means_intels_root_whatever_the_policy_names(beside_intels):
    ca = PlatformCa()
    intel = [(POLICIES / "roots" / "intel-sgx-root-ca.pem").read_text()] if beside_intels else []
    report = hardware_bundle(ca, [ca.root_der, *intel], **of_platform(ca)).verify()
    assert (report.code, report.failure.number, report.trust) == ("quote-chain", 9, None)
    assert "Intel" in report.failure.expected


def test_intels_root_is_the_one_in_the_repository():
    root = read_root(str(POLICIES / "roots" / "intel-sgx-root-ca.pem"))
    assert root.spki_sha256 == INTEL_ROOT_SPKI_SHA256


def test_simulated_evidence_never_satisfies_production():
    production = load_policy(POLICIES / "production.yaml")
    report = GENUINE.verify(policy=production)
    assert (report.code, report.trust) == ("jku-mismatch", None)


def test_simulated_evidence_is_refused_by_production_before_keys_are_asked_for():
    production = load_policy(POLICIES / "production.yaml")
    report = GENUINE.verify(policy=production, jwks=None)
    assert (report.code, report.failure.number, report.outcome) == ("trust-mismatch", 13, "refused")
    assert (report.trust, report.facts.run_id) == (None, None)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        pytest.param({}, "jwks-missing", id="same-trust"),
        pytest.param({"evidence": b"{}"}, "jwks-missing", id="unreadable"),
        pytest.param({"evidence": None}, "jwks-missing", id="no-bytes"),
        pytest.param({"policy": None}, "policy-invalid", id="no-policy"),
        pytest.param({"now": None}, "clock-invalid", id="no-clock"),
    ],
)
def test_missing_keys_are_asked_for_when_the_claimed_trust_fits(arguments, code):
    report = GENUINE.verify(jwks=None, **arguments)
    assert (report.code, report.outcome) == (code, "not-checked")


def test_claimed_trust_is_believed_by_no_step():
    report = make_bundle(predicate=put("trust", "hardware")).verify()
    assert report.code == "trust-mismatch"
    assert [step.status for step in report.steps] == [Status.PASS] * 12 + [Status.FAIL]


def test_parts_of_the_platforms_detail_are_separated():
    (step,) = [step for step in GENUINE.verify().steps if step.number == 9]
    assert step.detail.startswith("UpToDate, root key ")


def test_forged_issuer_does_not_carry_simulated_quotes_into_hardware():
    """Even an attestation provider that vouches for a software quote cannot make it hardware."""
    assert hardware_bundle(PlatformCa()).verify().code == "quote-chain"


def test_another_image_than_the_resolved_one_is_refused():
    digest = "sha256:" + "cd" * 32
    report = GENUINE.verify(expected_image_digest="sha256:" + "ce" * 32)
    assert (report.code, report.failure.number) == ("image-digest-mismatch", 11)
    assert (report.failure.got, report.failure.expected) == (digest, "sha256:" + "ce" * 32)
    assert report.facts.image_digest is None
    assert "image digest as expected" in GENUINE.verify(expected_image_digest=digest).text()
    assert "image digest NOT COMPARED" in GENUINE.verify().text()


@pytest.mark.parametrize(
    ("expected", "code", "step"),
    [
        pytest.param({"expected_month": "2018-06"}, "statement-mismatch", 11, id="month"),
        pytest.param({"expected_job_file_sha256": "00" * 32}, "job-mismatch", 10, id="job-file"),
        pytest.param({"expected_month": 201805}, "expectation-invalid", 0, id="month-type"),
        pytest.param({"expected_job_file_sha256": b"x"}, "expectation-invalid", 0, id="job-file-type"),
    ],
)
def test_what_an_outsider_expects_is_compared(expected, code, step):
    report = GENUINE.verify(**expected)
    assert (report.code, report.failure.number) == (code, step)


def test_what_was_compared_is_said():
    text = GENUINE.verify(
        expected_job=None, expected_job_file_sha256=JOB.file_sha256, expected_month="2018-05"
    ).text()
    assert "job as expected" in text
    assert "month 2018-05 as expected" in text
    assert "month 2018-05 NOT COMPARED" in GENUINE.verify().text()
    assert "job NOT COMPARED" in GENUINE.verify(expected_job=None).text()


@pytest.mark.parametrize(
    "digest",
    [
        pytest.param("cd" * 32, id="without-sha256"),
        pytest.param("sha256:" + "CD" * 32, id="upper-case"),
        pytest.param("sha256:" + "cd" * 32 + "\n", id="line-break"),
        pytest.param("", id="empty"),
        pytest.param(b"sha256:" + b"cd" * 32, id="bytes"),
    ],
)
def test_an_unusable_image_digest_is_no_verdict(digest):
    report = GENUINE.verify(expected_image_digest=digest)
    assert (report.code, report.outcome, report.failure.number) == ("expectation-invalid", "not-checked", 0)


EVERYTHING_ELSE = {"expected_month": "2018-05", "expected_image_digest": "sha256:" + "cd" * 32}


@pytest.mark.parametrize(
    ("changes", "left_out"),
    [
        pytest.param(EVERYTHING_ELSE, (), id="nothing"),
        pytest.param(EVERYTHING_ELSE | {"expected_nonce": None}, ("nonce",), id="nonce"),
        pytest.param(EVERYTHING_ELSE | {"expected_run_id": None}, ("run id",), id="run-id"),
        pytest.param(EVERYTHING_ELSE | {"expected_month": None}, ("month",), id="month"),
        pytest.param(EVERYTHING_ELSE | {"expected_image_digest": None}, ("image digest",), id="image"),
        pytest.param(EVERYTHING_ELSE | {"expected_job": None}, ("job", "arguments"), id="job"),
        pytest.param(
            EVERYTHING_ELSE | {"expected_job": None, "expected_job_file_sha256": JOB.file_sha256},
            ("arguments",),
            id="only-the-jobs-file",
        ),
    ],
)
def test_the_verdict_says_what_was_not_compared(changes, left_out):
    report = GENUINE.verify(**changes)
    verdict = report.text().splitlines()[-1]
    assert (report.passed, report.not_compared) == (True, left_out)
    assert tuple(report.to_dict()["not_compared"]) == left_out
    shown = f" · NOT COMPARED: {', '.join(left_out)}" if left_out else ""
    assert verdict == f"VERIFIED · trust: SIMULATED – proves nothing about hardware{shown}"


def test_what_is_to_be_compared_by_eye_is_shown():
    report = GENUINE.verify()
    text, facts = report.text(), report.to_dict()["facts"]
    for shown in (
        f"job: nytaxi, file SHA-256 {JOB.file_sha256}",
        'arguments: ["--month", "2018-05"]',
        "month: 2018-05",
        f"input: SHA-256 {'ab' * 32}, 4 bytes, file:///data/part-0.parquet",
        f"run id: {RUN_ID}",
        f"nonce: {b64url(NONCE)}",
        f"image digest: sha256:{'cd' * 32}",
    ):
        assert shown in text
    assert facts["arguments"] == ("--month", "2018-05")
    assert facts["inputs"] == ({"uri": "file:///data/part-0.parquet", "bytes": 4, "sha256": "ab" * 32},)
    refused = GENUINE.verify(results={})
    assert "Compare by eye" not in refused.text()


def test_a_long_list_of_inputs_is_cut_in_the_text_and_whole_in_json():
    inputs = [{"uri": f"file:///data/{n}", "bytes": n, "sha256": "ab" * 32} for n in range(103)]
    report = make_bundle(predicate=put("inputs", inputs)).verify()
    assert report.text().count("   input: ") == 100
    assert "inputs: 3 more" in report.text()
    assert len(report.to_dict()["facts"]["inputs"]) == 103


def test_what_was_judged_by_is_said(tmp_path):
    import yaml

    data = yaml.safe_dump(dict(GENUINE.policy)).encode()
    (tmp_path / "policy.yaml").write_bytes(data)
    report = GENUINE.verify(policy=tmp_path / "policy.yaml", expected_month="2018-04")
    digest, shown = sha256_hex(data), report.to_dict()
    assert (shown["policy_sha256"], shown["issuer"], shown["version"]) == (digest, ISSUER, __version__)
    assert shown["judged_at"] == "2026-11-23T10:01:00Z"
    for part in (digest, f"Issuer: {ISSUER}", f"confidential-spark {__version__}", "2026-11-23T10:01:00Z"):
        assert part in report.text()
    assert GENUINE.verify().policy_sha256 is None


def test_a_ledger_that_the_policy_does_not_need_is_said_to_be_unused():
    report = GENUINE.verify(ledger="/nowhere/approvals.jsonl")
    assert report.passed
    assert report.unused == ("the ledger: the policy lists what it allows",)
    assert "NOT USED: the ledger" in report.text()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        pytest.param({"jwks": b"<html>"}, "jwks-malformed", id="key-set-html"),
        pytest.param({"jwks": {"issuer": ISSUER}}, "jwks-malformed", id="key-set-metadata-document"),
        pytest.param({"jwks": b'{"keys":[],"keys":[]}'}, "jwks-duplicate-key", id="key-set-member-twice"),
        pytest.param({"jwks": b" " * 1_100_000}, "input-too-large", id="key-set-too-large"),
        pytest.param({"jwks": {"keys": []}}, "kid-unknown", id="key-set-empty"),
        pytest.param({"jwks": {"keys": [{"kid": "of-another-region"}]}}, "kid-unknown", id="key-set-other"),
        pytest.param(
            {"jwks": {"keys": GENUINE.jwks["keys"] * 2}}, "kid-ambiguous", id="key-set-names-a-key-twice"
        ),
        pytest.param(
            {"jwks": {"keys": [{**GENUINE.jwks["keys"][0], "x5c": []}]}}, "key-malformed", id="key-set-bare"
        ),
        pytest.param({"expected_month": "2018-5"}, "expectation-invalid", id="month-form"),
        pytest.param({"expected_month": "May"}, "expectation-invalid", id="month-word"),
        pytest.param({"expected_image_digest": "latest"}, "expectation-invalid", id="image-tag"),
        pytest.param({"expected_job_file_sha256": "ab"}, "expectation-invalid", id="job-digest"),
        pytest.param({"results": "/nowhere"}, "result-unreadable", id="results-absent"),
    ],
)
def test_what_the_caller_hands_over_wrongly_is_no_verdict(arguments, code):
    report = GENUINE.verify(**arguments)
    assert (report.code, report.outcome) == (code, "not-checked")
    assert report.text().splitlines()[-1].startswith("NOT CHECKED · ")


@pytest.mark.parametrize("keys", [7, [], [{"kid": "x"}], ["x"]], ids=["number", "none", "other", "text"])
def test_a_wrong_key_set_of_the_bundle_is_the_bundles_fault(keys):
    pinned = put("attestation/token_signing_keys", ["00" * 32])
    report = make_bundle(bundle=put("jwks", {"keys": keys}), policy=pinned).verify(jwks=None)
    assert (report.code, report.failure.number, report.outcome) == ("key-not-pinned", 3, "refused")


def test_steps_after_a_failure_are_not_run():
    report = make_bundle(claims=put("x-ms-ver", "2.0")).verify()
    statuses = [step.status for step in report.steps]
    assert statuses == [Status.PASS] * 4 + [Status.FAIL] + [Status.NOT_RUN] * 8
    assert report.facts.issuer == ISSUER
    assert report.facts.mrenclave is None
    assert report.facts.token_id is None


def test_failure_is_raised_on_demand():
    report = make_bundle(claims=put("x-ms-ver", "2.0")).verify()
    with pytest.raises(VerificationError) as refusal:
        report.raise_for_failure()
    assert (refusal.value.code, refusal.value.retryable) == ("attestation-version", False)
    assert (refusal.value.got, refusal.value.expected) == ("'2.0'", "1.0")


def test_report_without_steps_proves_nothing():
    report = VerificationReport("none", ())
    assert not report.passed
    with pytest.raises(VerificationError):
        report.raise_for_failure()


def test_report_becomes_json():
    report = GENUINE.verify().to_dict()
    assert json.loads(json.dumps(report)) == json.loads(json.dumps(report))
    assert (report["outcome"], report["passed"], report["trust"]) == ("verified", True, "simulated")
    assert report["steps"][0]["status"] == "PASS"
    assert report["facts"]["run_id"].startswith("nytaxi_local/")


def test_hostile_text_does_not_reach_the_terminal():
    report = make_bundle(header=put("kid", "\x1b[2J\nVERIFIED")).verify()
    assert "\x1b" not in report.text()
    assert "\nVERIFIED" not in report.text()


def test_crashing_check_fails_its_step():
    def crash() -> str:
        raise RuntimeError("boom")

    (result,) = run_checks([(Step.QUOTE, crash)])
    assert (result.status, result.code, result.got) == (Status.FAIL, "check-crashed", "RuntimeError: boom")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        pytest.param({"now": datetime(2026, 11, 23)}, "clock-invalid", id="clock-without-zone"),
        pytest.param({"now": 1795428000}, "clock-invalid", id="clock-number"),
        pytest.param({"now": None}, "clock-invalid", id="clock-none"),
        pytest.param({"now": datetime(1969, 1, 1, tzinfo=UTC)}, "clock-invalid", id="clock-before-1970"),
        pytest.param({"now": datetime.max.replace(tzinfo=UTC)}, "clock-invalid", id="clock-at-the-end"),
        pytest.param({"run_started_at": "2026-11-23"}, "clock-invalid", id="run-start-text"),
        pytest.param({"expected_nonce": b"short"}, "expectation-invalid", id="nonce-short"),
        pytest.param({"expected_nonce": "n" * 32}, "expectation-invalid", id="nonce-text"),
        pytest.param({"expected_run_id": 7}, "expectation-invalid", id="run-id-number"),
        pytest.param({"expected_job": "nytaxi"}, "expectation-invalid", id="job-text"),
        pytest.param({"ledger": 5}, "expectation-invalid", id="ledger-number"),
        pytest.param({"ledger": b"x"}, "expectation-invalid", id="ledger-bytes"),
        pytest.param({"ledger": []}, "expectation-invalid", id="ledger-list"),
        pytest.param({"seen_nonces": "abc"}, "expectation-invalid", id="seen-nonces-text"),
        pytest.param({"seen_token_ids": "abc"}, "expectation-invalid", id="seen-token-ids-text"),
        pytest.param({"seen_token_ids": None}, "expectation-invalid", id="seen-token-ids-none"),
        pytest.param({"policy": None}, "policy-invalid", id="policy-none"),
        pytest.param({"policy": {}}, "policy-invalid", id="policy-empty"),
        pytest.param({"policy": b"["}, "policy-malformed", id="policy-no-yaml"),
        pytest.param({"policy": "/nowhere.yaml"}, "policy-unreadable", id="policy-absent"),
    ],
)
def test_unusable_arguments_are_not_a_verdict_about_the_evidence(arguments, code):
    for report in (GENUINE.verify(**arguments), GENUINE.verify_attestation(**arguments)):
        assert (report.code, report.outcome, report.failure.number) == (code, "not-checked", 0)
        assert all(step.status is Status.NOT_RUN for step in report.steps[1:])


@pytest.mark.parametrize("claimed", [10**5000, b"hardware", ["simulated"]], ids=["huge", "bytes", "list"])
def test_a_claimed_trust_level_of_another_type_is_no_verdict(claimed):
    report = GENUINE.verify_attestation(claimed_trust=claimed)
    assert (report.code, report.outcome) == ("expectation-invalid", "not-checked")


@pytest.mark.parametrize("name", ["token", "quote", "runtime_data", "jwks", "collateral"])
@pytest.mark.parametrize(
    "value",
    [None, 7, True, 1.5, [], [b"x"], object(), {b"x": 1}, float("nan")],
    ids=lambda v: type(v).__name__,
)
def test_wrong_types_are_refused_at_their_step(name, value):
    report = GENUINE.verify_attestation(**{name: value})
    # The key set is the checking side's: a wrong one says nothing about the evidence.
    assert report.outcome == ("not-checked" if name == "jwks" else "refused")
    assert report.code in {"input-type", "jwks-malformed", "collateral-malformed"}


@pytest.mark.parametrize("name", ["token", "quote", "runtime_data", "jwks", "collateral"])
def test_ten_megabytes_are_refused_by_size(name):
    for value in (b"A" * 10_000_000, "A" * 10_000_000):
        report = GENUINE.verify_attestation(**{name: value})
        assert report.code in {"input-too-large", "input-type"}


def deep(depth: int) -> dict:
    value: dict = {}
    for _ in range(depth):
        value = {"keys": [value]}
    return value


@pytest.mark.parametrize("depth", [20, 100_000])
def test_deeply_nested_mappings_are_refused(depth):
    assert GENUINE.verify_attestation(jwks=deep(depth)).code == "jwks-malformed"
    assert GENUINE.verify_attestation(collateral=deep(depth)).code == "collateral-malformed"


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.binary(max_size=100)
    | st.text(st.characters(codec=None), max_size=100),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.integers(), inner, max_size=4),
    max_leaves=12,
)


ATTESTATION_ARGUMENTS = (
    *("token", "jwks", "quote", "runtime_data", "collateral", "policy", "now", "ledger", "claimed_trust"),
    *("expected_nonce", "expected_run_id", "expected_job", "run_started_at", "seen_nonces", "seen_token_ids"),
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    name=st.sampled_from(ATTESTATION_ARGUMENTS),
    value=ANYTHING,
)
@example(name="jwks", value={"keys": [{"kid": "\ud800"}]})
@example(name="policy", value={"name": 10**5000})
@example(name="seen_nonces", value=range(3))
def test_no_argument_of_any_type_makes_attestation_raise_or_pass_wrongly(name, value):
    report = GENUINE.verify_attestation(**{name: value})
    json.dumps(report.to_dict())
    assert report.text()
    harmless = name.startswith(("expected", "run_started", "seen", "claimed", "ledger"))
    assert harmless or not report.passed


@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(name=st.sampled_from(["evidence", "results", "jwks", "policy"]), value=ANYTHING)
def test_no_argument_of_any_type_makes_evidence_raise_or_pass(name, value):
    report = GENUINE.verify(**{name: value})
    json.dumps(report.to_dict())
    assert not report.passed


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_flipped_byte_of_a_bundle_passes(data):
    """Except in the key set's snapshot, for which the caller has a trusted one, and in JSON's own blanks."""
    index = data.draw(st.integers(0, len(GENUINE.evidence) - 1))
    mask = data.draw(st.integers(1, 255))
    changed = bytearray(GENUINE.evidence)
    changed[index] ^= mask
    report = GENUINE.verify(evidence=bytes(changed))
    genuine = json.loads(GENUINE.evidence)
    assert not report.passed or json.loads(bytes(changed)) | {"jwks": {}} == genuine | {"jwks": {}}


@settings(max_examples=100, deadline=None)
@given(st.integers(0, len(GENUINE.quote) - 1), st.integers(1, 255))
def test_no_flipped_byte_of_a_quote_passes(index, mask):
    changed = bytearray(GENUINE.quote)
    changed[index] ^= mask
    assert GENUINE.verify_attestation(quote=bytes(changed)).code == "quote-hash-mismatch"


@settings(max_examples=100, deadline=None)
@given(st.integers(0, len(GENUINE.token) - 1), st.sampled_from("AZaz09-_.=~"))
def test_no_changed_character_of_a_token_passes(index, character):
    changed = GENUINE.token[:index] + character + GENUINE.token[index + 1 :]
    assert GENUINE.verify_attestation(token=changed).passed == (changed == GENUINE.token)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("case", "changes", "step", "code"),
    [
        ("sgx-runtime-binary", {}, 6, "debuggable"),
        ("sgx-runtime-binary", {"now": datetime(2026, 11, 23, tzinfo=UTC)}, 4, "token-expired"),
        ("sgx-runtime-binary", {"now": datetime(2022, 5, 31, tzinfo=UTC)}, 4, "token-not-yet-valid"),
        (
            "sgx-runtime-binary",
            {"run_started_at": datetime(2022, 5, 31, 23, 0, tzinfo=UTC)},
            4,
            "token-before-run",
        ),
        ("policy-token-sgx", {}, 5, "attestation-type"),
        ("sgx-draft-policy-alg-none", {}, 2, "alg-not-rs256"),
    ],
)
def test_real_tokens(attestation_cases, case, changes, step, code):
    arguments = real_case(attestation_cases / "tokens" / case) | changes
    report = verify_attestation(**arguments)
    assert (report.code, report.failure.number) == (code, step), report.text()


@pytest.mark.shared
def test_real_token_agrees_with_its_quote_in_every_field(attestation_cases):
    """Past the debug attribute, which no policy forgives, the real material goes on to step 9."""
    from confidential_spark.verification import Policy
    from confidential_spark.verification.attestation.identity import EnclaveClaims
    from confidential_spark.verification.context import Context, Expectations
    from confidential_spark.verification.steps import AttestationSteps

    case = real_case(attestation_cases / "tokens" / "sgx-runtime-binary")
    context = Context(Policy.from_mapping(case["policy"]), case["now"], Expectations())
    steps = AttestationSteps(context, jwks=case["jwks"], collateral="{}")
    steps.decode_inputs(case["token"], case["quote"], case["runtime_data"])
    for check in (steps.header, steps.signature, steps.time, steps.kind):
        assert check()
    steps.enclave = EnclaveClaims.of(steps.token.claims)
    assert steps.binding()
    assert steps.quote_match()


def real_case(folder: Path) -> dict:
    optional = {
        name: (folder / file).read_bytes() if (folder / file).exists() else b"x"
        for name, file in (("quote", "quote.bin"), ("runtime_data", "runtime_data.bin"))
    }
    identity = "292a1f4b519e46627eb2478a3d9851405653c5b4b0a6925de843834d9216850e"
    signer = "4aea5f9a0ed04b11f889aadfe6a1d376213a29a95a85ce7337ae6f7fece6610c"
    policy = {
        "name": "real",
        "version": 1,
        "trust": "hardware",
        "attestation": {"issuer": "https://sharedwus.wus.attest.azure.net"},
        "identities": {
            "mrenclave": {"allow": [identity]},
            "mrsigner": {"allow": [signer]},
            "product_id": {"allow": [1]},
            "svn": {"minimum": 1},
        },
        "dcap": {
            "roots": [(POLICIES / "roots" / "intel-sgx-root-ca.pem").read_text()],
            "accepted_tcb_statuses": ["UpToDate"],
            "max_collateral_age": "30d",
        },
    }
    return {
        "token": (folder / "token.jwt").read_bytes(),
        "jwks": (folder / "jwks.json").read_bytes(),
        "collateral": "{}",
        "policy": policy,
        "now": datetime.fromtimestamp(1654040000, UTC),
    } | optional


def test_functions_take_plain_values_only_by_name():
    with pytest.raises(TypeError):
        verify_evidence(GENUINE.evidence)  # type: ignore[call-arg]


def test_clock_of_another_zone_is_the_same_clock():
    from datetime import timezone

    local = GENUINE.now.astimezone(timezone(timedelta(hours=9)))
    assert GENUINE.verify(now=local).passed
