"""DCAP collateral: what Intel publishes about platforms, as dcap-qvl's ``QuoteCollateralV3`` JSON.

Source: Intel SGX and TDX Provisioning Certification Service API v4.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.x509.oid import SignatureAlgorithmOID

from confidential_spark.verification import strict_json
from confidential_spark.verification.attestation.certificates import (
    Chain,
    require_current,
    require_current_crl,
    require_not_revoked,
)
from confidential_spark.verification.json_object import JsonObject
from confidential_spark.verification.refusals import Refusal, refuse

if TYPE_CHECKING:
    from datetime import timedelta

MAX_COLLATERAL_BYTES = 4 * 1024 * 1024
_MAX_CRL_DIGITS = 1024 * 1024
_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z"
_MEMBERS = (
    "pck_crl_issuer_chain",
    "root_ca_crl",
    "pck_crl",
    "tcb_info_issuer_chain",
    "tcb_info",
    "tcb_info_signature",
    "qe_identity_issuer_chain",
    "qe_identity",
    "qe_identity_signature",
)


@dataclass(frozen=True)
class SignedDocument:
    """TCB info or QE identity: a JSON text that is signed as it stands."""

    what: str
    content: bytes
    members: JsonObject
    signature: bytes
    issued: datetime
    due: datetime
    evaluation_number: int


@dataclass(frozen=True)
class Collateral:
    """Collateral of the right shape; its parts are checked by :meth:`require_genuine` and by dcap-qvl."""

    text: str
    members: JsonObject
    tcb_info: SignedDocument
    qe_identity: SignedDocument

    @classmethod
    def parse(cls, data: bytes | str) -> Collateral:
        """Read collateral JSON.

        :raises VerificationError: ``collateral-malformed``, ``collateral-duplicate-key``.
        """
        members = _object(data, "collateral", MAX_COLLATERAL_BYTES)
        members.only(_MEMBERS, optional=("pck_certificate_chain",))
        text = data if isinstance(data, str) else data.decode()
        return cls(text, members, _signed(members, "tcb_info"), _signed(members, "qe_identity"))

    @property
    def expires(self) -> datetime:
        """When the first of TCB info and QE identity is due for renewal."""
        return min(self.tcb_info.due, self.qe_identity.due)

    def require_genuine(self, quote_chain: Chain, now: datetime, max_age: timedelta) -> None:
        """Accept current collateral, signed under the quote's root, that does not revoke the quote's chain.

        :raises VerificationError: ``collateral-…``, ``certificate-revoked``.
        """
        self._require_same_pck_chain(quote_chain, now)
        tcb_chain = self._chain("tcb_info_issuer_chain", quote_chain, now)
        qe_chain = self._chain("qe_identity_issuer_chain", quote_chain, now)
        crl_chain = self._chain("pck_crl_issuer_chain", quote_chain, now)
        for document, chain in ((self.tcb_info, tcb_chain), (self.qe_identity, qe_chain)):
            _require_signer(chain.leaf, document.what)
            _require_signed(document, chain.leaf)
            require_current(document.issued, document.due, now, document.what)
            _require_fresh(document, now, max_age)
        root_crl = require_current_crl(
            self._der("root_ca_crl"), quote_chain.certificates[-1], now, "root's CRL"
        )
        pck_crl = require_current_crl(self._der("pck_crl"), crl_chain.leaf, now, "PCK CRL")
        for chain in (quote_chain, tcb_chain, qe_chain, crl_chain):
            require_not_revoked(root_crl, chain.certificates[-2])
        require_not_revoked(pck_crl, quote_chain.leaf)

    def require_pce(self, pce_id: bytes) -> None:
        """Accept TCB info about the SGX platform whose provisioning enclave (PCE) certified the quote.

        dcap-qvl compares none of these.

        :raises VerificationError: ``collateral-mismatch``.
        """
        for name, expected in (("id", "SGX"), ("version", 3), ("tcbType", 0), ("pceId", pce_id.hex())):
            value = self.tcb_info.members.members.get(name)
            got = value.lower() if name == "pceId" and isinstance(value, str) else value
            if got != expected or type(got) is not type(expected):
                refuse(
                    Refusal.COLLATERAL_MISMATCH,
                    f"The TCB info's {name} is not that of the platform.",
                    got=repr(value),
                    expected=repr(expected),
                )

    def _chain(self, name: str, quote_chain: Chain, now: datetime) -> Chain:
        pem = self.members.text(name, max_length=64 * 1024).encode()
        what = name.replace("_", " ")
        # Two certificates: the root itself issued the signer. A PCK key (a chain of three) signs quotes only.
        return Chain.read(pem, (quote_chain.root,), now, what, Refusal.COLLATERAL_CHAIN, length=2)

    def _der(self, name: str) -> bytes:
        text = self.members.text(name, r"[0-9a-f]+", max_length=_MAX_CRL_DIGITS)
        if len(text) % 2:
            refuse(
                Refusal.COLLATERAL_MALFORMED,
                f"The collateral's {name} is no hex of whole bytes.",
                got=f"{len(text)} digits",
                expected="an even number of digits",
            )
        return bytes.fromhex(text)

    def _require_same_pck_chain(self, quote_chain: Chain, now: datetime) -> None:
        # dcap-qvl would prefer this chain to the quote's own, which is the one that the token's hash covers.
        if self.members.members.get("pck_certificate_chain") is None:
            return
        chain = Chain.read(
            self.members.text("pck_certificate_chain", max_length=64 * 1024).encode(),
            (quote_chain.root,),
            now,
            "collateral's PCK chain",
            Refusal.COLLATERAL_CHAIN,
            length=3,
        )
        if chain.leaf != quote_chain.leaf:
            refuse(
                Refusal.COLLATERAL_MISMATCH,
                "The collateral names another PCK certificate than the quote.",
                got=f"serial {chain.leaf.serial_number:x}",
                expected=f"serial {quote_chain.leaf.serial_number:x}",
            )


def _object(data: bytes | str, what: str, max_bytes: int) -> JsonObject:
    value = strict_json.loads(
        data,
        what=what,
        max_bytes=max_bytes,
        malformed=Refusal.COLLATERAL_MALFORMED,
        duplicate=Refusal.COLLATERAL_DUPLICATE_KEY,
    )
    return JsonObject.of(value, what, Refusal.COLLATERAL_MALFORMED)


def _signed(members: JsonObject, name: str) -> SignedDocument:
    text = members.text(name, max_length=1024 * 1024)
    what = {"tcb_info": "TCB info", "qe_identity": "QE identity"}[name]
    document = _object(text, what, 1024 * 1024)
    return SignedDocument(
        what=what,
        content=text.encode(),
        members=document,
        signature=bytes.fromhex(members.text(f"{name}_signature", r"[0-9a-f]{128}")),
        issued=_time(document, "issueDate"),
        due=_time(document, "nextUpdate"),
        evaluation_number=document.integer("tcbEvaluationDataNumber"),
    )


def _require_signer(certificate: x509.Certificate, what: str) -> None:
    constraints = [e.value for e in certificate.extensions if isinstance(e.value, x509.BasicConstraints)]
    is_ca, algorithm = any(value.ca for value in constraints), certificate.signature_algorithm_oid
    if is_ca or algorithm != SignatureAlgorithmOID.ECDSA_WITH_SHA256:
        refuse(
            Refusal.COLLATERAL_CHAIN,
            f"The certificate of the {what}'s signer is not a TCB signing certificate.",
            got=f"{'certificate authority' if is_ca else 'leaf'}, signed with {algorithm.dotted_string}",
            expected="a leaf, signed with ECDSA and SHA-256",
        )


def _require_signed(document: SignedDocument, signer: x509.Certificate) -> None:
    r, s = (int.from_bytes(half, "big") for half in (document.signature[:32], document.signature[32:]))
    key = signer.public_key()
    try:
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise InvalidSignature
        key.verify(encode_dss_signature(r, s), document.content, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        refuse(
            Refusal.COLLATERAL_SIGNATURE,
            f"The {document.what} was changed, or another key signed it.",
            got="a signature that does not verify",
            expected=f"a signature by {signer.subject.rfc4514_string()}",
        )


def _require_fresh(document: SignedDocument, now: datetime, max_age: timedelta) -> None:
    if now - document.issued > max_age:
        refuse(
            Refusal.COLLATERAL_STALE,
            f"The {document.what} is too old.",
            got=f"issued {document.issued}",
            expected=f"within {max_age} before {now}",
            action="fetch fresh collateral",
        )


def _time(document: JsonObject, name: str) -> datetime:
    text = document.text(name, _TIME)
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        refuse(
            Refusal.COLLATERAL_MALFORMED,
            f"The {document.what}'s {name} is no date.",
            got=text,
            expected="a date",
        )
