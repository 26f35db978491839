"""Enclaves that must not run (step 6)."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from confidential_spark.verification.policy.ledger import Approval, Ledger
from confidential_spark.verification.policy.policy import OCCLUM_DEVELOPMENT_MRSIGNER

from tests.support.factories.bundles import IDENTITY, make_bundle
from tests.support.factories.changes import drop, put
from tests.support.factories.platform_ca import PlatformCa

OTHER = hashlib.sha256(b"another").digest()
APPROVAL = Approval(
    approved_at="2026-11-01T00:00:00Z",
    approved_by="ada",
    image_digest="sha256:" + "ab" * 32,
    mrenclave=IDENTITY.mrenclave.hex(),
    mrsigner=IDENTITY.mrsigner.hex(),
    product_id=IDENTITY.product_id,
    svn=IDENTITY.svn,
    git_revision="0123abc",
)


def by_ledger(policy):
    return put("identities/mrenclave/allow", "ledger")(put("identities/mrsigner/allow", "ledger")(policy))


def occlum(**changes):
    return replace(IDENTITY, mrsigner=bytes.fromhex(OCCLUM_DEVELOPMENT_MRSIGNER), **changes)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        pytest.param({"identity": replace(IDENTITY, debug=True)}, "debuggable", id="debug"),
        pytest.param({"identity": occlum(debug=True)}, "debuggable", id="debug-before-signer"),
        pytest.param(
            {"identity": replace(IDENTITY, mrenclave=OTHER)}, "mrenclave-not-allowed", id="mrenclave"
        ),
        pytest.param({"identity": replace(IDENTITY, mrsigner=OTHER)}, "mrsigner-not-allowed", id="mrsigner"),
        pytest.param({"identity": replace(IDENTITY, product_id=8)}, "product-id-not-allowed", id="product"),
        pytest.param({"identity": replace(IDENTITY, svn=2)}, "svn-too-low", id="svn"),
        pytest.param(
            {"policy": put("identities/mrenclave/deny", [IDENTITY.mrenclave.hex()])},
            "mrenclave-denied",
            id="allowed-and-denied-mrenclave",
        ),
        pytest.param(
            {"policy": put("identities/mrsigner/deny", [IDENTITY.mrsigner.hex()])},
            "mrsigner-denied",
            id="allowed-and-denied-mrsigner",
        ),
        pytest.param({"claims": drop("x-ms-sgx-is-debuggable")}, "claim-missing", id="debug-absent"),
        pytest.param({"claims": drop("x-ms-sgx-mrenclave")}, "claim-missing", id="mrenclave-only-by-alias"),
        pytest.param({"claims": drop("x-ms-sgx-mrsigner")}, "claim-missing", id="mrsigner-only-by-alias"),
        pytest.param({"claims": drop("x-ms-sgx-product-id")}, "claim-missing", id="product-only-by-alias"),
        pytest.param({"claims": drop("x-ms-sgx-svn")}, "claim-missing", id="svn-only-by-alias"),
        pytest.param({"claims": put("x-ms-sgx-is-debuggable", 0)}, "claim-malformed", id="debug-zero"),
        pytest.param({"claims": put("x-ms-sgx-is-debuggable", "false")}, "claim-malformed", id="debug-text"),
        pytest.param({"claims": put("x-ms-sgx-is-debuggable", None)}, "claim-malformed", id="debug-null"),
        pytest.param({"claims": put("x-ms-sgx-is-debuggable", [])}, "claim-malformed", id="debug-list"),
        pytest.param(
            {"claims": put("x-ms-sgx-mrenclave", IDENTITY.mrenclave.hex().upper())},
            "claim-malformed",
            id="mrenclave-upper-case",
        ),
        pytest.param(
            {"claims": put("x-ms-sgx-mrenclave", [IDENTITY.mrenclave.hex()])},
            "claim-malformed",
            id="mrenclave-list",
        ),
        pytest.param(
            {"claims": put("x-ms-sgx-mrenclave", IDENTITY.mrenclave.hex() + "\n")},
            "claim-malformed",
            id="mrenclave-newline",
        ),
        pytest.param({"claims": put("x-ms-sgx-product-id", True)}, "claim-malformed", id="product-bool"),
        pytest.param({"claims": put("x-ms-sgx-product-id", 7.0)}, "claim-malformed", id="product-float"),
        pytest.param({"claims": put("x-ms-sgx-product-id", "7")}, "claim-malformed", id="product-text"),
        pytest.param({"claims": put("x-ms-sgx-product-id", 65536)}, "claim-malformed", id="product-17-bits"),
        pytest.param({"claims": put("x-ms-sgx-svn", -1)}, "claim-malformed", id="svn-negative"),
        pytest.param({"claims": put("x-ms-sgx-svn", 10**30)}, "claim-malformed", id="svn-huge"),
    ],
)
def test_enclave_is_refused_for_its_reason(change, code):
    report = make_bundle(**change).verify_attestation()
    assert (report.code, report.failure.number) == (code, 6)


def test_higher_svn_is_accepted():
    assert make_bundle(identity=replace(IDENTITY, svn=4)).verify_attestation().passed


def test_occlums_public_signer_is_denied_by_hardware_policies_even_when_allowed():
    ca = PlatformCa()

    def hardware(policy):
        policy = put("identities/mrsigner/allow", [OCCLUM_DEVELOPMENT_MRSIGNER])(policy) | {
            "trust": "hardware"
        }
        policy["attestation"]["issuer"] = "https://maa.example.com"
        policy["dcap"]["roots"] = [ca.root_der]
        return policy

    bundle = make_bundle(
        identity=occlum(),
        policy=hardware,
        claims=put("iss", "https://maa.example.com"),
        header=put("jku", "https://maa.example.com/certs"),
    )
    assert bundle.verify_attestation().code == "mrsigner-denied"


@pytest.mark.parametrize(
    ("approvals", "code"),
    [
        pytest.param((APPROVAL,), None, id="approved"),
        pytest.param((replace(APPROVAL, mrenclave="00" * 32), APPROVAL), None, id="approved-later"),
        pytest.param((), "ledger-empty", id="empty"),
        pytest.param((replace(APPROVAL, mrenclave="00" * 32),), "mrenclave-not-allowed", id="mrenclave"),
        pytest.param((replace(APPROVAL, mrsigner="00" * 32),), "mrsigner-not-allowed", id="mrsigner"),
        pytest.param((replace(APPROVAL, svn=4),), "identity-not-approved", id="svn"),
        pytest.param((replace(APPROVAL, product_id=8),), "identity-not-approved", id="product"),
        pytest.param(
            (replace(APPROVAL, mrenclave="00" * 32), replace(APPROVAL, mrsigner="00" * 32)),
            "identity-not-approved",
            id="never-together",
        ),
    ],
)
def test_ledger_approves_whole_identities(approvals, code):
    report = make_bundle(policy=by_ledger).verify_attestation(ledger=Ledger(approvals, head="00" * 32))
    assert report.code == code, report.text()


@pytest.mark.parametrize(
    ("ledger", "code"),
    [
        pytest.param(None, "ledger-missing", id="none"),
        pytest.param("/nowhere/ledger.jsonl", "ledger-missing", id="absent"),
        pytest.param("/", "ledger-missing", id="folder"),
        pytest.param("\0", "ledger-missing", id="nul"),
    ],
)
def test_ledger_that_cannot_be_read_refuses(ledger, code):
    report = make_bundle(policy=by_ledger).verify_attestation(ledger=ledger)
    assert (report.code, report.failure.number) == (code, 6)
