"""Certificate chains that end in a pinned root, and the revocation lists of their issuers.

`cryptography` builds and judges the paths: signatures, validity, and that only certificate authorities issue.
dcap-qvl judges them again, but it ignores what it does not use: a changed byte in the root certificate or in
the CRL issuer's chain of a bundle passes it. Here every certificate of a bundle has to be genuine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.verification import Criticality, ExtensionPolicy, PolicyBuilder, Store

from confidential_spark.verification.policy.root_certificates import RootCertificate, spki_sha256
from confidential_spark.verification.refusals import Refusal, refuse

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

_OTHER_TIME = "fetch fresh collateral; to judge a past run, give the time of that run (--at)"


@dataclass(frozen=True)
class Chain:
    """Certificates from a leaf to a pinned root, each signed by the next and valid at the given time."""

    certificates: tuple[x509.Certificate, ...]
    root: RootCertificate

    @property
    def leaf(self) -> x509.Certificate:
        """The certificate of the signing key."""
        return self.certificates[0]


class ChainReader:
    """Reads the chains of one quote and its collateral: what they share is decoded and verified once.

    :ivar roots: in one of which a chain must end.
    """

    def __init__(self, roots: Sequence[RootCertificate], now: datetime) -> None:
        self.roots = roots
        self._now = now
        # A certificate that was decoded before takes the place of an equal one, as a chain does.
        self._decoded: dict[x509.Certificate, x509.Certificate] = {}
        self._chains: dict[tuple[bytes, int], tuple[x509.Certificate, ...]] = {}
        # Each path to a root, with whether its first certificate is an authority.
        self._verified: set[tuple[tuple[x509.Certificate, ...], bool]] = set()

    def read(self, pem: bytes, what: str, code: Refusal, *, length: int, ca: bool = False) -> Chain:
        """Read and verify a PEM chain, leaf first, root last.

        :param what: the chain's name in messages.
        :param length: the number of certificates, root included.
        :param ca: whether the first certificate is itself an authority (a CRL's issuer), and no leaf.
        :raises VerificationError: ``code``; a genuine chain of collateral that is not valid now is
            ``collateral-expired`` or ``collateral-not-yet-valid``.
        """
        certificates = self._chains.get((pem, length)) or self._load(pem, what, code, length)
        last = spki_sha256(certificates[-1])
        root = next((root for root in self.roots if root.spki_sha256 == last), None)
        if root is None:
            got = f"{certificates[-1].subject.rfc4514_string()}, key {last}"
            known = ", ".join(f"{root.subject}, key {root.spki_sha256}" for root in self.roots)
            expected = known or "Intel's SGX root, named by the policy"
            message = f"The {what} ends in a root that the policy does not pin."
            refuse(code, message, got=got, expected=expected)
        start = max(certificate.not_valid_before_utc for certificate in certificates)
        end = min(certificate.not_valid_after_utc for certificate in certificates)
        if (certificates, ca) not in self._verified:
            # At a time when all were valid, if there is one: a forgery must not pass for an expired chain.
            self._require_path(certificates, min(max(self._now, start), end), what, code, ca)
        _require_valid_at(start, end, self._now, what, code)
        return Chain(certificates, root)

    def _load(self, pem: bytes, what: str, code: Refusal, length: int) -> tuple[x509.Certificate, ...]:
        try:
            loaded = x509.load_pem_x509_certificates(pem)
            certificates = tuple(self._decoded.get(certificate, certificate) for certificate in loaded)
            canonical = b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)
            if b"".join(pem.split()) != b"".join(canonical.split()):
                raise ValueError("more than certificates, or not canonical base64")
            for certificate in (each for each in certificates if each not in self._decoded):
                # cryptography parses these on first use; a broken one must be noticed where it has a name.
                _ = certificate.subject, certificate.issuer, certificate.public_key(), certificate.extensions
                self._decoded[certificate] = certificate
        except Exception as error:  # the DER decides which
            refuse(code, f"The {what} is unreadable.", got=repr(error), expected="certificates in PEM")
        if len(certificates) != length:
            message, got = f"The {what} has a wrong length.", f"{len(certificates)} certificates"
            refuse(code, message, got=got, expected=f"{length} certificates")
        self._chains[pem, length] = certificates
        return certificates

    def _require_path(
        self, certificates: tuple[x509.Certificate, ...], at: datetime, what: str, code: Refusal, ca: bool
    ) -> None:
        def require_kind(_policy: object, _certificate: object, constraints: x509.BasicConstraints) -> None:
            if constraints.ca is not ca:
                raise ValueError(f"basic constraints say CA:{constraints.ca}")

        leaf_policy = ExtensionPolicy.permit_all().require_present(
            x509.BasicConstraints, Criticality.CRITICAL, require_kind
        )
        authorities, root = ExtensionPolicy.webpki_defaults_ca(), certificates[-1]
        builder = PolicyBuilder().store(Store([root])).time(at).max_chain_depth(1)
        builder = builder.extension_policies(ee_policy=leaf_policy, ca_policy=authorities)
        try:
            if ((root,), True) not in self._verified:
                root.verify_directly_issued_by(root)
            path = builder.build_client_verifier().verify(certificates[0], list(certificates[1:-1])).chain
            if tuple(path) != certificates:
                raise ValueError(f"{len(path)} certificates suffice")
        except Exception as error:  # of x509.verification, InvalidSignature, ValueError
            expected = "each certificate issued and signed by the next, all but the first authorities"
            refuse(code, f"The {what} is no path to its root.", got=repr(error), expected=expected)
        # The paths of its authorities are parts of it.
        self._verified |= {(certificates[i:], ca or i > 0) for i in range(len(certificates))}


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
        message = f"The {what} is unreadable."
        refuse(Refusal.COLLATERAL_MALFORMED, message, got=repr(error), expected="a CRL (DER)")
    if not genuine:
        got, expected = crl.issuer.rfc4514_string(), issuer.subject.rfc4514_string()
        message = f"The {what} is not signed by its issuer."
        refuse(Refusal.COLLATERAL_SIGNATURE, message, got=got, expected=expected)
    # dcap-qvl refuses a CRL, unlike TCB info, at the very second of its next update.
    require_current(issued, None if due == now else due, now, what)
    return crl


def require_current(issued: datetime, due: datetime | None, now: datetime, what: str) -> None:
    """Accept a document that was issued by ``now`` and whose next update is not overdue.

    :raises VerificationError: ``collateral-not-yet-valid``, ``collateral-expired``.
    """
    if now < issued:
        message = f"The {what} is from the future."
        refuse(Refusal.COLLATERAL_NOT_YET_VALID, message, got=str(issued), expected=f"by {now}")
    if due is None or now > due:
        message = f"The {what}'s next update is overdue."
        got, expected = f"due {due or now}", f"later than {now}"
        refuse(Refusal.COLLATERAL_EXPIRED, message, got=got, expected=expected, action=_OTHER_TIME)


def require_not_revoked(
    crl: x509.CertificateRevocationList, issuer: x509.Certificate, certificate: x509.Certificate
) -> None:
    """Accept a certificate that its issuer has not revoked.

    :param issuer: of the revocation list.
    :raises VerificationError: ``certificate-revoked``; ``collateral-mismatch`` for another issuer's list.
    """
    if issuer.subject != certificate.issuer:
        got, expected = issuer.subject.rfc4514_string(), certificate.issuer.rfc4514_string()
        message = "The revocation list is of another issuer."
        refuse(Refusal.COLLATERAL_MISMATCH, message, got=got, expected=expected)
    if crl.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None:
        got = f"{certificate.subject.rfc4514_string()}, serial {certificate.serial_number:x}"
        refuse(Refusal.CERTIFICATE_REVOKED, got=got, expected="certificates that are not revoked")


def _require_valid_at(start: datetime, end: datetime, now: datetime, what: str, code: Refusal) -> None:
    if start <= now <= end:
        return
    if code is Refusal.COLLATERAL_CHAIN:
        code = Refusal.COLLATERAL_NOT_YET_VALID if now < start else Refusal.COLLATERAL_EXPIRED
    message = f"A certificate of the {what} has expired or is not valid yet."
    refuse(code, message, got=f"valid from {start} to {end}", expected=f"valid at {now}", action=_OTHER_TIME)
