"""DCAP collateral: what Intel publishes about platforms, as dcap-qvl's ``QuoteCollateralV3`` JSON.

Source: Intel SGX and TDX Provisioning Certification Service API v4.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from confidential_spark.core import strict_json
from confidential_spark.core.certificate_chain import (
    Chain,
    require_current,
    require_current_crl,
    require_not_revoked,
)
from confidential_spark.core.json_object import JsonObject
from confidential_spark.core.refusals import Refusal, refuse

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from confidential_spark.core.root_certificates import RootCertificate

MAX_COLLATERAL_BYTES = 4 * 1024 * 1024
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

    def require_current(self, now: datetime, max_age: timedelta) -> None:
        """Accept TCB info and QE identity that are valid at ``now`` and not older than ``max_age``.

        :raises VerificationError: ``collateral-not-yet-valid``, ``collateral-expired``, ``collateral-stale``.
        """
        for document in (self.tcb_info, self.qe_identity):
            require_current(document.issued, document.due, now, document.what)
            if now - document.issued > max_age:
                refuse(
                    Refusal.COLLATERAL_STALE,
                    f"The {document.what} is too old.",
                    got=f"issued {document.issued}",
                    expected=f"within {max_age} before {now}",
                    action="fetch fresh collateral",
                )

    def require_genuine(self, quote_chain: Chain, roots: Sequence[RootCertificate], now: datetime) -> None:
        """Accept genuine chains and revocation lists that do not revoke the quote's chain.

        :raises VerificationError: ``collateral-…``, ``certificate-revoked``.
        """
        chains = {
            name: self._chain(name, roots, now)
            for name in ("pck_crl_issuer_chain", "tcb_info_issuer_chain", "qe_identity_issuer_chain")
        }
        self._require_same_pck_chain(quote_chain, now)
        root_crl = require_current_crl(
            self._der("root_ca_crl"), quote_chain.certificates[-1], now, "root's CRL"
        )
        pck_crl = require_current_crl(
            self._der("pck_crl"), chains["pck_crl_issuer_chain"].leaf, now, "PCK CRL"
        )
        for chain in (quote_chain, *chains.values()):
            for certificate in chain.certificates:
                if certificate.issuer == root_crl.issuer:
                    require_not_revoked(root_crl, certificate)
        require_not_revoked(pck_crl, quote_chain.leaf)

    def _chain(self, name: str, roots: Sequence[RootCertificate], now: datetime) -> Chain:
        pem = self.members.text(name, max_length=64 * 1024).encode()
        return Chain.read(pem, roots, now, name.replace("_", " "), Refusal.COLLATERAL_CHAIN)

    def _der(self, name: str) -> bytes:
        return bytes.fromhex(self.members.text(name, r"([0-9a-fA-F]{2})+", max_length=MAX_COLLATERAL_BYTES))

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
        issued=_time(document, "issueDate"),
        due=_time(document, "nextUpdate"),
        evaluation_number=document.integer("tcbEvaluationDataNumber"),
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
