"""DCAP collateral: what Intel publishes about platforms, as dcap-qvl's ``QuoteCollateralV3`` JSON.

Source: Intel SGX and TDX Provisioning Certification Service API v4.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.x509.oid import SignatureAlgorithmOID

from confidential_spark.verification.attestation import certificates
from confidential_spark.verification.json_object import JsonObject
from confidential_spark.verification.refusals import Refusal, refuse, require_equal

if TYPE_CHECKING:
    from datetime import timedelta

    from cryptography import x509

    from confidential_spark.verification.attestation.certificates import Chain, ChainReader

MAX_COLLATERAL_BYTES = 4 * 1024 * 1024
_MAX_CRL_DIGITS = 1024 * 1024
_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z"
_MEMBERS = (
    *("pck_crl_issuer_chain", "root_ca_crl", "pck_crl"),
    *("tcb_info_issuer_chain", "tcb_info", "tcb_info_signature"),
    *("qe_identity_issuer_chain", "qe_identity", "qe_identity_signature"),
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

    def require_genuine(
        self, quote_chain: Chain, reader: ChainReader, now: datetime, max_age: timedelta
    ) -> None:
        """Accept current collateral, signed under the quote's root, that does not revoke the quote's chain.

        :param reader: for chains under that root.
        :raises VerificationError: ``collateral-…``, ``certificate-revoked``.
        """
        self._require_same_pck_chain(quote_chain, reader)
        # Two certificates: the root itself issued the signer. A PCK key (a chain of three) signs quotes only.
        tcb_chain = self._chain("tcb_info_issuer_chain", reader)
        qe_chain = self._chain("qe_identity_issuer_chain", reader)
        crl_chain = self._chain("pck_crl_issuer_chain", reader, ca=True)
        for document, chain in ((self.tcb_info, tcb_chain), (self.qe_identity, qe_chain)):
            _require_signed(document, chain.leaf)
            certificates.require_current(document.issued, document.due, now, document.what)
            _require_fresh(document, now, max_age)
        root = quote_chain.certificates[-1]
        root_crl = certificates.require_current_crl(self._der("root_ca_crl"), root, now, "root's CRL")
        pck_crl = certificates.require_current_crl(self._der("pck_crl"), crl_chain.leaf, now, "PCK CRL")
        chains = (quote_chain, tcb_chain, qe_chain, crl_chain)
        for issued in dict.fromkeys(chain.certificates[-2] for chain in chains):
            certificates.require_not_revoked(root_crl, root, issued)
        certificates.require_not_revoked(pck_crl, crl_chain.leaf, quote_chain.leaf)

    def require_platform(self, fmspc: bytes, pce_id: bytes) -> None:
        """Accept TCB info about the SGX platform that the PCK certificate names.

        dcap-qvl compares only the FMSPC, and shows neither value.

        :raises VerificationError: ``collateral-mismatch``, ``collateral-malformed``.
        """
        info = self.tcb_info.members
        kind = info.text("fmspc", "[0-9A-Fa-f]{12}").lower()
        pce = str(info.members.get("pceId")).lower()
        for name, got, expected in (
            *(
                ("fmspc", kind, fmspc.hex()),
                ("pceId", pce, pce_id.hex()),
                ("id", info.members.get("id"), "SGX"),
            ),
            *(("version", info.members.get("version"), 3), ("tcbType", info.members.get("tcbType"), 0)),
        ):
            message = f"The TCB info's {name} is not that of the platform."
            require_equal(Refusal.COLLATERAL_MISMATCH, got, expected, message)

    def _chain(self, name: str, reader: ChainReader, *, length: int = 2, ca: bool = False) -> Chain:
        pem, what = self.members.text(name, max_length=64 * 1024).encode(), name.replace("_", " ")
        return reader.read(pem, what, Refusal.COLLATERAL_CHAIN, length=length, ca=ca)

    def _der(self, name: str) -> bytes:
        return bytes.fromhex(self.members.text(name, r"([0-9a-f]{2})+", max_length=_MAX_CRL_DIGITS))

    def _require_same_pck_chain(self, quote_chain: Chain, reader: ChainReader) -> None:
        # dcap-qvl would prefer this chain to the quote's own, which is the one that the token's hash covers.
        if self.members.members.get("pck_certificate_chain") is None:
            return
        leaf = self._chain("pck_certificate_chain", reader, length=3).leaf
        if leaf != quote_chain.leaf:
            message = "The collateral names another PCK certificate than the quote."
            got, expected = (f"serial {one.serial_number:x}" for one in (leaf, quote_chain.leaf))
            refuse(Refusal.COLLATERAL_MISMATCH, message, got=got, expected=expected)


def _object(data: bytes | str, what: str, max_bytes: int) -> JsonObject:
    codes = Refusal.COLLATERAL_MALFORMED, Refusal.COLLATERAL_DUPLICATE_KEY
    return JsonObject.parse(data, what, max_bytes, *codes)


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


def _require_signed(document: SignedDocument, signer: x509.Certificate) -> None:
    algorithm = signer.signature_algorithm_oid
    if algorithm != SignatureAlgorithmOID.ECDSA_WITH_SHA256:
        message = f"The {document.what}'s signer has no TCB signing certificate."
        got, expected = f"signed with {algorithm.dotted_string}", "signed with ECDSA and SHA-256"
        refuse(Refusal.COLLATERAL_CHAIN, message, got=got, expected=expected)
    r, s = (int.from_bytes(half, "big") for half in (document.signature[:32], document.signature[32:]))
    key = signer.public_key()
    try:
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise InvalidSignature
        key.verify(encode_dss_signature(r, s), document.content, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        message = f"The {document.what} was changed, or another key signed it."
        expected = f"a signature by {signer.subject.rfc4514_string()}"
        refuse(Refusal.COLLATERAL_SIGNATURE, message, got="another signature", expected=expected)


def _require_fresh(document: SignedDocument, now: datetime, max_age: timedelta) -> None:
    if now - document.issued > max_age:
        message, action = f"The {document.what} is too old.", "fetch fresh collateral"
        got, expected = f"issued {document.issued}", f"within {max_age} before {now}"
        refuse(Refusal.COLLATERAL_STALE, message, got=got, expected=expected, action=action)


def _time(document: JsonObject, name: str) -> datetime:
    text = document.text(name, _TIME)
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        message = f"The {document.what}'s {name} is no date."
        refuse(Refusal.COLLATERAL_MALFORMED, message, got=text, expected="a date")
