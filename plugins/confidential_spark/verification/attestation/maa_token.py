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
from confidential_spark.verification import strict_json
from confidential_spark.verification.json_object import JsonObject
from confidential_spark.verification.refusals import Refusal, refuse

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
            refuse(
                Refusal.TOKEN_MALFORMED,
                "The token does not have three parts.",
                got=f"{text.count('.') + 1} parts",
                expected="header.claims.signature",
            )
        header = _json_part(parts[0], "token header", Refusal.TOKEN_MALFORMED)
        claims = _json_part(parts[1], "token", Refusal.CLAIM_MALFORMED, missing=Refusal.CLAIM_MISSING)
        signature = _bytes_part(parts[2], "token signature")
        return cls(header, claims, f"{parts[0]}.{parts[1]}".encode("ascii"), signature)


def require_header(header: JsonObject, issuer: str) -> str:
    """Return the key id of an acceptable header. Its ``jku`` is compared, never fetched.

    :raises VerificationError: ``alg-not-rs256``, ``header-unknown-key``, ``typ-not-jwt``, ``jku-mismatch``,
        ``kid-malformed``.
    """
    members = header.members
    if members.get("alg") != "RS256":
        refuse(
            Refusal.ALG_NOT_RS256,
            "The algorithm is not RS256.",
            got=repr(members.get("alg")),
            expected="'RS256'",
        )
    unknown = sorted(set(members) - set(HEADER_MEMBERS))
    if unknown:
        refuse(
            Refusal.HEADER_UNKNOWN_KEY,
            "The header has an unknown member.",
            got=unknown[0],
            expected=f"only {', '.join(HEADER_MEMBERS)}",
        )
    if members.get("typ", "JWT") != "JWT":
        refuse(
            Refusal.TYP_NOT_JWT, "The token is not typed as JWT.", got=repr(members["typ"]), expected="'JWT'"
        )
    if members.get("jku") != f"{issuer}/certs":
        refuse(
            Refusal.JKU_MISMATCH,
            "The header names another provider's keys.",
            got=repr(members.get("jku")),
            expected=f"{issuer}/certs",
            action="check that the policy's issuer is the attestation provider that was used",
        )
    kid = members.get("kid")
    if not isinstance(kid, str) or not 0 < len(kid) <= 256:
        refuse(Refusal.KID_MALFORMED, "The header names no key.", got=repr(kid), expected="a string")
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
        times = JsonObject("token", claims.members, Refusal.TIME_CLAIM_MALFORMED)
        return cls(times.integer("iat"), times.integer("nbf"), times.integer("exp"))


def require_issuer(claims: JsonObject, issuer: str) -> None:
    """Accept exactly the policy's issuer.

    :raises VerificationError: ``issuer-mismatch``.
    """
    got = claims.members.get("iss")
    if got != issuer:
        refuse(Refusal.ISSUER_MISMATCH, "Another service issued the token.", got=repr(got), expected=issuer)


def require_times(times: TokenTimes, policy: AttestationPolicy, now: int) -> None:
    """Accept a token that is valid at ``now`` (seconds since 1970).

    :raises VerificationError: ``token-lifetime``, ``token-not-yet-valid``, ``token-expired``,
        ``token-too-old``.
    """
    skew = int(policy.clock_skew.total_seconds())
    longest = int(policy.max_token_lifetime.total_seconds())
    start, earliest = max(times.not_before, times.issued_at), min(times.not_before, times.issued_at)
    lifetime = times.expires_at - earliest
    if start >= times.expires_at or lifetime > longest:
        refuse(
            Refusal.TOKEN_LIFETIME,
            "The token's lifetime is wrong.",
            got=f"{lifetime} s",
            expected=f"1 to {longest} s",
        )
    if now < start - skew:
        refuse(
            Refusal.TOKEN_NOT_YET_VALID,
            "The token is not valid yet.",
            got=f"valid from {utc_text(start)}",
            expected=f"by {utc_text(now)}",
        )
    if now >= times.expires_at + skew:
        refuse(
            Refusal.TOKEN_EXPIRED,
            "The token has expired.",
            got=f"valid until {utc_text(times.expires_at)}",
            expected=f"after {utc_text(now)}",
            action="to judge a past run, give the time of that run as the clock (--at)",
        )
    oldest = policy.max_token_age
    if oldest is not None and now - times.issued_at > oldest.total_seconds() + skew:
        refuse(
            Refusal.TOKEN_TOO_OLD,
            "The token is too old.",
            got=f"{now - times.issued_at} s",
            expected=f"at most {int(oldest.total_seconds())} s",
        )


def require_issued_after(times: TokenTimes, run_started_at: datetime, policy: AttestationPolicy) -> None:
    """Accept a token that was issued after the run started; a token counts whole seconds only.

    :raises VerificationError: ``token-before-run``.
    """
    earliest = int(run_started_at.timestamp()) - int(policy.clock_skew.total_seconds())
    if times.issued_at < earliest:
        refuse(
            Refusal.TOKEN_BEFORE_RUN,
            "The token was issued before the run started.",
            got=f"issued at {utc_text(times.issued_at)}",
            expected=f"from {utc_text(earliest)}",
        )


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
        got = members.get(name)
        if expected is not None and got != expected:
            refuse(code, f"The token's {name} is not the expected one.", got=repr(got), expected=expected)
    token_id = members.get("jti")
    if not isinstance(token_id, str) or not 0 < len(token_id) <= 256:
        refuse(Refusal.TOKEN_ID_MISSING, "The token has no id.", got=repr(token_id), expected="jti, a string")
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
        refuse(
            Refusal.TOKEN_MALFORMED,
            f"The {what} is malformed.",
            got=str(error),
            expected="canonical base64url",
        )


def _json_part(text: str, what: str, code: Refusal, missing: Refusal | None = None) -> JsonObject:
    value = strict_json.loads(
        _bytes_part(text, what),
        what=what,
        max_bytes=MAX_TOKEN_BYTES,
        malformed=Refusal.TOKEN_MALFORMED,
        duplicate=Refusal.TOKEN_DUPLICATE_KEY,
    )
    object_ = JsonObject.of(value, what, Refusal.TOKEN_MALFORMED)
    return JsonObject(what, object_.members, code, missing)
