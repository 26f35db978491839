"""Is this the enclave that may run? Debug attribute, measurements, product, security version."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from confidential_spark.verification.policy.policy import LEDGER
from confidential_spark.verification.refusals import Refusal, refuse

if TYPE_CHECKING:
    from collections.abc import Callable

    from confidential_spark.verification.attestation.sgx_quote import ReportBody
    from confidential_spark.verification.json_object import JsonObject
    from confidential_spark.verification.policy.ledger import Ledger
    from confidential_spark.verification.policy.policy import IdentityPolicy, Policy

# Intel 64 SDM vol. 3D, ATTRIBUTES: INIT and MODE64BIT must be set; CET, KSS and AEXNOTIFY may be. No enclave
# of this project needs a provisioning or launch key, and the other bits are reserved.
_NEEDED, _HARMLESS = 0x01 | 0x04, 0x40 | 0x80 | 0x400
_NAMES = {0x01: "INIT", 0x02: "DEBUG", 0x04: "MODE64BIT", 0x10: "PROVISION_KEY", 0x20: "EINITTOKEN_KEY"}


@dataclass(frozen=True)
class EnclaveClaims:
    """What a token says about the enclave."""

    debuggable: bool
    mrenclave: str
    mrsigner: str
    product_id: int
    svn: int

    def __str__(self) -> str:
        """Return what an approval is about: measurement, signer, product and version."""
        return f"{self.mrenclave} {self.mrsigner} {self.product_id} {self.svn}"

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
        refuse(Refusal.IDENTITY_NOT_APPROVED, got=str(enclave), expected="one ledger entry with all four")
    _require_version(enclave, policy)


def require_attributes(report: ReportBody, policy: IdentityPolicy) -> None:
    """Accept a quote of an initialised enclave with no privilege and no configuration that nobody named.

    :raises VerificationError: ``attributes-not-allowed``, ``config-id-not-allowed``,
        ``misc-select-not-allowed``.
    """
    flags = int.from_bytes(report.attributes[:8], "little")
    wrong = (flags & ~_HARMLESS) ^ _NEEDED
    if wrong:
        names = [name for bit, name in _NAMES.items() if wrong & bit] or ["a reserved bit"]
        got, expected = f"flags {flags:#x}: {', '.join(names)}", "INIT and MODE64BIT set, no other"
        refuse(Refusal.ATTRIBUTES_NOT_ALLOWED, got=got, expected=expected)
    if any(report.reserved):
        refuse(
            Refusal.ATTRIBUTES_NOT_ALLOWED,
            "Reserved bytes of the report are not zero.",
            got=report.reserved.hex(),
        )
    config, svn = report.config_id.hex(), report.config_svn
    if config not in policy.config_id.allow or (svn and not any(report.config_id)):
        expected = ", ".join(policy.config_id.allow)
        refuse(Refusal.CONFIG_ID_NOT_ALLOWED, got=f"CONFIGID {config}, CONFIGSVN {svn}", expected=expected)
    if report.misc_select not in policy.misc_select.allow:
        expected = ", ".join(map(str, policy.misc_select.allow))
        refuse(Refusal.MISC_SELECT_NOT_ALLOWED, got=report.misc_select, expected=expected)


def _require_not_denied(enclave: EnclaveClaims, policy: Policy) -> None:
    for code, got, denied in (
        (Refusal.MRENCLAVE_DENIED, enclave.mrenclave, policy.identities.mrenclave.deny),
        (Refusal.MRSIGNER_DENIED, enclave.mrsigner, policy.denied_mrsigners),
    ):
        if got in denied:
            refuse(code, got=got, expected="a measurement that is not denied")


def _require_allowed(enclave: EnclaveClaims, policy: Policy, ledger: Ledger | None) -> None:
    approvals = ledger.approvals if ledger else ()
    codes = {"mrenclave": Refusal.MRENCLAVE_NOT_ALLOWED, "mrsigner": Refusal.MRSIGNER_NOT_ALLOWED}
    for name, code in codes.items():
        got, listed = getattr(enclave, name), getattr(policy.identities, name).allow
        by_ledger = listed == LEDGER
        allowed = {getattr(approval, name) for approval in approvals} if by_ledger else listed
        if got not in allowed:
            how = "approve the measurement (DAG enclave_image)" if by_ledger else "change the policy"
            expected, action = ", ".join(sorted(allowed)), f"{how} or find out why it changed"
            refuse(code, got=got, expected=expected, action=action)


def _require_version(enclave: EnclaveClaims, policy: Policy) -> None:
    products, minimum = policy.identities.product_id.allow, policy.identities.svn.minimum
    if enclave.product_id not in products:
        expected = ", ".join(map(str, products))
        refuse(Refusal.PRODUCT_ID_NOT_ALLOWED, got=enclave.product_id, expected=expected)
    if enclave.svn < minimum:
        refuse(Refusal.SVN_TOO_LOW, got=enclave.svn, expected=f"at least {minimum}")
