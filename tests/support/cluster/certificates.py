"""The cluster's own certificate authority: made anew at each ``up``, gone at ``down``."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from pathlib import Path

# Longer than any cluster for tests lives; a clock that is set back a little must not end it.
LIFETIME = timedelta(days=365)
CLOCK_TOLERANCE = timedelta(hours=1)


class CertificateAuthority:
    """Writes ``<name>.crt`` and ``<name>.key`` into one folder: PEM, P-256, keys for their owner only."""

    def __init__(self, folder: Path) -> None:
        """Write the authority's own certificate, ``ca.crt``; its key is never written."""
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("confidential-spark-test-cluster", None)
        builder = _builder(self._name, self._name, self._key.public_key()).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        self._write_certificate("ca", builder.sign(self._key, hashes.SHA256()))

    def client(self, file: str, *, user: str, group: str | None = None) -> None:
        """Write a pair that authenticates as ``user``, member of ``group``."""
        self._issue(file, _name(user, group), ExtendedKeyUsageOID.CLIENT_AUTH, [])

    def server(self, file: str, *, names: list[str], addresses: list[str]) -> None:
        """Write a pair for a server known by these DNS names and IP addresses."""
        known_by: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
        known_by += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
        self._issue(file, _name(names[0], None), ExtendedKeyUsageOID.SERVER_AUTH, known_by)

    def _issue(
        self, file: str, subject: x509.Name, usage: x509.ObjectIdentifier, known_by: list[x509.GeneralName]
    ) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(subject, self._name, key.public_key()).add_extension(
            x509.ExtendedKeyUsage([usage]), critical=False
        )
        if known_by:
            builder = builder.add_extension(x509.SubjectAlternativeName(known_by), critical=False)
        self._write_certificate(file, builder.sign(self._key, hashes.SHA256()))
        write_private_key(self._folder / f"{file}.key", key)

    def _write_certificate(self, file: str, certificate: x509.Certificate) -> None:
        (self._folder / f"{file}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def write_private_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    """Write the key as SEC1 PEM, mode 0600 from the start; PKCS#8 is refused for service accounts."""
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )


def _name(common_name: str, organization: str | None) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if organization is not None:
        attributes.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    return x509.Name(attributes)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_TOLERANCE)
        .not_valid_after(now + LIFETIME)
    )
