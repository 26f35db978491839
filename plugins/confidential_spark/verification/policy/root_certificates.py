"""Trust anchors: the root certificates that a policy pins."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from confidential_spark.core.errors import PolicyError, shorten
from confidential_spark.verification.safe_files import read_regular

# Intel's SGX root CA: `trust: hardware` means a chain to this key, whatever a policy names.
INTEL_ROOT_SPKI_SHA256 = "a0af031289f5d5d4132f9186068a7fc13628633ba235777472e29b6b6c67a49e"
# Anyone can compute the development root's private key (simulation/hardware/keys.py).
DEVELOPMENT_ROOT_SPKI_SHA256 = "9268be0eef246e95a8726e39a8be7b39832e3834c1a3a455b8287dc7ca37ac65"
_MAX_BYTES = 16 * 1024
_PEM_START = b"-----BEGIN CERTIFICATE-----"


@dataclass(frozen=True)
class RootCertificate:
    """One pinned root; a chain ends in it when the root's public key is the same."""

    spki_sha256: str
    subject: str

    @property
    def simulated(self) -> bool:
        """Whether the certificate calls itself simulated."""
        return "SIMULATED" in self.subject.upper()


def read_root(source: object, base: Path | None = None) -> RootCertificate:
    """Return a root given as a path (relative to ``base``), PEM text, PEM bytes or DER bytes.

    :raises PolicyError: ``policy-root-unreadable``.
    """
    if isinstance(source, RootCertificate):
        return source
    try:
        return _root(_content(source, base))
    except Exception as error:  # OSError, ValueError, UnsupportedAlgorithm: there is no root to trust
        message, got = "A root certificate of the policy cannot be used.", f"{shorten(source, 60)}: {error}"
        expected = "dcap.roots: paths of PEM files, PEM text or DER, one self-signed CA certificate each"
        raise PolicyError(message, code="policy-root-unreadable", got=got, expected=expected) from error


def spki_sha256(certificate: x509.Certificate) -> str:
    """Return the hex SHA-256 of a certificate's SubjectPublicKeyInfo."""
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).hexdigest()


# A policy is read with each bundle that it judges; its roots are few.
@lru_cache(maxsize=64)
def _root(data: bytes) -> RootCertificate:
    if len(data) > _MAX_BYTES:
        raise ValueError(f"more than {_MAX_BYTES} bytes")
    if _PEM_START in data:
        (certificate,) = x509.load_pem_x509_certificates(data)
    else:
        certificate = x509.load_der_x509_certificate(data)
    _require_self_issued_ca(certificate)
    return RootCertificate(spki_sha256(certificate), certificate.subject.rfc4514_string())


def _require_self_issued_ca(certificate: x509.Certificate) -> None:
    if not isinstance(certificate.public_key(), ec.EllipticCurvePublicKey):
        raise ValueError("not an elliptic-curve key")
    try:
        certificate.verify_directly_issued_by(certificate)
    except (ValueError, TypeError, InvalidSignature) as error:
        raise ValueError("not issued and signed by itself") from error
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    if not constraints.value.ca:
        raise ValueError("not a certificate authority")


def _content(source: object, base: Path | None) -> bytes:
    if isinstance(source, bytes):
        return source
    if not isinstance(source, (str, Path)):
        raise TypeError("not a path, text or bytes")
    if isinstance(source, str) and source.lstrip().startswith(_PEM_START.decode()):
        return source.encode("ascii")
    return read_regular((base or Path()) / source, _MAX_BYTES)
