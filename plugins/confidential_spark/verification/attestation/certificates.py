"""Certificate chains that end in a pinned root, and the revocation lists of their issuers.

dcap-qvl checks chains as well, but it ignores what it does not use: a changed byte in the root certificate
or in the CRL issuer's chain of a bundle passes it. Here every certificate of a bundle has to be genuine.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NoReturn

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding

from confidential_spark.verification.policy.root_certificates import RootCertificate, spki_sha256
from confidential_spark.verification.refusals import Refusal, refuse

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

_PEM_CHAIN = re.compile(
    rb"(-----BEGIN CERTIFICATE-----[\r\n]+([A-Za-z0-9+/=]+[\r\n]+)+-----END CERTIFICATE-----[\r\n]*)+"
)


class Chain:
    """Certificates from a leaf to a pinned root, each signed by the next and valid at the given time."""

    def __init__(self, certificates: Sequence[x509.Certificate], root: RootCertificate) -> None:
        """Keep certificates that :meth:`read` has verified."""
        self.certificates = tuple(certificates)
        self.root = root

    @property
    def leaf(self) -> x509.Certificate:
        """The certificate of the signing key."""
        return self.certificates[0]

    @classmethod
    def read(
        cls,
        pem: bytes,
        roots: Sequence[RootCertificate],
        now: datetime,
        what: str,
        code: Refusal,
        *,
        length: int,
    ) -> Chain:
        """Read and verify a PEM chain, leaf first, root last.

        :param what: the chain's name in messages.
        :param length: the number of certificates, root included.
        :raises VerificationError: ``code``.
        """
        certificates = _load(pem, what, code, length)
        _require_links(certificates, what, code)
        for certificate in certificates:
            _require_valid_at(certificate, now, what, code)
        last = spki_sha256(certificates[-1])
        root = next((root for root in roots if root.spki_sha256 == last), None)
        if root is None:
            refuse(
                code,
                f"The {what} ends in a root that the policy does not pin.",
                got=f"{certificates[-1].subject.rfc4514_string()}, key {last}",
                expected=", ".join(f"{root.subject}, key {root.spki_sha256}" for root in roots),
            )
        return cls(certificates, root)


def require_current_crl(
    der: bytes, issuer: x509.Certificate, now: datetime, what: str
) -> x509.CertificateRevocationList:
    """Return a revocation list that ``issuer`` signed and that is neither future nor overdue.

    :raises VerificationError: ``collateral-malformed``, ``collateral-signature``,
        ``collateral-not-yet-valid``, ``collateral-expired``.
    """
    try:
        crl = x509.load_der_x509_crl(der)
        genuine = crl.issuer == issuer.subject and crl.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]
        issued, due = crl.last_update_utc, crl.next_update_utc
    except Exception as error:  # the DER decides which
        refuse(
            Refusal.COLLATERAL_MALFORMED,
            f"The {what} is unreadable.",
            got=repr(error),
            expected="a CRL (DER)",
        )
    if not genuine:
        refuse(
            Refusal.COLLATERAL_SIGNATURE,
            f"The {what} is not signed by its issuer.",
            got=crl.issuer.rfc4514_string(),
            expected=issuer.subject.rfc4514_string(),
        )
    require_current(issued, due, now, what)
    if now == due:  # dcap-qvl refuses a CRL, unlike TCB info, at this very second
        _refuse_overdue(due, now, what)
    return crl


def require_current(issued: datetime, due: datetime | None, now: datetime, what: str) -> None:
    """Accept a document that was issued by ``now`` and whose next update is not overdue.

    :raises VerificationError: ``collateral-not-yet-valid``, ``collateral-expired``.
    """
    if now < issued:
        refuse(
            Refusal.COLLATERAL_NOT_YET_VALID,
            f"The {what} is from the future.",
            got=str(issued),
            expected=f"by {now}",
        )
    if due is None or now > due:
        _refuse_overdue(due, now, what)


def _refuse_overdue(due: datetime | None, now: datetime, what: str) -> NoReturn:
    refuse(
        Refusal.COLLATERAL_EXPIRED,
        f"The {what}'s next update is overdue.",
        got=f"due {due}",
        expected=f"later than {now}",
        action="fetch fresh collateral; to judge a past run, give the time of that run (--at)",
    )


def require_not_revoked(crl: x509.CertificateRevocationList, certificate: x509.Certificate) -> None:
    """Accept a certificate that its issuer has not revoked.

    :raises VerificationError: ``certificate-revoked``; ``collateral-mismatch`` for another issuer's list.
    """
    if crl.issuer != certificate.issuer:
        refuse(
            Refusal.COLLATERAL_MISMATCH,
            "The revocation list is of another issuer.",
            got=crl.issuer.rfc4514_string(),
            expected=certificate.issuer.rfc4514_string(),
        )
    if crl.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None:
        refuse(
            Refusal.CERTIFICATE_REVOKED,
            "A certificate has been revoked.",
            got=f"{certificate.subject.rfc4514_string()}, serial {certificate.serial_number:x}",
            expected="certificates that are not revoked",
        )


def _load(pem: bytes, what: str, code: Refusal, length: int) -> list[x509.Certificate]:
    try:
        if _PEM_CHAIN.fullmatch(pem) is None:
            raise ValueError("not PEM certificates only")
        certificates = x509.load_pem_x509_certificates(pem)
        canonical = b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)
        if b"".join(pem.split()) != b"".join(canonical.split()):
            raise ValueError("not canonical base64")
        for certificate in certificates:
            _require_readable(certificate)
    except Exception as error:  # the DER decides which
        refuse(code, f"The {what} is unreadable.", got=repr(error), expected="certificates in PEM")
    if len(certificates) != length:
        refuse(
            code,
            f"The {what} has a wrong length.",
            got=len(certificates),
            expected=f"{length} certificates",
        )
    return certificates


def _require_readable(certificate: x509.Certificate) -> None:
    # cryptography parses these on first use; a broken one must be noticed here, where it has a name.
    certificate.subject.rfc4514_string()
    certificate.issuer.rfc4514_string()
    certificate.public_key()
    _ = certificate.extensions


def _require_links(certificates: Sequence[x509.Certificate], what: str, code: Refusal) -> None:
    for certificate, issuer in zip(certificates, [*certificates[1:], certificates[-1]], strict=True):
        try:
            certificate.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature):
            refuse(
                code,
                f"A certificate of the {what} is not signed by the next one.",
                got=certificate.subject.rfc4514_string(),
                expected=f"a signature by {issuer.subject.rfc4514_string()}",
            )


def _require_valid_at(certificate: x509.Certificate, now: datetime, what: str, code: Refusal) -> None:
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not start <= now <= end:
        refuse(
            code,
            f"A certificate of the {what} is not valid now.",
            got=f"{certificate.subject.rfc4514_string()}, {start} to {end}",
            expected=f"valid at {now}",
        )
