"""Tokens of Microsoft Azure Attestation: decoding, header, times, kind.

Sources: RFC 7515 and RFC 7519 (JWS, JWT), RFC 8725 (JWT best practice), Microsoft Learn *Azure Attestation
claim sets*. The deprecated aliases (``sgx-mrenclave``, ``is-debuggable`` …) are never read: the text of a
tenant's attestation policy can forge them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from confidential_spark.agent.protocol import MAX_TOKEN_BYTES
from confidential_spark.core import base64url
from confidential_spark.verification.json_object import JsonObject
from confidential_spark.verification.refusals import Refusal, refuse, require_equal

if TYPE_CHECKING:
    from confidential_spark.verification.policy.policy import AttestationPolicy

_LAST_SECOND = 253_402_300_799  # 9999-12-31T23:59:59Z
HEADER_MEMBERS = ("alg", "jku", "kid", "typ")


@dataclass(frozen=True)
class Token:
    """A decoded token; nothing in it is trusted before its signature is verified."""

    header: JsonObject
    claims: JsonObject
    signing_input: bytes
    signature: bytes

    @classmethod
    def decode(cls, text: str) -> Token:
        """Split and decode a compact JWS.

        :raises VerificationError: ``token-malformed`` or ``token-duplicate-key``.
        """
        parts = text.split(".", 3)
        if len(parts) != 3:
            got = f"{text.count('.') + 1} parts"
            refuse(Refusal.TOKEN_MALFORMED, got=got, expected="header.claims.signature")
        header, claims = _json_part(parts[0], "token header"), _json_part(parts[1], "token")
        signing_input = f"{parts[0]}.{parts[1]}".encode("ascii")
        claims = claims.under(Refusal.CLAIM_MALFORMED, missing=Refusal.CLAIM_MISSING)
        return cls(header, claims, signing_input, _bytes_part(parts[2], "token signature"))


def require_header(header: JsonObject, issuer: str) -> str:
    """Return the key id of an acceptable header. Its ``jku`` is compared, never fetched.

    :raises VerificationError: ``alg-not-rs256``, ``header-unknown-key``, ``typ-not-jwt``, ``jku-mismatch``,
        ``kid-malformed``.
    """
    members = header.members
    require_equal(Refusal.ALG_NOT_RS256, members.get("alg"), "RS256")
    header.under(Refusal.HEADER_UNKNOWN_KEY).only((), optional=HEADER_MEMBERS)
    require_equal(Refusal.TYP_NOT_JWT, members.get("typ", "JWT"), "JWT")
    if members.get("jku") != f"{issuer}/certs":
        action = "check that the policy's issuer is the attestation provider that was used"
        got, expected = repr(members.get("jku")), f"{issuer}/certs"
        refuse(Refusal.JKU_MISMATCH, got=got, expected=expected, action=action)
    kid = members.get("kid")
    if not isinstance(kid, str) or not 0 < len(kid) <= 256:
        refuse(Refusal.KID_MALFORMED, got=repr(kid), expected="a string of 1 to 256 characters")
    return kid


@dataclass(frozen=True)
class TokenTimes:
    """The token's times in whole seconds since 1970."""

    issued_at: int
    not_before: int
    expires_at: int

    @classmethod
    def of(cls, claims: JsonObject) -> TokenTimes:
        """Read iat, nbf and exp.

        :raises VerificationError: ``time-claim-malformed``.
        """
        times = claims.under(Refusal.TIME_CLAIM_MALFORMED)
        return cls(times.integer("iat"), times.integer("nbf"), times.integer("exp"))


def require_issuer(claims: JsonObject, issuer: str) -> None:
    """Accept exactly the policy's issuer.

    :raises VerificationError: ``issuer-mismatch``.
    """
    require_equal(Refusal.ISSUER_MISMATCH, claims.members.get("iss"), issuer)


def require_times(times: TokenTimes, policy: AttestationPolicy, now: int) -> None:
    """Accept a token that is valid at ``now`` (seconds since 1970).

    :raises VerificationError: ``token-lifetime``, ``token-not-yet-valid``, ``token-expired``,
        ``token-too-old``.
    """
    skew = int(policy.clock_skew.total_seconds())
    longest = int(policy.max_token_lifetime.total_seconds())
    start, earliest = max(times.not_before, times.issued_at), min(times.not_before, times.issued_at)
    lifetime, age = times.expires_at - earliest, now - times.issued_at
    if start >= times.expires_at or lifetime > longest:
        refuse(Refusal.TOKEN_LIFETIME, got=f"{lifetime} s", expected=f"1 to {longest} s")
    if now < start - skew:
        got, expected = f"valid from {utc_text(start)}", f"by {utc_text(now)}"
        refuse(Refusal.TOKEN_NOT_YET_VALID, got=got, expected=expected)
    if now >= times.expires_at + skew:
        action = "to judge a past run, give the time of that run as the clock (--at)"
        got, expected = f"valid until {utc_text(times.expires_at)}", f"after {utc_text(now)}"
        refuse(Refusal.TOKEN_EXPIRED, got=got, expected=expected, action=action)
    oldest = policy.max_token_age
    if oldest is not None and age > oldest.total_seconds() + skew:
        refuse(Refusal.TOKEN_TOO_OLD, got=f"{age} s", expected=f"at most {int(oldest.total_seconds())} s")


def require_issued_after(times: TokenTimes, run_started_at: datetime, policy: AttestationPolicy) -> None:
    """Accept a token that was issued after the run started; a token counts whole seconds only.

    :raises VerificationError: ``token-before-run``.
    """
    earliest = int(run_started_at.timestamp()) - int(policy.clock_skew.total_seconds())
    if times.issued_at < earliest:
        got, expected = f"issued at {utc_text(times.issued_at)}", f"from {utc_text(earliest)}"
        refuse(Refusal.TOKEN_BEFORE_RUN, got=got, expected=expected)


def require_kind(claims: JsonObject, policy_hash: str | None) -> str:
    """Return the id of a token that attests an SGX enclave.

    :raises VerificationError: ``attestation-type``, ``attestation-version``, ``policy-hash-mismatch``,
        ``token-id-missing``.
    """
    members = claims.members
    for name, expected, code in (
        ("x-ms-attestation-type", "sgx", Refusal.ATTESTATION_TYPE),
        ("x-ms-ver", "1.0", Refusal.ATTESTATION_VERSION),
        ("x-ms-policy-hash", policy_hash, Refusal.POLICY_HASH_MISMATCH),
    ):
        if expected is not None and members.get(name) != expected:
            refuse(code, got=repr(members.get(name)), expected=expected)
    token_id = members.get("jti")
    if not isinstance(token_id, str) or not 0 < len(token_id) <= 256:
        refuse(Refusal.TOKEN_ID_MISSING, got=repr(token_id), expected="jti, a string")
    return token_id


def utc_text(seconds: int) -> str:
    """Return seconds since 1970 as a UTC time, or as they are when no calendar reaches them."""
    if seconds > _LAST_SECOND:
        return f"{seconds} s"
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _bytes_part(text: str, what: str) -> bytes:
    try:
        return base64url.decode(text)
    except ValueError as error:
        message = f"The {what} is malformed."
        refuse(Refusal.TOKEN_MALFORMED, message, got=str(error), expected="canonical base64url")


def _json_part(text: str, what: str) -> JsonObject:
    codes = Refusal.TOKEN_MALFORMED, Refusal.TOKEN_DUPLICATE_KEY
    return JsonObject.parse(_bytes_part(text, what), what, MAX_TOKEN_BYTES, *codes)
