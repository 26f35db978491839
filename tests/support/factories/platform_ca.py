"""An SGX platform under a certificate authority of the test's own: hardware as far as a verifier can tell."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from confidential_spark.simulation.enclave import quoting_enclave
from confidential_spark.simulation.enclave.software_quote import EnclaveIdentity, SoftwareQuote
from confidential_spark.simulation.hardware import authority as development_ca
from confidential_spark.simulation.hardware.keys import raw_signature
from confidential_spark.simulation.hardware.pck_extension import sgx_extension
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from collections.abc import Callable

NOT_BEFORE = datetime(2021, 1, 1, tzinfo=UTC)
NOT_AFTER = datetime(2049, 1, 1, tzinfo=UTC)
QE_REPORT_SIGNATURE = slice(436 + 64 + 64 + 384, 436 + 64 + 64 + 384 + 64)
CHAIN_LENGTH_AT = 436 + 64 + 64 + 384 + 64 + 2 + 32 + 2


@dataclass
class PlatformCa:
    """Root, PCK platform CA, PCK and TCB signing certificates with keys of their own."""

    pck_not_after: datetime = NOT_AFTER
    tcb_not_after: datetime = NOT_AFTER
    organization: str = "Test Hardware Corporation"
    root_key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: new_key())
    ca_key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: new_key())
    pck_key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: new_key())
    tcb_key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: new_key())

    def __post_init__(self) -> None:
        self.root = self._certificate("Root CA", self.root_key, "Root CA", self.root_key, ca=1)
        self.ca = self._certificate("PCK Platform CA", self.ca_key, "Root CA", self.root_key, ca=0)
        self.pck = self._certificate(
            "PCK",
            self.pck_key,
            "PCK Platform CA",
            self.ca_key,
            not_after=self.pck_not_after,
            sgx=sgx_extension(),
        )
        self.tcb = self._certificate(
            "TCB Signing", self.tcb_key, "Root CA", self.root_key, not_after=self.tcb_not_after
        )

    @property
    def root_der(self) -> bytes:
        return self.root.public_bytes(Encoding.DER)

    def pck_with(self, extension: x509.ExtensionType | None) -> x509.Certificate:
        return self._certificate("PCK", self.pck_key, "PCK Platform CA", self.ca_key, sgx=extension)

    def signed_by_leaf(self, sgx: x509.ExtensionType | None = None) -> x509.Certificate:
        """A certificate that the TCB signer, no authority, issued: every signature fits."""
        return self._certificate("PCK", self.pck_key, "TCB Signing", self.tcb_key, sgx=sgx)

    def root_like(self, other: PlatformCa) -> x509.Certificate:
        """The other's root key in a certificate that this root's key signed: its own signature is missing."""
        return other._certificate("Root CA", other.root_key, "Root CA", self.root_key, ca=1)

    def authority(self, name: str, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
        """Another authority under the same root."""
        return self._certificate(name, key, "Root CA", self.root_key, ca=0)

    def tcb_with(self, key: Any = None, **options: Any) -> x509.Certificate:
        return self._certificate("TCB Signing", key or self.tcb_key, "Root CA", self.root_key, **options)

    def quote(self, identity: EnclaveIdentity, report_data: bytes, chain: str | None = None) -> bytes:
        raw = bytearray(SoftwareQuote(identity).quote(report_data))
        raw[QE_REPORT_SIGNATURE] = raw_signature(self.pck_key, quoting_enclave.report())
        return with_chain(bytes(raw), (chain or pem(self.pck, self.ca, self.root)).encode())

    def collateral(
        self,
        now: datetime,
        change: Callable[[dict[str, Any]], dict[str, Any]] = lambda it: it,
        **options: Any,
    ) -> dict[str, Any]:
        collateral = change(development_ca.collateral(now, **options))
        issued = now.replace(hour=0, minute=0, second=0, microsecond=0)
        chain = pem(self.tcb, self.root)
        return collateral | {
            "pck_crl_issuer_chain": pem(self.ca, self.root),
            "root_ca_crl": self.crl("Root CA", self.root_key, issued).hex(),
            "pck_crl": self.crl("PCK Platform CA", self.ca_key, issued).hex(),
            "tcb_info_issuer_chain": chain,
            "tcb_info_signature": raw_signature(self.tcb_key, collateral["tcb_info"].encode()).hex(),
            "qe_identity_issuer_chain": chain,
            "qe_identity_signature": raw_signature(self.tcb_key, collateral["qe_identity"].encode()).hex(),
        }

    def crl(
        self,
        issuer: str,
        key: ec.EllipticCurvePrivateKey,
        issued: datetime,
        revoked: tuple[x509.Certificate, ...] = (),
        valid: timedelta = timedelta(days=30),
    ) -> bytes:
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._name(issuer))
            .last_update(issued)
            .next_update(issued + valid)
            .add_extension(x509.CRLNumber(1), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False
            )
        )
        for certificate in revoked:
            entry = x509.RevokedCertificateBuilder(certificate.serial_number, issued).build()
            builder = builder.add_revoked_certificate(entry)
        return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)

    def _certificate(
        self,
        name: str,
        key: ec.EllipticCurvePrivateKey,
        issuer: str,
        issuer_key: ec.EllipticCurvePrivateKey,
        *,
        ca: int | None = None,
        not_before: datetime = NOT_BEFORE,
        not_after: datetime = NOT_AFTER,
        sgx: x509.ExtensionType | None = None,
        digest: hashes.HashAlgorithm | None = None,
    ) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(self._name(name))
            .issuer_name(self._name(issuer))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(not_before)
            .not_valid_after(not_after)
            .add_extension(x509.BasicConstraints(ca is not None, ca), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
            )
            .add_extension(_key_usage(ca is not None), critical=True)
        )
        if sgx is not None:
            builder = builder.add_extension(sgx, critical=False)
        return builder.sign(issuer_key, digest or hashes.SHA256())

    def _name(self, name: str) -> x509.Name:
        return x509.Name(
            [
                x509.NameAttribute(NameOID.COMMON_NAME, f"Test {name}"),
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, self.organization),
            ]
        )


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def self_signed(name: str, key: Any, *, issuer: str | None = None, ca: bool = True) -> x509.Certificate:
    """Return a root certificate; with ``issuer``, one that only the key makes a root."""
    subject, issued_by = (
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in (name, issuer or name)
    )
    builder = x509.CertificateBuilder(issued_by, subject, key.public_key(), 1, NOT_BEFORE, NOT_AFTER)
    builder = builder.add_extension(x509.BasicConstraints(ca, None), critical=True)
    return builder.sign(key, hashes.SHA256())


def pem(*certificates: x509.Certificate) -> str:
    return "".join(certificate.public_bytes(Encoding.PEM).decode() for certificate in certificates)


def with_chain(quote: bytes, chain: bytes, kind: int = 5) -> bytes:
    """Return the quote with another certificate chain and lengths that fit it."""
    head = quote[436:CHAIN_LENGTH_AT] + struct.pack("<I", len(chain)) + chain
    signature = bytearray(head)
    struct.pack_into("<H", signature, CHAIN_LENGTH_AT - 2 - 436, kind)
    return quote[:432] + struct.pack("<I", len(signature)) + bytes(signature)


def _key_usage(ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=not ca,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )
