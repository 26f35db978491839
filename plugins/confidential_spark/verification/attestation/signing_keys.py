"""Signing keys of the attestation provider, and the token's signature.

MAA's key set has only ``kid``, ``kty`` and ``x5c``: the key is taken from the first certificate (RFC 7517
§4.7). The certificate only carries the key. Its dates and issuer are not judged: trust in the set comes from
where the caller fetched it, or from the policy's pins, and MAA keeps serving keys in expired certificates.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from confidential_spark.core import base64url
from confidential_spark.verification.json_object import JsonObject
from confidential_spark.verification.refusals import Refusal, refuse

if TYPE_CHECKING:
    from collections.abc import Collection

    from confidential_spark.verification.attestation.maa_token import Token

MAX_JWKS_BYTES = 1024 * 1024
MIN_RSA_BITS = 2048
MAX_RSA_BITS = 8192
# RFC 7518 §6: the members of private RSA, EC and symmetric keys.
PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})


def signing_key(jwks: bytes | str, kid: str) -> rsa.RSAPublicKey:
    """Return the one RSA key of the set with this id.

    :raises VerificationError: ``jwks-…``, ``kid-unknown``, ``kid-ambiguous``, ``key-…``.
    """
    jwk = _only_key(jwks, kid)
    _require_public_rsa(jwk)
    key = _certified_key(jwk)
    _require_agreement(jwk, key)
    return key


def fingerprint(key: rsa.RSAPublicKey) -> str:
    """Return the hex SHA-256 of the key's SubjectPublicKeyInfo."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def require_pinned(key: rsa.RSAPublicKey, pins: Collection[str] | None) -> None:
    """Accept the key when the policy pins none, or this one.

    :raises VerificationError: ``key-not-pinned``.
    """
    if pins is not None and fingerprint(key) not in pins:
        refuse(Refusal.KEY_NOT_PINNED, got=fingerprint(key), expected=", ".join(sorted(pins)))


def require_signature(token: Token, key: rsa.RSAPublicKey) -> None:
    """Accept a token with a valid RS256 signature.

    :raises VerificationError: ``signature-invalid``.
    """
    try:
        key.verify(token.signature, token.signing_input, padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        got, expected = f"{len(token.signature)} bytes", f"a signature by key {fingerprint(key)}"
        refuse(Refusal.SIGNATURE_INVALID, got=got, expected=expected)


def _only_key(jwks: bytes | str, kid: str) -> JsonObject:
    codes = Refusal.JWKS_MALFORMED, Refusal.JWKS_DUPLICATE_KEY
    entries = JsonObject.parse(jwks, "key set", MAX_JWKS_BYTES, *codes).array("keys", max_items=1000)
    keys = [JsonObject.of(entry, "key", codes[0]) for entry in entries]
    matching = [key for key in keys if key.members.get("kid") == kid]
    if not matching:
        known = ", ".join(repr(key.members.get("kid")) for key in keys[:8]) or "a key"
        action = "fetch the key set of the policy's issuer again, once"
        refuse(Refusal.KID_UNKNOWN, got=kid, expected=known, action=action)
    if len(matching) > 1:
        refuse(Refusal.KID_AMBIGUOUS, got=f"{len(matching)} keys", expected="one key")
    return matching[0]


def _require_public_rsa(jwk: JsonObject) -> None:
    for name, expected in (("kty", "RSA"), ("use", "sig"), ("alg", "RS256")):
        got = jwk.members.get(name, None if name == "kty" else expected)
        if got != expected:
            refuse(Refusal.KEY_TYPE, f"The key's {name} does not fit.", got=repr(got), expected=expected)
    operations = jwk.members.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        refuse(Refusal.KEY_TYPE, got=repr(operations), expected="key_ops verify")
    private = sorted(PRIVATE_MEMBERS & set(jwk.members))
    if private:
        message = "The key set discloses a private key: anybody can sign with it."
        refuse(Refusal.KEY_MALFORMED, message, got=f"member {private[0]}", expected="a public key")


def _certified_key(jwk: JsonObject) -> rsa.RSAPublicKey:
    chain = jwk.members.get("x5c")
    try:
        if not isinstance(chain, list) or not all(isinstance(item, str) for item in chain):
            raise TypeError(f"x5c is {chain!r}")
        key = x509.load_der_x509_certificate(base64url.decode_standard(chain[0])).public_key()
    except Exception as error:  # the DER decides which
        refuse(Refusal.KEY_MALFORMED, got=repr(error), expected="x5c, a list of DER in base64")
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size > MAX_RSA_BITS:
        got = f"{type(key).__name__}, {getattr(key, 'key_size', 'unknown')} bits"
        refuse(Refusal.KEY_TYPE, got=got, expected=f"RSA of at most {MAX_RSA_BITS} bits")
    if key.key_size < MIN_RSA_BITS:
        refuse(Refusal.KEY_TOO_SMALL, got=f"{key.key_size} bits", expected=f"at least {MIN_RSA_BITS} bits")
    return key


def _require_agreement(jwk: JsonObject, key: rsa.RSAPublicKey) -> None:
    numbers, own = key.public_numbers(), jwk.under(Refusal.KEY_MISMATCH)
    for name, certified in (("n", numbers.n), ("e", numbers.e)):
        if name in jwk.members and int.from_bytes(own.base64url(name, MAX_RSA_BITS // 8), "big") != certified:
            refuse(Refusal.KEY_MISMATCH, got=name, expected="the same as in the certificate")
