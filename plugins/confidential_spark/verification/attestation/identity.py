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
        refuse(Refusal.DEBUGGABLE, "The enclave is debuggable.", got="debuggable", expected="not debuggable")
    _require_not_denied(enclave, policy)
    if policy.identities.needs_ledger:
        _require_approved(enclave, policy, read_ledger())
    _require_allowed(enclave, policy)
    _require_version(enclave, policy)


def _require_not_denied(enclave: EnclaveClaims, policy: Policy) -> None:
    for code, got, denied in (
        (Refusal.MRENCLAVE_DENIED, enclave.mrenclave, policy.identities.mrenclave.deny),
        (Refusal.MRSIGNER_DENIED, enclave.mrsigner, policy.denied_mrsigners),
    ):
        if got in denied:
            refuse(
                code, "The policy denies this enclave.", got=got, expected="a measurement that is not denied"
            )


def _require_allowed(enclave: EnclaveClaims, policy: Policy) -> None:
    for code, got, allowed in (
        (Refusal.MRENCLAVE_NOT_ALLOWED, enclave.mrenclave, policy.identities.mrenclave.allow),
        (Refusal.MRSIGNER_NOT_ALLOWED, enclave.mrsigner, policy.identities.mrsigner.allow),
    ):
        if allowed != LEDGER and got not in allowed:
            refuse(code, "The policy does not allow this enclave.", got=got, expected=", ".join(allowed))


def _require_version(enclave: EnclaveClaims, policy: Policy) -> None:
    products = policy.identities.product_id.allow
    if enclave.product_id not in products:
        refuse(
            Refusal.PRODUCT_ID_NOT_ALLOWED,
            "The policy does not allow this product.",
            got=enclave.product_id,
            expected=", ".join(map(str, products)),
        )
    if enclave.svn < policy.identities.svn.minimum:
        refuse(
            Refusal.SVN_TOO_LOW,
            "The enclave's security version is too low.",
            got=enclave.svn,
            expected=f"at least {policy.identities.svn.minimum}",
        )


def _require_approved(enclave: EnclaveClaims, policy: Policy, ledger: Ledger) -> None:
    if not ledger.approvals:
        refuse(
            Refusal.LEDGER_EMPTY,
            "The ledger approves nothing.",
            got="no entry",
            expected="an approved measurement",
        )
    lists = policy.identities
    for code, got, source, approved in (
        (
            Refusal.MRENCLAVE_NOT_ALLOWED,
            enclave.mrenclave,
            lists.mrenclave,
            {a.mrenclave for a in ledger.approvals},
        ),
        (
            Refusal.MRSIGNER_NOT_ALLOWED,
            enclave.mrsigner,
            lists.mrsigner,
            {a.mrsigner for a in ledger.approvals},
        ),
    ):
        if source.allow == LEDGER and got not in approved:
            refuse(
                code,
                "Nobody approved this enclave.",
                got=got,
                expected=", ".join(sorted(approved)),
                action="approve the measurement (DAG enclave_image) or find out why it changed",
            )
    if not ledger.approves(enclave.mrenclave, enclave.mrsigner, enclave.product_id, enclave.svn):
        refuse(
            Refusal.IDENTITY_NOT_APPROVED,
            "Measurement, signer, product and version were never approved together.",
            got=f"{enclave.mrenclave} {enclave.mrsigner} {enclave.product_id} {enclave.svn}",
            expected="one ledger entry with all four",
        )
