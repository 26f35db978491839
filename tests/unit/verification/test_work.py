"""What one verification costs, counted in calls: no clock decides, and no machine is too slow."""

from __future__ import annotations

import sys
from collections import Counter

from confidential_spark.verification.policy.policy import as_policy
from cryptography.x509 import Name

from tests.support.factories.bundles import make_bundle

SIGNATURE_CHECKS = ("verify", "verify_directly_issued_by", "is_signature_valid")


def work_of_one_verification() -> Counter[str]:
    """Count the calls of compiled functions by name, and the names of certificates that are decoded."""
    bundle = make_bundle()
    policy, counts = as_policy(bundle.policy), Counter()

    def count(frame, event, argument):
        if event == "c_call":
            counts[argument.__name__] += 1
        elif event == "call" and frame.f_code is Name.__init__.__code__:
            counts["names"] += 1

    sys.setprofile(count)
    try:
        report = bundle.verify(policy=policy)
    finally:
        sys.setprofile(None)
    assert report.passed, report.text()
    return counts


def test_each_signature_of_a_bundle_is_checked_once():
    """Besides what dcap-qvl checks in one call."""
    counts = work_of_one_verification()
    chains = ["quote", "TCB signer"]
    documents = ["token", "statement", "TCB info", "QE identity"]
    assert [counts[name] for name in SIGNATURE_CHECKS] == [
        len(chains + documents),
        len(["root"]),
        len(["root's CRL", "PCK CRL"]),
    ]


def test_each_certificate_of_a_bundle_is_decoded_once():
    certificates = ["PCK", "PCK's authority", "root", "TCB signer"]
    lists = ["root's CRL", "PCK CRL"]
    assert work_of_one_verification()["names"] <= 2 * len(certificates) + len(lists)
