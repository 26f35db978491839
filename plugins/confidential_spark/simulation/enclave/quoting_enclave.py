"""The simulated quoting enclave: its identity, and the keys it signs quotes with.

On hardware this is Intel's QE, which makes an attestation key and has the platform's PCK key vouch for it.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from confidential_spark.simulation.enclave.report import FLAG_PROVISION_KEY, EnclaveIdentity, EnclaveReport
from confidential_spark.simulation.hardware import certificates
from confidential_spark.simulation.hardware.keys import p256_key, raw_signature

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

IDENTITY = EnclaveIdentity(
    mrenclave=hashlib.sha256(b"SIMULATED quoting enclave").digest(),
    mrsigner=hashlib.sha256(b"SIMULATED quoting enclave signer").digest(),
    product_id=1,
    svn=10,
)
QE_ID = b"SIMULATED QE ID\0"
AUTHENTICATION_DATA = b"SIMULATED authentication data".ljust(32, b"\0")


def attestation_key() -> ec.EllipticCurvePrivateKey:
    """Return the key that signs enclave reports."""
    return p256_key("attestation key")


def attestation_public_key() -> bytes:
    """Return the attestation key's x and y, 32 bytes each."""
    point = attestation_key().public_key().public_numbers()
    return point.x.to_bytes(32, "big") + point.y.to_bytes(32, "big")


def report() -> bytes:
    """Return the QE's report, whose report data binds the attestation key."""
    binding = hashlib.sha256(attestation_public_key() + AUTHENTICATION_DATA).digest()
    return EnclaveReport(IDENTITY, binding + bytes(32), extra_flags=FLAG_PROVISION_KEY).pack()


def report_signature() -> bytes:
    """Return the PCK key's signature over the QE's report."""
    return raw_signature(p256_key(certificates.PCK.name), report())
