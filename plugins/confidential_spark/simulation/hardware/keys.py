"""Private keys of the simulated platform, derived from public labels. They protect nothing, on purpose.

Anyone can compute every key in this file, so anyone can forge simulated evidence: that is what
"SIMULATED – proves nothing about hardware" means. Derivation keeps secrets out of the repository and
gives every machine the same development root, so policies can pin it. See docs/adr/0001.
"""

from __future__ import annotations

import hashlib
from functools import cache

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
RSA_EXPONENT = 65537
PRIME_BITS = 1024

TOKEN_PRIME_LABELS = (
    "confidential-spark development token signing key v1, prime p",
    "confidential-spark development token signing key v1, prime q",
)
# Distance from each label's starting point to the next usable prime. Searching takes a second, so the
# result is written down; tests/unit/simulation/hardware/test_keys.py searches again.
TOKEN_PRIME_OFFSETS = (558, 1326)


@cache
def p256_key(name: str) -> ec.EllipticCurvePrivateKey:
    """Return the P-256 key for ``name``: its scalar is the label's SHA-256, brought into 1…n-1."""
    digest = hashlib.sha256(f"confidential-spark development {name} v1".encode()).digest()
    scalar = int.from_bytes(digest, "big") % (P256_ORDER - 1) + 1
    return ec.derive_private_key(scalar, ec.SECP256R1())


def raw_signature(key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    """Return ECDSA-SHA-256 over ``message`` as SGX writes it: r and s, 32 bytes each; deterministic."""
    der = key.sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
    return b"".join(part.to_bytes(32, "big") for part in decode_dss_signature(der))


def prime_start(label: str) -> int:
    """Return the odd 1024-bit number a label's prime search starts at, with its two top bits set."""
    value = int.from_bytes(hashlib.shake_256(label.encode()).digest(PRIME_BITS // 8), "big")
    return value | (0b11 << (PRIME_BITS - 2)) | 1


@cache
def token_signing_key() -> rsa.RSAPrivateKey:
    """Return the RSA-2048 key that signs the loopback service's tokens."""
    p, q = (
        prime_start(label) + offset
        for label, offset in zip(TOKEN_PRIME_LABELS, TOKEN_PRIME_OFFSETS, strict=True)
    )
    d = pow(RSA_EXPONENT, -1, (p - 1) * (q - 1))
    numbers = rsa.RSAPrivateNumbers(
        p=p,
        q=q,
        d=d,
        dmp1=rsa.rsa_crt_dmp1(d, p),
        dmq1=rsa.rsa_crt_dmq1(d, q),
        iqmp=rsa.rsa_crt_iqmp(p, q),
        public_numbers=rsa.RSAPublicNumbers(RSA_EXPONENT, p * q),
    )
    # OpenSSL's own primality check would cost 100 ms per process; the unit test does it once.
    return numbers.private_key(unsafe_skip_rsa_key_validation=True)
