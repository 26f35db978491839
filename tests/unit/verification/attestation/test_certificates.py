"""Chains of certificates: every path rule, with a name for each fault."""

from __future__ import annotations

from datetime import timedelta

import pytest
from confidential_spark.core.errors import VerificationError
from confidential_spark.simulation.hardware.pck_extension import sgx_extension
from confidential_spark.verification.attestation.certificates import ChainReader
from confidential_spark.verification.policy.root_certificates import read_root
from confidential_spark.verification.refusals import Refusal

from tests.support.factories.bundles import NOW
from tests.support.factories.platform_ca import NOT_AFTER, NOT_BEFORE, PlatformCa, pem

CA = PlatformCa()
OTHER = PlatformCa()
UNSIGNED_ROOT = OTHER.root_like(CA)
SECOND = timedelta(seconds=1)


def read(*certificates, code=Refusal.QUOTE_CHAIN, length=None, now=NOW, ca=False):
    chain, roots = pem(*certificates).encode(), [read_root(CA.root_der)]
    return ChainReader(roots, now).read(chain, "chain", code, length=length or len(certificates), ca=ca)


@pytest.mark.parametrize(
    ("certificates", "options"),
    [
        pytest.param((CA.pck, CA.ca, CA.root), {}, id="pck"),
        pytest.param((CA.tcb, CA.root), {}, id="signer"),
        pytest.param((CA.ca, CA.root), {"ca": True}, id="issuer-of-a-list"),
        pytest.param((CA.pck, CA.ca, CA.root), {"now": NOT_BEFORE}, id="first-second"),
        pytest.param((CA.pck, CA.ca, CA.root), {"now": NOT_AFTER}, id="last-second"),
    ],
)
def test_genuine_chains_are_accepted(certificates, options):
    chain = read(*certificates, **options)
    assert (chain.leaf, chain.certificates) == (certificates[0], certificates)
    assert chain.root.spki_sha256 == read_root(CA.root_der).spki_sha256


@pytest.mark.parametrize(
    ("certificates", "options", "why"),
    [
        pytest.param(
            (CA.signed_by_leaf(sgx_extension()), CA.tcb, CA.root), {}, "no path", id="issued-by-no-authority"
        ),
        pytest.param((CA.ca, CA.root), {}, "no path", id="authority-as-leaf"),
        pytest.param((CA.tcb, CA.root), {"ca": True}, "no path", id="leaf-as-issuer-of-a-list"),
        pytest.param((OTHER.pck, CA.ca, CA.root), {}, "no path", id="leaf-of-another-authority"),
        pytest.param((OTHER.pck, OTHER.ca, CA.root), {}, "no path", id="under-another-root"),
        pytest.param((CA.tcb, CA.ca, CA.root), {}, "no path", id="more-certificates-than-needed"),
        pytest.param((CA.ca, CA.pck, CA.root), {}, "no path", id="shuffled"),
        pytest.param((CA.tcb, UNSIGNED_ROOT), {}, "no path", id="root-that-another-key-signed"),
        pytest.param((OTHER.tcb, OTHER.root), {}, "does not pin", id="another-root"),
        pytest.param((CA.root, CA.ca, CA.pck), {}, "does not pin", id="reversed"),
        pytest.param((CA.pck, CA.ca, CA.root), {"length": 2}, "wrong length", id="longer"),
        pytest.param((CA.tcb, CA.root), {"length": 3}, "wrong length", id="shorter"),
        pytest.param((CA.tcb, CA.root), {"now": NOT_AFTER + SECOND}, "expired", id="expired"),
        pytest.param((CA.tcb, CA.root), {"now": NOT_BEFORE - SECOND}, "not valid yet", id="not-yet-valid"),
    ],
)
def test_what_is_no_chain_is_refused(certificates, options, why):
    with pytest.raises(VerificationError, match=why) as refusal:
        read(*certificates, **options)
    assert refusal.value.code == "quote-chain"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda chain: b"x" + chain, id="text-before"),
        pytest.param(lambda chain: chain + b"x", id="text-after"),
        pytest.param(lambda chain: chain.replace(b"-\n-", b"-\nx\n-"), id="text-between"),
        pytest.param(lambda chain: chain.replace(b"CERTIFICATE", b"TRUSTED CERTIFICATE"), id="another-label"),
        pytest.param(lambda chain: chain.replace(b"-----BEGIN", b"A: b\n-----BEGIN", 1), id="header"),
        pytest.param(lambda chain: b"", id="nothing"),
    ],
)
def test_what_is_more_than_certificates_is_unreadable(change):
    chain = change(pem(CA.tcb, CA.root).encode())
    with pytest.raises(VerificationError, match="unreadable"):
        ChainReader([read_root(CA.root_der)], NOW).read(chain, "chain", Refusal.QUOTE_CHAIN, length=2)


@pytest.mark.parametrize(
    ("now", "code"),
    [
        pytest.param(NOT_AFTER + SECOND, "collateral-expired", id="expired"),
        pytest.param(NOT_BEFORE - SECOND, "collateral-not-yet-valid", id="not-yet-valid"),
    ],
)
def test_collateral_out_of_its_time_is_told_from_a_forgery(now, code):
    for certificates, expected in (((CA.tcb, CA.root), code), ((OTHER.tcb, CA.root), "collateral-chain")):
        with pytest.raises(VerificationError) as refusal:
            read(*certificates, code=Refusal.COLLATERAL_CHAIN, now=now)
        assert refusal.value.code == expected
