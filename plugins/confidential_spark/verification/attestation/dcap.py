"""The quote's own verification, independent of the attestation provider.

Chains, revocation and dates are checked here, with a name for every fault; dcap-qvl then verifies the whole
quote again, every signature in it and the platform's TCB level, against the policy's root. Its ``verify()``
would accept ``OutOfDate`` and trailing bytes, so only its claims are taken and the policy is applied here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import dcap_qvl
from cryptography.hazmat.primitives.serialization import Encoding

from confidential_spark.verification.attestation.certificates import ChainReader
from confidential_spark.verification.attestation.collateral import Collateral
from confidential_spark.verification.attestation.sgx_quote import SgxQuote
from confidential_spark.verification.refusals import Refusal, refuse

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from confidential_spark.verification.attestation.certificates import Chain
    from confidential_spark.verification.policy.policy import DcapPolicy
    from confidential_spark.verification.policy.root_certificates import RootCertificate

# What dcap-qvl 0.7 says, by a part of its message; the tests pin each. What is judged before it has no row.
_DCAP_MESSAGES = (
    ("Failed to decode TcbInfo", Refusal.COLLATERAL_MALFORMED),
    ("Failed to decode QeIdentity", Refusal.COLLATERAL_MALFORMED),
    ("CA CRL", Refusal.COLLATERAL_MALFORMED),
    ("PCK CRL", Refusal.COLLATERAL_MALFORMED),
    ("component count mismatch", Refusal.COLLATERAL_MALFORMED),
    ("TCB date", Refusal.COLLATERAL_MALFORMED),
    ("tcbDate", Refusal.COLLATERAL_MALFORMED),
    ("Intel extension", Refusal.QUOTE_CHAIN),
    ("Failed to decode DER object", Refusal.QUOTE_CHAIN),
    ("Fmspc length", Refusal.QUOTE_CHAIN),
    ("CpuSvn length", Refusal.QUOTE_CHAIN),
    ("PceSvn length", Refusal.QUOTE_CHAIN),
    ("TCB info in the collateral", Refusal.COLLATERAL_MISMATCH),
    ("QE Identity id/version", Refusal.COLLATERAL_MISMATCH),
    ("Failed to verify certificate chain", Refusal.QUOTE_CHAIN),
    ("ISV enclave report signature is invalid", Refusal.QUOTE_SIGNATURE),
    ("Signature is invalid for qe_report", Refusal.QUOTE_SIGNATURE),
    ("QE report hash mismatch", Refusal.QUOTE_SIGNATURE),
    ("Failed to decode quote", Refusal.QUOTE_MALFORMED),
    ("QE", Refusal.QE_IDENTITY),
    ("Debug mode is enabled", Refusal.DEBUGGABLE),
    ("TCB status is invalid", Refusal.TCB_STATUS),
    ("No matching TCB level", Refusal.TCB_STATUS),
)


@dataclass(frozen=True)
class Platform:
    """What the quote proves about the machine."""

    tcb_status: str
    advisories: tuple[str, ...]
    fmspc: str
    tcb_evaluation_data_number: int
    collateral_expires: datetime
    root_spki_sha256: str


def verify_quote(
    raw: bytes,
    collateral_json: bytes | str,
    policy: DcapPolicy,
    now: datetime,
    roots: Sequence[RootCertificate] | None = None,
) -> Platform:
    """Verify a quote down to a pinned root and judge the platform it was made on.

    :param collateral_json: dcap-qvl's ``QuoteCollateralV3``.
    :param now: the clock, with a time zone.
    :param roots: the roots that count, where not all of the policy's do.
    :raises VerificationError: ``quote-…``, ``collateral-…``, ``qe-identity``, ``tcb-…``, ``advisory``,
        ``platform-not-allowed``, ``dcap-refused``.
    """
    quote = SgxQuote.parse(raw)
    collateral = Collateral.parse(collateral_json)
    pem = quote.pck_chain_pem.rstrip(b"\0")
    reader = ChainReader(policy.roots if roots is None else roots, now)
    chain = reader.read(pem, "quote's chain", Refusal.QUOTE_CHAIN, length=3)
    # Who vouches for the quote's chain is under the same root.
    reader.roots = (chain.root,)
    collateral.require_genuine(chain, reader, now, policy.max_collateral_age)
    pck = _pck_extension(pem)
    collateral.require_platform(pck.fmspc, pck.pce_id)
    claims = _dcap_claims(raw, collateral, chain.certificates[-1].public_bytes(Encoding.DER), now)
    platform = _platform(claims, collateral, chain)
    _require_accepted(platform, policy)
    _require_platform_flags(claims["platform"]["pck"], policy)
    return platform


def _pck_extension(pem: bytes) -> Any:
    try:
        return dcap_qvl.parse_pck_extension_from_pem(pem)
    except Exception as error:  # its own exceptions; the input decides which
        message = "The PCK certificate does not name its platform."
        refuse(Refusal.QUOTE_CHAIN, message, got=str(error), expected="Intel's SGX extension")


def _dcap_claims(raw: bytes, collateral: Collateral, root_der: bytes, now: datetime) -> dict[str, Any]:
    # A panic inside dcap-qvl 0.7 ends the process. A root whose name is not the chain's makes it panic, so it
    # is given the quote's own root, which is linked to the chain and has a pinned key.
    seconds = int(now.timestamp())
    try:
        parsed = dcap_qvl.QuoteCollateralV3.from_json(collateral.text)
        verifier = dcap_qvl.QuoteVerifier(root_der)
        policy = dcap_qvl.QuotePolicy.claims_only(seconds)
        claims: dict[str, Any] = json.loads(
            verifier.verify_with_policy(raw, parsed, seconds, policy).to_json()
        )
    except Exception as error:  # its own exceptions; the input decides which
        _refuse_as_dcap(str(error))
    return claims


def _refuse_as_dcap(message: str) -> NoReturn:
    code = next((code for part, code in _DCAP_MESSAGES if part in message), Refusal.DCAP_REFUSED)
    refuse(code, "The DCAP library refuses the quote.", got=message, expected="a quote that verifies")


def _platform(claims: dict[str, Any], collateral: Collateral, chain: Chain) -> Platform:
    tcb = claims["tcb"]
    return Platform(
        tcb_status=str(tcb["status"]),
        advisories=tuple(sorted(set(map(str, tcb["advisory_ids"])))),
        fmspc=bytes(claims["platform"]["pck"]["fmspc"]).hex(),
        tcb_evaluation_data_number=min(
            int(tcb["eval_data_number"]),
            collateral.tcb_info.evaluation_number,
            collateral.qe_identity.evaluation_number,
        ),
        collateral_expires=collateral.expires,
        root_spki_sha256=chain.root.spki_sha256,
    )


def _require_accepted(platform: Platform, policy: DcapPolicy) -> None:
    if platform.tcb_status not in policy.accepted_tcb_statuses:
        got, accepted = [platform.tcb_status, *platform.advisories], policy.accepted_tcb_statuses
        action = "update the platform's microcode and firmware, or move to another host"
        refuse(Refusal.TCB_STATUS, got=" ".join(got), expected=", ".join(accepted), action=action)
    unaccepted = [advisory for advisory in platform.advisories if advisory not in policy.accepted_advisories]
    if unaccepted:
        expected = f"none beside {', '.join(policy.accepted_advisories) or 'none'}"
        action = "read the advisory; accept it in the policy only when it does not matter here"
        refuse(Refusal.ADVISORY, got=", ".join(unaccepted), expected=expected, action=action)
    number, minimum = platform.tcb_evaluation_data_number, policy.min_tcb_evaluation_data_number
    if number < minimum:
        refuse(Refusal.TCB_EVALUATION_NUMBER, got=number, expected=f"at least {minimum}")


def _require_platform_flags(pck: dict[str, Any], policy: DcapPolicy) -> None:
    for name, flag, allowed in (
        ("dynamic platform", pck["dynamic_platform"], policy.allow_dynamic_platform),
        ("cached keys", pck["cached_keys"], policy.allow_cached_keys),
        ("SMT enabled", pck["smt_enabled"], policy.allow_smt),
    ):
        if flag == "True" and not allowed:
            refuse(Refusal.PLATFORM_NOT_ALLOWED, got=f"{name}: {flag}", expected=f"{name}: False")
