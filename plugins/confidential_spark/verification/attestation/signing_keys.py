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
from confidential_spark.verification import strict_json
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
    _require_signing_rsa(jwk)
    _require_public(jwk)
    key = _certified_key(jwk)
    _require_agreement(jwk, key)
    if key.key_size < MIN_RSA_BITS:
        refuse(
            Refusal.KEY_TOO_SMALL,
            "The signing key is too small.",
            got=f"{key.key_size} bits",
            expected=f"at least {MIN_RSA_BITS} bits",
        )
    return key


def fingerprint(key: rsa.RSAPublicKey) -> str:
    """Return the hex SHA-256 of the key's SubjectPublicKeyInfo."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def require_pinned(key: rsa.RSAPublicKey, pins: Collection[str] | None) -> None:
    """Accept the key when the policy pins none, or this one.

    :raises VerificationError: ``key-not-pinned``.
    """
    if pins is not None and fingerprint(key) not in pins:
        refuse(
            Refusal.KEY_NOT_PINNED,
            "The policy does not trust this signing key.",
            got=fingerprint(key),
            expected=", ".join(sorted(pins)),
        )


def require_signature(token: Token, key: rsa.RSAPublicKey) -> None:
    """Accept a token with a valid RS256 signature.

    :raises VerificationError: ``signature-invalid``.
    """
    try:
        key.verify(token.signature, token.signing_input, padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        refuse(
            Refusal.SIGNATURE_INVALID,
            "The token was changed, or another key signed it.",
            got=f"{len(token.signature)} bytes that do not verify",
            expected=f"a signature by key {fingerprint(key)}",
        )


def _only_key(jwks: bytes | str, kid: str) -> JsonObject:
    value = strict_json.loads(
        jwks,
        what="key set",
        max_bytes=MAX_JWKS_BYTES,
        malformed=Refusal.JWKS_MALFORMED,
        duplicate=Refusal.JWKS_DUPLICATE_KEY,
    )
    entries = JsonObject.of(value, "key set", Refusal.JWKS_MALFORMED).array("keys", max_items=1000)
    keys = [JsonObject.of(entry, "key", Refusal.JWKS_MALFORMED) for entry in entries]
    matching = [key for key in keys if key.members.get("kid") == kid]
    if not matching:
        refuse(
            Refusal.KID_UNKNOWN,
            "No trusted key has this id.",
            got=kid,
            expected=", ".join(repr(key.members.get("kid")) for key in keys[:8]) or "a key",
            action="fetch the issuer's key set again, once",
        )
    if len(matching) > 1:
        refuse(
            Refusal.KID_AMBIGUOUS,
            "Several keys have this id.",
            got=f"{len(matching)} keys",
            expected="one key",
        )
    return matching[0]


def _require_signing_rsa(jwk: JsonObject) -> None:
    for name, expected in (("kty", "RSA"), ("use", "sig"), ("alg", "RS256")):
        got = jwk.members.get(name, None if name == "kty" else expected)
        if got != expected:
            refuse(Refusal.KEY_TYPE, f"The key's {name} does not fit.", got=repr(got), expected=expected)

    operations = jwk.members.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        refuse(
            Refusal.KEY_TYPE, "The key is not for verifying.", got=repr(operations), expected="key_ops verify"
        )


def _require_public(jwk: JsonObject) -> None:
    private = sorted(PRIVATE_MEMBERS & set(jwk.members))
    if private:
        refuse(
            Refusal.KEY_MALFORMED,
            "The key set discloses a private key: anybody can sign with it.",
            got=f"member {private[0]}",
            expected="a public key",
        )


def _certified_key(jwk: JsonObject) -> rsa.RSAPublicKey:
    chain = jwk.members.get("x5c")
    if not isinstance(chain, list) or not chain or not all(isinstance(item, str) for item in chain):
        refuse(
            Refusal.KEY_MALFORMED,
            "The key has no certificate.",
            got=repr(chain),
            expected="x5c, a list of strings",
        )
    try:
        key = x509.load_der_x509_certificate(base64url.decode_standard(chain[0])).public_key()
    except Exception as error:  # ValueError, UnsupportedAlgorithm and others, as the DER decides
        refuse(
            Refusal.KEY_MALFORMED,
            "The key's certificate is unreadable.",
            got=repr(error),
            expected="DER in base64",
        )
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size > MAX_RSA_BITS:
        refuse(
            Refusal.KEY_TYPE,
            "The certificate holds another kind of key.",
            got=f"{type(key).__name__}, {getattr(key, 'key_size', 'unknown')} bits",
            expected=f"RSA of at most {MAX_RSA_BITS} bits",
        )
    return key


def _require_agreement(jwk: JsonObject, key: rsa.RSAPublicKey) -> None:
    numbers = key.public_numbers()
    for name, certified in (("n", numbers.n), ("e", numbers.e)):
        if name not in jwk.members:
            continue
        own = JsonObject("key", jwk.members, Refusal.KEY_MISMATCH).base64url(
            name, max_bytes=MAX_RSA_BITS // 8
        )
        if int.from_bytes(own, "big") != certified:
            refuse(
                Refusal.KEY_MISMATCH,
                f"The key's {name} differs from its certificate.",
                got=name,
                expected="the same",
            )
