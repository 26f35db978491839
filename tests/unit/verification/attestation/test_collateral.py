"""Collateral that must be refused (step 9)."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from confidential_spark.core.errors import VerificationError
from confidential_spark.simulation.hardware.pck_extension import sgx_extension
from confidential_spark.verification.attestation.collateral import Collateral
from cryptography.hazmat.primitives import hashes
from hypothesis import given
from hypothesis import strategies as st

from tests.support.factories.bundles import NOW, make_bundle, rsa_key
from tests.support.factories.changes import drop, put
from tests.support.factories.platform_ca import PlatformCa, new_key, pem

CA = PlatformCa()
TODAY = NOW.replace(hour=0)
CLOCK = make_bundle().now
SECOND = timedelta(seconds=1)


def flipped(name: str, place: float = 0.5):
    """Change one digit or letter of a member."""

    def change(collateral):
        text = collateral[name]
        index = int(len(text) * place)
        while not text[index].isalnum():
            index += 1
        letter = "1" if text[index] == "0" else "0"
        return collateral | {name: text[:index] + letter + text[index + 1 :]}

    return change


def inside(name: str, change):
    """Change the signed document without signing it again."""
    return lambda collateral: collateral | {name: json.dumps(change(json.loads(collateral[name])))}


MEMBERS = [
    "pck_crl_issuer_chain",
    "root_ca_crl",
    "pck_crl",
    "tcb_info_issuer_chain",
    "tcb_info",
    "tcb_info_signature",
    "qe_identity_issuer_chain",
    "qe_identity",
    "qe_identity_signature",
]


@pytest.mark.parametrize("name", MEMBERS)
@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(drop, id="absent"),
        pytest.param(lambda name: put(name, None), id="null"),
        pytest.param(lambda name: put(name, ""), id="empty"),
        pytest.param(lambda name: put(name, 7), id="number"),
        pytest.param(lambda name: put(name, ["x"]), id="list"),
        pytest.param(lambda name: put(name, "?"), id="garbage"),
        pytest.param(lambda name: flipped(name, 0.3), id="flipped-in-first-half"),
        pytest.param(lambda name: flipped(name, 0.9), id="flipped-near-end"),
        pytest.param(lambda name: lambda c: c | {name: c[name][: len(c[name]) // 4 * 2]}, id="truncated"),
    ],
)
def test_every_member_is_needed_and_protected(name, spoil):
    report = make_bundle(collateral=spoil(name)).verify_attestation()
    assert report.failure.number == 9
    assert report.code.startswith("collateral-"), report.text()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        pytest.param(put("x", 1), "collateral-malformed", id="unknown-member"),
        pytest.param(put("pck_crl", "abc"), "collateral-malformed", id="odd-hex"),
        pytest.param(put("pck_crl", "00"), "collateral-malformed", id="crl-is-no-der"),
        pytest.param(flipped("pck_crl", 0.97), "collateral-signature", id="crl-signature"),
        pytest.param(flipped("root_ca_crl", 0.97), "collateral-signature", id="root-crl-signature"),
        pytest.param(lambda c: c | {"pck_crl": c["root_ca_crl"]}, "collateral-signature", id="crl-of-root"),
        pytest.param(flipped("tcb_info_signature"), "collateral-signature", id="tcb-info-signature"),
        pytest.param(flipped("qe_identity_signature"), "collateral-signature", id="qe-identity-signature"),
        pytest.param(put("tcb_info_signature", "00"), "collateral-malformed", id="short-signature"),
        pytest.param(
            inside("tcb_info", put("tcbLevels/0/tcbStatus", "UpToDate")),
            "collateral-signature",
            id="tcb-status",
        ),
        pytest.param(
            inside("tcb_info", put("nextUpdate", "2030-01-01T00:00:00Z")),
            "collateral-signature",
            id="next-update",
        ),
        pytest.param(
            inside("tcb_info", put("issueDate", "2027-01-01T00:00:00Z")),
            "collateral-signature",
            id="postdated",
        ),
        pytest.param(inside("tcb_info", put("issueDate", "now")), "collateral-malformed", id="issue-date"),
        pytest.param(
            inside("tcb_info", put("issueDate", "2026-02-30T00:00:00Z")),
            "collateral-malformed",
            id="no-such-day",
        ),
        pytest.param(inside("tcb_info", drop("nextUpdate")), "collateral-malformed", id="no-next-update"),
        pytest.param(
            inside("qe_identity", put("tcbEvaluationDataNumber", True)),
            "collateral-malformed",
            id="number-bool",
        ),
        pytest.param(
            lambda c: c | {"tcb_info": c["tcb_info"].replace("{", '{"id":"TDX",', 1)},
            "collateral-duplicate-key",
            id="tcb-info-member-twice",
        ),
        pytest.param(lambda c: CA.collateral(NOW), "collateral-chain", id="of-another-root"),
        pytest.param(
            lambda c: c | {"tcb_info_issuer_chain": c["pck_crl_issuer_chain"]},
            "collateral-chain",
            id="signer-is-a-certificate-authority",
        ),
        pytest.param(put("pck_crl", "ab" * 600_000), "collateral-malformed", id="crl-too-large"),
        pytest.param(put("root_ca_crl", "30820"), "collateral-malformed", id="root-crl-odd-hex"),
        pytest.param(
            lambda c: c | {"tcb_info_issuer_chain": c["tcb_info_issuer_chain"] + "x"},
            "collateral-chain",
            id="tail",
        ),
        pytest.param(
            put("pck_certificate_chain", pem(CA.pck, CA.ca, CA.root)), "collateral-chain", id="foreign-pck"
        ),
        pytest.param(
            lambda c: c | {"pck_certificate_chain": c["tcb_info_issuer_chain"]},
            "collateral-chain",
            id="other-pck",
        ),
        pytest.param(put("pck_certificate_chain", 7), "collateral-malformed", id="pck-number"),
    ],
)
def test_changed_collateral_is_refused_for_its_reason(change, code):
    report = make_bundle(collateral=change).verify_attestation()
    assert (report.code, report.failure.number) == (code, 9), report.text()


def test_collateral_may_name_the_quotes_own_pck_chain():
    bundle = make_bundle()
    chain = bundle.quote[bundle.quote.index(b"-----BEGIN") :].decode()
    assert bundle.verify_attestation(collateral=bundle.collateral | {"pck_certificate_chain": chain}).passed
    assert bundle.verify_attestation(collateral=bundle.collateral | {"pck_certificate_chain": None}).passed


@pytest.mark.parametrize("name", [member for member in MEMBERS if member.endswith("chain")])
def test_copy_of_the_root_must_be_genuine_too(name):
    """dcap-qvl takes the root from the policy and never looks at this copy, nor at the CRL's chain."""

    def change(collateral):
        text = collateral[name]
        index = text.rindex("\n-----END") - 4
        return collateral | {name: text[:index] + ("A" if text[index] != "A" else "B") + text[index + 1 :]}

    assert make_bundle(collateral=change).verify_attestation().code == "collateral-chain"


def judged_under(ca, collateral):
    return make_bundle(
        quote_with=ca.quote, collateral=lambda _: collateral, policy=put("dcap/roots", [ca.root_der])
    ).verify_attestation()


def test_expired_signer_of_tcb_info_is_told_from_a_forged_one():
    ca = PlatformCa(tcb_not_after=NOW - timedelta(days=1))
    report = judged_under(ca, ca.collateral(NOW))
    assert (report.code, report.failure.number) == ("collateral-expired", 9)
    assert "--at" in report.failure.action
    forger = PlatformCa(tcb_not_after=NOW - timedelta(days=1))
    forged = ca.collateral(NOW) | {"tcb_info_issuer_chain": pem(forger.tcb, ca.root)}
    assert judged_under(ca, forged).code == "collateral-chain"


def test_signer_of_the_future_is_not_yet_valid():
    ca = PlatformCa()
    tomorrow = CLOCK + timedelta(days=1)
    signer = ca.tcb_with(not_before=tomorrow)
    report = judged_under(ca, ca.collateral(NOW) | {"qe_identity_issuer_chain": pem(signer, ca.root)})
    assert report.code == "collateral-not-yet-valid"


def under_own_root(**members):
    def collateral(_):
        changed = {
            name: value.hex() if isinstance(value, bytes) else value for name, value in members.items()
        }
        return CA.collateral(NOW) | changed

    return make_bundle(
        quote_with=CA.quote, collateral=collateral, policy=lambda p: put("dcap/roots", [CA.root_der])(p)
    ).verify_attestation()


@pytest.mark.parametrize(
    ("crls", "code"),
    [
        pytest.param({}, None, id="genuine"),
        pytest.param(
            {"pck_crl": CA.crl("PCK Platform CA", CA.ca_key, TODAY, (CA.pck,))},
            "certificate-revoked",
            id="pck",
        ),
        pytest.param(
            {"root_ca_crl": CA.crl("Root CA", CA.root_key, TODAY, (CA.ca,))}, "certificate-revoked", id="ca"
        ),
        pytest.param(
            {"root_ca_crl": CA.crl("Root CA", CA.root_key, TODAY, (CA.tcb,))},
            "certificate-revoked",
            id="tcb-signer",
        ),
        pytest.param(
            {"pck_crl": CA.crl("PCK Platform CA", CA.ca_key, TODAY - timedelta(days=40))},
            "collateral-expired",
            id="crl-overdue",
        ),
        pytest.param(
            {"pck_crl": CA.crl("PCK Platform CA", CA.ca_key, TODAY, valid=CLOCK - TODAY)},
            "collateral-expired",
            id="crl-due-this-second",
        ),
        pytest.param(
            {"root_ca_crl": CA.crl("Root CA", CA.root_key, TODAY, valid=CLOCK - TODAY)},
            "collateral-expired",
            id="root-crl-due-this-second",
        ),
        pytest.param(
            {"pck_crl": CA.crl("PCK Platform CA", CA.ca_key, TODAY, valid=CLOCK - TODAY + SECOND)},
            None,
            id="crl-due-in-a-second",
        ),
        pytest.param(
            {"root_ca_crl": CA.crl("Root CA", CA.root_key, TODAY + timedelta(days=1))},
            "collateral-not-yet-valid",
            id="crl-from-the-future",
        ),
        pytest.param(
            {"pck_crl": CA.crl("PCK Platform CA", CA.root_key, TODAY)},
            "collateral-signature",
            id="crl-by-root-key",
        ),
        pytest.param(
            {"pck_crl": CA.crl("PCK Processor CA", CA.ca_key, TODAY)},
            "collateral-signature",
            id="crl-other-name",
        ),
    ],
)
def test_revocation_lists(crls, code):
    report = under_own_root(**crls)
    assert report.code == code, report.text()


@pytest.mark.parametrize(
    ("name", "signer"),
    [
        pytest.param("tcb_info_issuer_chain", CA.tcb_with(ca=0), id="certificate-authority"),
        pytest.param("qe_identity_issuer_chain", CA.tcb_with(digest=hashes.SHA384()), id="sha384"),
    ],
)
def test_signer_that_is_no_tcb_signing_certificate(name, signer):
    report = under_own_root(**{name: pem(signer, CA.root)})
    assert report.code == "collateral-chain", report.text()


def test_revocation_list_of_another_authority_under_the_same_root_is_refused():
    key = new_key()
    processor_ca = CA.authority("PCK Processor CA", key)
    report = under_own_root(
        pck_crl_issuer_chain=pem(processor_ca, CA.root), pck_crl=CA.crl("PCK Processor CA", key, TODAY)
    )
    assert report.code == "collateral-mismatch", report.text()


def test_another_pck_certificate_of_the_same_authority_is_refused():
    chain = pem(CA.pck_with(sgx_extension()), CA.ca, CA.root)
    report = under_own_root(pck_certificate_chain=chain)
    assert (report.code, report.failure.got[:6]) == ("collateral-mismatch", "serial"), report.text()


def test_signer_with_another_kind_of_key_is_refused():
    signer = CA.tcb_with(key=rsa_key())
    report = under_own_root(tcb_info_issuer_chain=pem(signer, CA.root))
    assert report.code == "collateral-signature", report.text()


def test_revoked_platform_is_refused():
    report = make_bundle(collateral_options={"revoke_pck": True}).verify_attestation()
    assert report.code == "certificate-revoked"


@pytest.mark.parametrize(
    ("days", "max_age", "code"),
    [(6, "7d", None), (8, "7d", "collateral-stale"), (29, "90d", None), (31, "90d", "collateral-expired")],
)
def test_collateral_ages(days, max_age, code):
    def aged(policy):
        return put("dcap/max_collateral_age", max_age)(policy)

    now = NOW + timedelta(days=days)
    bundle = make_bundle(
        policy=aged,
        claims=lambda c: (
            c | {"iat": int(now.timestamp()), "nbf": int(now.timestamp()), "exp": int(now.timestamp()) + 60}
        ),
    )
    assert bundle.verify_attestation(now=now).code == code


@pytest.mark.parametrize(
    ("collateral", "code"),
    [
        pytest.param(b"", "collateral-malformed", id="empty"),
        pytest.param("[]", "collateral-malformed", id="array"),
        pytest.param(b'{"tcb_info":"","tcb_info":""}', "collateral-duplicate-key", id="member-twice"),
        pytest.param({"tcb_info": float("inf")}, "collateral-malformed", id="infinity"),
        pytest.param(7, "input-type", id="number"),
        pytest.param(None, "input-type", id="none"),
        pytest.param(b" " * 5_000_000, "input-too-large", id="too-large"),
    ],
)
def test_what_is_no_collateral_is_refused(collateral, code):
    assert make_bundle().verify_attestation(collateral=collateral).code == code


@given(st.binary(max_size=500) | st.dictionaries(st.sampled_from(MEMBERS), st.text()).map(json.dumps))
def test_any_document_is_collateral_or_a_refusal(data):
    with pytest.raises(VerificationError, match="collateral-"):
        Collateral.parse(data)
