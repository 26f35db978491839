"""The development CA's certificates and revocation lists: root → PCK platform CA → PCK, root → TCB signing.

Every certificate is the same, byte for byte, on every machine and in every year: keys and serial numbers
come from labels, validity is fixed and ECDSA is deterministic (RFC 6979).

Source: Intel SGX PCK Certificate and Certificate Revocation List Profile Specification.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID

from confidential_spark.simulation.hardware.keys import p256_key, token_signing_key
from confidential_spark.simulation.hardware.pck_extension import sgx_extension

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

NOT_BEFORE = datetime(2020, 1, 1, tzinfo=UTC)
NOT_AFTER = datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)
ORGANIZATION = "SIMULATED - proves nothing about hardware"

# DCAP tells the two PCK authorities apart by the word "Platform" or "Processor" in the issuer's name.
ROOT_NAME = "SIMULATED development root CA"
PLATFORM_CA_NAME = "SIMULATED development PCK Platform CA"
PCK_NAME = "SIMULATED development PCK certificate"
TCB_SIGNING_NAME = "SIMULATED development TCB signing"
TOKEN_SIGNING_NAME = "SIMULATED development token signing"  # noqa: S105 - a name

REVOCATION_VALIDITY = timedelta(days=30)


@dataclass(frozen=True)
class Subject:
    """A certificate's name, which is also its key's label, and whether it may issue others."""

    name: str
    issuer: str
    path_length: int | None = None

    @property
    def is_ca(self) -> bool:
        """Whether this subject signs certificates and revocation lists."""
        return self.path_length is not None


ROOT = Subject(ROOT_NAME, ROOT_NAME, path_length=1)
PLATFORM_CA = Subject(PLATFORM_CA_NAME, ROOT_NAME, path_length=0)
PCK = Subject(PCK_NAME, PLATFORM_CA_NAME)
TCB_SIGNING = Subject(TCB_SIGNING_NAME, ROOT_NAME)


@cache
def root_certificate() -> x509.Certificate:
    """Return the trust anchor of everything simulated."""
    return _certificate(ROOT)


@cache
def pck_chain() -> tuple[x509.Certificate, ...]:
    """Return the chain of the key that vouches for quotes: PCK leaf, platform CA, root."""
    return (_certificate(PCK, sgx_extension()), _certificate(PLATFORM_CA), root_certificate())


@cache
def tcb_signing_chain() -> tuple[x509.Certificate, ...]:
    """Return the chain of the key that signs TCB info and QE identity: leaf, root."""
    return (_certificate(TCB_SIGNING), root_certificate())


@cache
def token_signing_certificate() -> x509.Certificate:
    """Return the self-signed certificate that carries the token key, as in MAA's JWKS."""
    key = token_signing_key()
    builder = _builder(TOKEN_SIGNING_NAME, TOKEN_SIGNING_NAME, key.public_key())
    return builder.sign(key, hashes.SHA256())


def root_revocation_list(issued: datetime) -> bytes:
    """Return the root's CRL (DER): it revokes nothing."""
    return _revocation_list(ROOT, issued)


def pck_revocation_list(issued: datetime, *, revoke_pck: bool = False) -> bytes:
    """Return the platform CA's CRL (DER), with the PCK certificate in it when ``revoke_pck``."""
    return _revocation_list(PLATFORM_CA, issued, (PCK.name,) if revoke_pck else ())


def pem(chain: tuple[x509.Certificate, ...]) -> str:
    """Return a chain as PEM, leaf first."""
    return "".join(c.public_bytes(serialization.Encoding.PEM).decode("ascii") for c in chain)


def _certificate(subject: Subject, *extensions: x509.ExtensionType) -> x509.Certificate:
    issuer_key = p256_key(subject.issuer)
    builder = _builder(subject.name, subject.issuer, p256_key(subject.name).public_key())
    builder = (
        builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
        )
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(p256_key(subject.name).public_key()), critical=False
        )
        .add_extension(_key_usage(subject), critical=True)
        .add_extension(x509.BasicConstraints(subject.is_ca, subject.path_length), critical=True)
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(issuer_key, hashes.SHA256(), ecdsa_deterministic=True)


def _builder(
    subject: str, issuer: str, key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_distinguished_name(subject))
        .issuer_name(_distinguished_name(issuer))
        .public_key(key)
        .serial_number(_serial_number(subject))
        .not_valid_before(NOT_BEFORE)
        .not_valid_after(NOT_AFTER)
    )


def _revocation_list(issuer: Subject, issued: datetime, revoked: tuple[str, ...] = ()) -> bytes:
    key = p256_key(issuer.name)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(_distinguished_name(issuer.name))
        .last_update(issued)
        .next_update(issued + REVOCATION_VALIDITY)
        .add_extension(x509.CRLNumber(int(issued.timestamp())), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
    )
    for name in revoked:
        entry = x509.RevokedCertificateBuilder(_serial_number(name), issued)
        builder = builder.add_revoked_certificate(entry.build())
    crl = builder.sign(key, hashes.SHA256(), ecdsa_deterministic=True)
    return crl.public_bytes(serialization.Encoding.DER)


def _distinguished_name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANIZATION),
        ]
    )


def _serial_number(name: str) -> int:
    """Return a positive serial number of at most 20 octets (RFC 5280, 4.1.2.2)."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:19], "big") | 1


def _key_usage(subject: Subject) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not subject.is_ca,
        content_commitment=not subject.is_ca,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=subject.is_ca,
        crl_sign=subject.is_ca,
        encipher_only=False,
        decipher_only=False,
    )
