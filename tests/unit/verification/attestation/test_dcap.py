"""Quotes and platforms judged by the quote alone (step 9)."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import dcap_qvl
import pytest
from confidential_spark.core.errors import VerificationError
from confidential_spark.simulation.enclave import quoting_enclave
from confidential_spark.simulation.enclave.software_quote import SoftwareQuote
from confidential_spark.simulation.hardware import authority as development_ca
from confidential_spark.simulation.hardware.keys import raw_signature
from confidential_spark.simulation.hardware.pck_extension import sgx_extension
from confidential_spark.verification.attestation import dcap
from confidential_spark.verification.attestation.dcap import verify_quote
from confidential_spark.verification.policy.policy import DcapPolicy
from confidential_spark.verification.policy.root_certificates import read_root
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.support.factories.bundles import IDENTITY, NOW, make_bundle
from tests.support.factories.changes import flip, put
from tests.support.factories.platform_ca import QE_REPORT_SIGNATURE, PlatformCa, pem, self_signed, with_chain

CA = PlatformCa()
OTHER_CA = PlatformCa()
AUGUST = datetime(2025, 8, 20, tzinfo=UTC)


def policy(**changes) -> DcapPolicy:
    return DcapPolicy(
        **{
            "roots": [read_root(CA.root_der)],
            "accepted_tcb_statuses": ["UpToDate"],
            "max_collateral_age": "30d",
            "allow_dynamic_platform": True,
        }
        | changes
    )


def intel(cases, **changes) -> DcapPolicy:
    root = read_root((cases / "quotes" / "intel-sgx-root-ca.der").read_bytes())
    accepted = {"accepted_tcb_statuses": ["SWHardeningNeeded"], "accepted_advisories": ["INTEL-SA-00615"]}
    return policy(roots=[root], **(accepted | changes))


def judge(quote=None, collateral=None, rules=None, now=NOW) -> str | None:
    """Return the refusal's code, or None."""
    quote = CA.quote(IDENTITY, bytes(64)) if quote is None else quote
    collateral = CA.collateral(NOW) if collateral is None else collateral
    text = collateral if isinstance(collateral, str) else json.dumps(collateral)
    try:
        verify_quote(quote, text, rules or policy(), now)
    except VerificationError as error:
        return error.code
    return None


def quote_with_chain(*certificates) -> bytes:
    return CA.quote(IDENTITY, bytes(64), chain=pem(*certificates))


def test_genuine_platform_is_described():
    platform = verify_quote(CA.quote(IDENTITY, bytes(64)), json.dumps(CA.collateral(NOW)), policy(), NOW)
    assert (platform.tcb_status, platform.advisories) == ("UpToDate", ())
    assert platform.root_spki_sha256 == read_root(CA.root_der).spki_sha256
    assert platform.collateral_expires == datetime(2026, 12, 23, tzinfo=UTC)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        pytest.param(flip(8), "quote-signature", id="header"),
        pytest.param(flip(48 + 64), "quote-signature", id="mrenclave"),
        pytest.param(flip(436), "quote-signature", id="quote-signature"),
        pytest.param(flip(500), "quote-signature", id="attestation-key"),
        pytest.param(flip(564), "quote-signature", id="qe-report"),
        pytest.param(flip(948), "quote-signature", id="qe-signature"),
        pytest.param(flip(1014), "quote-signature", id="authentication-data"),
        pytest.param(flip(1200), "quote-chain", id="pck-certificate"),
        pytest.param(flip(-300), "quote-chain", id="root-certificate"),
        pytest.param(lambda q: q + b"\0", "quote-length", id="trailing-byte"),
        pytest.param(lambda q: q[:-1], "quote-length", id="truncated"),
        pytest.param(lambda q: with_chain(q, b""), "quote-chain", id="no-certificate"),
        pytest.param(lambda q: with_chain(q, b"garbage"), "quote-chain", id="garbage"),
        pytest.param(lambda q: with_chain(q, pem(CA.pck).encode()), "quote-chain", id="leaf-only"),
        pytest.param(lambda q: with_chain(q, pem(CA.pck, CA.ca).encode()), "quote-chain", id="root-left-out"),
        pytest.param(
            lambda q: with_chain(q, b"x" + pem(CA.pck, CA.ca, CA.root).encode()),
            "quote-chain",
            id="text-before",
        ),
    ],
)
def test_changed_quote_is_refused(change, code):
    assert judge(change(CA.quote(IDENTITY, bytes(64)))) == code


def test_zero_bytes_after_the_chain_are_as_intels_sdk_writes_them():
    chain = pem(CA.pck, CA.ca, CA.root).encode() + b"\0"
    assert judge(with_chain(CA.quote(IDENTITY, bytes(64)), chain)) is None


@pytest.mark.parametrize(
    ("quote", "code"),
    [
        pytest.param(lambda: quote_with_chain(CA.root, CA.ca, CA.pck), "quote-chain", id="reversed"),
        pytest.param(lambda: quote_with_chain(CA.pck, CA.root, CA.ca), "quote-chain", id="shuffled"),
        pytest.param(lambda: quote_with_chain(*[CA.pck] * 5), "quote-chain", id="five"),
        pytest.param(
            lambda: quote_with_chain(CA.pck, CA.ca, OTHER_CA.root), "quote-chain", id="foreign-root"
        ),
        pytest.param(lambda: OTHER_CA.quote(IDENTITY, bytes(64)), "quote-chain", id="foreign-chain"),
        pytest.param(lambda: SoftwareQuote(IDENTITY).quote(bytes(64)), "quote-chain", id="development-root"),
        pytest.param(lambda: quote_with_chain(CA.tcb, CA.root), "quote-chain", id="tcb-signer-as-pck"),
        pytest.param(
            lambda: quote_with_chain(CA.signed_by_leaf(sgx_extension()), CA.tcb, CA.root),
            "quote-chain",
            id="issued-by-no-authority",
        ),
        pytest.param(lambda: quote_with_chain(CA.ca, CA.root, CA.root), "quote-chain", id="authority-as-pck"),
    ],
)
def test_chain_that_does_not_fit_is_refused(quote, code):
    refusals = {judge(quote()), code}
    assert refusals <= {code, "collateral-mismatch"}
    assert None not in refusals


@pytest.mark.parametrize(
    "extension",
    [
        pytest.param(None, id="absent"),
        pytest.param(x509.UnrecognizedExtension(sgx_extension().oid, b"junk"), id="junk"),
        pytest.param(x509.UnrecognizedExtension(sgx_extension().oid, b""), id="empty"),
        pytest.param(x509.UnrecognizedExtension(sgx_extension().oid, b"\x30\x00"), id="no-members"),
    ],
)
def test_pck_certificate_without_a_readable_platform_is_refused(extension):
    assert judge(quote_with_chain(CA.pck_with(extension), CA.ca, CA.root)) == "quote-chain"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("fmspc", "zz"),
        ("tcbLevels/0/tcbDate", "yesterday"),
        ("tcbLevels/0/tcb/sgxtcbcomponents", [{"svn": 1}]),
    ],
)
def test_signed_tcb_info_that_is_malformed_has_a_name(path, value):
    def change(collateral):
        return collateral | {"tcb_info": json.dumps(put(path, value)(json.loads(collateral["tcb_info"])))}

    assert judge(collateral=CA.collateral(NOW, change)) == "collateral-malformed"


def test_quote_signed_by_a_key_without_a_certificate_is_refused():
    quote = bytearray(CA.quote(IDENTITY, bytes(64)))
    quote[QE_REPORT_SIGNATURE] = raw_signature(OTHER_CA.pck_key, quoting_enclave.report())
    assert judge(bytes(quote)) == "quote-signature"


def test_expired_pck_certificate_is_refused():
    ca = PlatformCa(pck_not_after=NOW - timedelta(days=1))
    rules = policy(roots=[read_root(ca.root_der)])
    assert judge(ca.quote(IDENTITY, bytes(64)), ca.collateral(NOW), rules) == "quote-chain"


def test_any_of_several_roots_may_end_the_chain():
    both = policy(roots=[read_root(OTHER_CA.root_der), read_root(CA.root_der)])
    assert judge(rules=both) is None


@pytest.mark.parametrize("name", ["Test Root CA", "Test Root CA, reissued", "X"])
def test_root_is_recognised_by_its_key_whatever_its_name(name):
    reissued = self_signed(name, CA.root_key).public_bytes(Encoding.DER)
    assert judge(rules=policy(roots=[read_root(reissued)])) is None


def test_parts_from_two_accepted_roots_are_not_mixed():
    both = policy(roots=[read_root(CA.root_der), read_root(OTHER_CA.root_der)])
    mixed = CA.collateral(NOW) | {
        name: value for name, value in OTHER_CA.collateral(NOW).items() if name.startswith("tcb_info")
    }
    assert judge(collateral=mixed, rules=both) == "collateral-chain"


@pytest.mark.parametrize(
    ("options", "rules", "code"),
    [
        ({"tcb_status": "OutOfDate"}, {}, "tcb-status"),
        ({"tcb_status": "SWHardeningNeeded"}, {}, "tcb-status"),
        ({"tcb_status": "ConfigurationNeeded"}, {}, "tcb-status"),
        ({"tcb_status": "ConfigurationAndSWHardeningNeeded"}, {}, "tcb-status"),
        ({"tcb_status": "OutOfDateConfigurationNeeded"}, {}, "tcb-status"),
        ({"tcb_status": "Revoked"}, {}, "tcb-status"),
        ({"tcb_status": "SWHardeningNeeded"}, {"accepted_tcb_statuses": ["SWHardeningNeeded"]}, None),
        ({"tcb_status": "OutOfDate"}, {"accepted_tcb_statuses": ["OutOfDate", "UpToDate"]}, None),
        ({"advisories": ["INTEL-SA-00615"]}, {}, "advisory"),
        (
            {"advisories": ["INTEL-SA-00615", "INTEL-SA-00334"]},
            {"accepted_advisories": ["INTEL-SA-00615"]},
            "advisory",
        ),
        ({"advisories": ["INTEL-SA-00615"]}, {"accepted_advisories": ["INTEL-SA-00615"]}, None),
        ({}, {"min_tcb_evaluation_data_number": 17}, None),
        ({}, {"min_tcb_evaluation_data_number": 18}, "tcb-evaluation-number"),
        ({}, {"allow_dynamic_platform": False}, "platform-not-allowed"),
    ],
    ids=lambda value: "-".join(map(str, value.values())) or "plain" if isinstance(value, dict) else None,
)
def test_policy_judges_the_platform(options, rules, code):
    assert judge(collateral=CA.collateral(NOW, **options), rules=policy(**rules)) == code


@pytest.mark.parametrize("status", ["Unknown", "uptodate", ""])
def test_status_that_intel_does_not_define_is_refused(status):
    assert judge(collateral=CA.collateral(NOW, tcb_status=status)) in {"tcb-status", "collateral-malformed"}


def test_platform_without_a_matching_tcb_level_is_refused():
    def change(collateral):
        tcb_info = put("tcbLevels", [])(json.loads(collateral["tcb_info"]))
        return collateral | {"tcb_info": json.dumps(tcb_info)}

    assert judge(collateral=CA.collateral(NOW, change)) == "tcb-status"


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("pceId", "0001", "collateral-mismatch"),
        ("pceId", "zzzz", "collateral-mismatch"),
        ("pceId", "000", "collateral-mismatch"),
        ("pceId", "0000", None),
        ("version", 2, "collateral-mismatch"),
        ("version", 4, "collateral-mismatch"),
        ("tcbType", 1, "collateral-mismatch"),
        ("id", "TDX", "collateral-mismatch"),
    ],
)
def test_tcb_info_is_about_this_kind_of_platform(name, value, code):
    def change(collateral):
        return collateral | {"tcb_info": json.dumps(put(name, value)(json.loads(collateral["tcb_info"])))}

    assert judge(collateral=CA.collateral(NOW, change)) == code


def test_collateral_of_another_kind_of_platform_is_refused_with_both_values():
    def change(collateral):
        tcb_info = put("fmspc", "00606A000000")(json.loads(collateral["tcb_info"]))
        return collateral | {"tcb_info": json.dumps(tcb_info)}

    with pytest.raises(VerificationError) as refusal:
        verify_quote(CA.quote(IDENTITY, bytes(64)), json.dumps(CA.collateral(NOW, change)), policy(), NOW)
    error = refusal.value
    assert (error.code, error.got, error.expected) == ("collateral-mismatch", "00606a000000", b"SIMULA".hex())


def test_another_quoting_enclave_is_refused():
    def change(collateral):
        identity = put("mrsigner", "00" * 32)(json.loads(collateral["qe_identity"]))
        return collateral | {"qe_identity": json.dumps(identity)}

    assert judge(collateral=CA.collateral(NOW, change)) == "qe-identity"


def test_outdated_quoting_enclave_is_refused():
    def change(collateral):
        identity = json.loads(collateral["qe_identity"])
        levels = [
            {"tcb": {"isvsvn": 200}, "tcbDate": "2024-03-13T00:00:00Z", "tcbStatus": "UpToDate"},
            {"tcb": {"isvsvn": 1}, "tcbDate": "2019-03-13T00:00:00Z", "tcbStatus": "OutOfDate"},
        ]
        return collateral | {"qe_identity": json.dumps(put("tcbLevels", levels)(identity))}

    assert judge(collateral=CA.collateral(NOW, change)) == "tcb-status"


@pytest.mark.parametrize(("message", "code"), dcap._DCAP_MESSAGES, ids=lambda value: str(value)[:30])
def test_each_message_of_the_library_has_its_code(message, code):
    with pytest.raises(VerificationError) as refusal:
        dcap._refuse_as_dcap(f"Verification failed: {message} …")
    assert refusal.value.code == code


def test_unknown_message_of_the_library_is_a_refusal_all_the_same():
    with pytest.raises(VerificationError) as refusal:
        dcap._refuse_as_dcap("something new")
    assert refusal.value.code == "dcap-refused"


def test_any_exception_of_the_library_is_a_refusal(monkeypatch):
    def fail(*_):
        raise RuntimeError("index out of bounds")

    monkeypatch.setattr(dcap_qvl, "QuoteVerifier", fail)
    assert make_bundle().verify_attestation().code == "dcap-refused"


def test_library_alone_verifies_signatures_of_this_version():
    """What `dcap` relies on: `claims_only` checks every signature and refuses debug enclaves."""
    quote, collateral = CA.quote(IDENTITY, bytes(64)), json.dumps(CA.collateral(NOW))
    parsed = dcap_qvl.QuoteCollateralV3.from_json(collateral)
    seconds = int(NOW.timestamp())
    rules = dcap_qvl.QuotePolicy.claims_only(seconds)
    verifier = dcap_qvl.QuoteVerifier(CA.root_der)
    assert verifier.verify_with_policy(quote, parsed, seconds, rules)
    for index in (48, 436, 500, 564, 948, 1014):
        with pytest.raises(ValueError, match="Verification failed"):
            verifier.verify_with_policy(flip(index)(quote), parsed, seconds, rules)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "now", "rules", "code"),
    [
        ("automata-prod-icelake-4a095c81.bin", AUGUST, {}, None),
        ("automata-prod-icelake-4a095c81.bin", AUGUST, {"accepted_tcb_statuses": ["UpToDate"]}, "tcb-status"),
        ("automata-prod-icelake-4a095c81.bin", AUGUST, {"accepted_advisories": []}, "advisory"),
        (
            "automata-prod-icelake-4a095c81.bin",
            AUGUST,
            {"allow_dynamic_platform": False},
            "platform-not-allowed",
        ),
        ("automata-prod-icelake-4a095c81.bin", AUGUST, {"max_collateral_age": "4d"}, "collateral-stale"),
        ("automata-prod-icelake-4a095c81.bin", datetime(2025, 10, 1, tzinfo=UTC), {}, "collateral-expired"),
        (
            "automata-prod-icelake-4a095c81.bin",
            datetime(2025, 8, 1, tzinfo=UTC),
            {},
            "collateral-not-yet-valid",
        ),
        ("occlum-debug-icelake.bin", AUGUST, {}, "debuggable"),
        ("azure-sample-intelsdk-release.bin", AUGUST, {}, "collateral-mismatch"),
        ("azure-sample-intelsdk-debug.bin", AUGUST, {}, "collateral-mismatch"),
    ],
)
def test_real_quotes(attestation_cases, name, now, rules, code):
    quotes = attestation_cases / "quotes"
    collateral = (quotes / "collateral-fmspc-00606A-2025-08.json").read_text()
    assert judge((quotes / name).read_bytes(), collateral, intel(attestation_cases, **rules), now) == code


@pytest.mark.shared
def test_real_quote_is_refused_under_another_root(attestation_cases):
    quotes = attestation_cases / "quotes"
    quote = (quotes / "automata-prod-icelake-4a095c81.bin").read_bytes()
    collateral = (quotes / "collateral-fmspc-00606A-2025-08.json").read_text()
    roots = [read_root(development_ca.root_certificate_der())]
    assert judge(quote, collateral, intel(attestation_cases) and policy(roots=roots), AUGUST) == "quote-chain"
