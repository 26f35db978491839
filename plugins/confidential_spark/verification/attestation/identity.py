"""Is this the enclave that may run? Debug attribute, measurements, product, security version."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from confidential_spark.verification.policy.policy import LEDGER
from confidential_spark.verification.refusals import Refusal, refuse

if TYPE_CHECKING:
    from collections.abc import Callable

    from confidential_spark.verification.json_object import JsonObject
    from confidential_spark.verification.policy.ledger import Ledger
    from confidential_spark.verification.policy.policy import Policy


@dataclass(frozen=True)
class EnclaveClaims:
    """What a token says about the enclave."""

    debuggable: bool
    mrenclave: str
    mrsigner: str
    product_id: int
    svn: int

    @classmethod
    def of(cls, claims: JsonObject) -> EnclaveClaims:
        """Read the claims; a deprecated alias is no substitute.

        :raises VerificationError: ``claim-missing``, ``claim-malformed``.
        """
        return cls(
            debuggable=claims.boolean("x-ms-sgx-is-debuggable"),
            mrenclave=claims.hexadecimal("x-ms-sgx-mrenclave", 32),
            mrsigner=claims.hexadecimal("x-ms-sgx-mrsigner", 32),
            product_id=claims.integer("x-ms-sgx-product-id", 0, 0xFFFF),
            svn=claims.integer("x-ms-sgx-svn", 0, 0xFFFF),
        )


def require_identity(enclave: EnclaveClaims, policy: Policy, read_ledger: Callable[[], Ledger]) -> None:
    """Accept an enclave that the policy allows; what is denied stays denied.

    :raises VerificationError: ``debuggable``, ``…-denied``, ``…-not-allowed``, ``svn-too-low``, ``ledger-…``,
        ``identity-not-approved``.
    """
    if enclave.debuggable:
        refuse(Refusal.DEBUGGABLE, got="debuggable", expected="not debuggable")
    _require_not_denied(enclave, policy)
    ledger = read_ledger() if policy.identities.needs_ledger else None
    if ledger is not None and not ledger.approvals:
        refuse(Refusal.LEDGER_EMPTY, got="no entry", expected="an approved measurement")
    _require_allowed(enclave, policy, ledger)
    if ledger and not ledger.approves(enclave.mrenclave, enclave.mrsigner, enclave.product_id, enclave.svn):
        got = f"{enclave.mrenclave} {enclave.mrsigner} {enclave.product_id} {enclave.svn}"
        refuse(Refusal.IDENTITY_NOT_APPROVED, got=got, expected="one ledger entry with all four")
    _require_version(enclave, policy)


def _require_not_denied(enclave: EnclaveClaims, policy: Policy) -> None:
    for code, got, denied in (
        (Refusal.MRENCLAVE_DENIED, enclave.mrenclave, policy.identities.mrenclave.deny),
        (Refusal.MRSIGNER_DENIED, enclave.mrsigner, policy.denied_mrsigners),
    ):
        if got in denied:
            refuse(code, got=got, expected="a measurement that is not denied")


def _require_allowed(enclave: EnclaveClaims, policy: Policy, ledger: Ledger | None) -> None:
    approvals, lists = ledger.approvals if ledger else (), policy.identities
    for code, got, listed, approved in (
        (
            *(Refusal.MRENCLAVE_NOT_ALLOWED, enclave.mrenclave, lists.mrenclave.allow),
            {approval.mrenclave for approval in approvals},
        ),
        (
            *(Refusal.MRSIGNER_NOT_ALLOWED, enclave.mrsigner, lists.mrsigner.allow),
            {approval.mrsigner for approval in approvals},
        ),
    ):
        by_ledger = listed == LEDGER
        allowed = approved if by_ledger else listed
        if got not in allowed:
            how = "approve the measurement (DAG enclave_image)" if by_ledger else "change the policy"
            action = f"{how} or find out why it changed"
            refuse(code, got=got, expected=", ".join(sorted(allowed)), action=action)


def _require_version(enclave: EnclaveClaims, policy: Policy) -> None:
    products, minimum = policy.identities.product_id.allow, policy.identities.svn.minimum
    if enclave.product_id not in products:
        expected = ", ".join(map(str, products))
        refuse(Refusal.PRODUCT_ID_NOT_ALLOWED, got=enclave.product_id, expected=expected)
    if enclave.svn < minimum:
        refuse(Refusal.SVN_TOO_LOW, got=enclave.svn, expected=f"at least {minimum}")
