"""Runtime data: what the enclave put into its quote's report data; see ``agent.protocol.runtime_data``."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ec

from confidential_spark.agent import protocol
from confidential_spark.verification.attestation.signing_keys import PRIVATE_MEMBERS
from confidential_spark.verification.json_object import JsonObject
from confidential_spark.verification.refusals import Refusal, refuse, require_equal

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

MAX_RUN_ID = 512
JOB_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"


@dataclass(frozen=True)
class RuntimeData:
    """Decoded runtime data of the documented shape."""

    nonce: bytes
    run_id: str
    job: protocol.JobIdentity
    key: ec.EllipticCurvePublicKey
    thumbprint: str

    @classmethod
    def parse(cls, data: bytes) -> RuntimeData:
        """Read runtime data.

        :raises VerificationError: ``runtime-data-malformed``, ``runtime-data-duplicate-key``,
            ``private-key-in-runtime-data``.
        """
        codes = Refusal.RUNTIME_DATA_MALFORMED, Refusal.RUNTIME_DATA_DUPLICATE_KEY
        members = JsonObject.parse(data, "runtime data", protocol.MAX_RUNTIME_DATA_BYTES, *codes)
        jwk = _public_jwk(members)
        members.only(("v", "nonce", "run_id", "jwk", "job")).integer("v", 1, 1)
        nonce = members.base64url("nonce", protocol.NONCE_BYTES)
        require_equal(
            members.code, len(nonce), protocol.NONCE_BYTES, "The nonce has a wrong number of bytes."
        )
        return cls(
            nonce=nonce,
            run_id=members.text("run_id", max_length=MAX_RUN_ID),
            job=_job(members.object("job")),
            key=_key(jwk),
            thumbprint=protocol.jwk_thumbprint({name: jwk.text(name) for name in ("kty", "crv", "x", "y")}),
        )


def require_nonce(nonce: bytes, expected: bytes | None, seen: Container[object]) -> None:
    """Accept our own, unused nonce.

    :raises VerificationError: ``nonce-mismatch``, ``nonce-replayed``.
    """
    if expected is not None and nonce != expected:
        action = "this is evidence of another run or try"
        refuse(Refusal.NONCE_MISMATCH, got=nonce.hex(), expected=expected.hex(), action=action)
    if any(spelling in seen for spelling in _spellings(nonce)):
        refuse(Refusal.NONCE_REPLAYED, got=nonce.hex(), expected="an unused nonce")


def require_run(
    data: RuntimeData,
    run_id: str | None,
    job: protocol.JobIdentity | None,
    job_file_sha256: str | None = None,
) -> None:
    """Accept the expected run and job, or the job's file where its arguments are not known.

    :raises VerificationError: ``run-id-mismatch``, ``job-mismatch``.
    """
    for code, got, expected in (
        (Refusal.RUN_ID_MISMATCH, data.run_id, run_id),
        (Refusal.JOB_MISMATCH, data.job, job),
        (Refusal.JOB_MISMATCH, data.job.file_sha256, job_file_sha256),
    ):
        if expected is not None:
            require_equal(code, got, expected)


def _spellings(nonce: bytes) -> Iterator[bytes | str]:
    # Callers keep used nonces as bytes or as text; no replay may slip through by its spelling.
    yield nonce
    encoded = base64.b64encode(nonce).decode(), base64.urlsafe_b64encode(nonce).decode()
    texts = [*encoded, *(text.rstrip("=") for text in encoded), nonce.hex(), nonce.hex().upper()]
    yield from texts
    yield from (text.encode() for text in texts)


def _public_jwk(members: JsonObject) -> JsonObject:
    jwk = members.object("jwk")
    private = sorted(PRIVATE_MEMBERS & set(jwk.members))
    if private:
        message = "The runtime data discloses a private key: it comes back inside every token."
        got, expected = f"member {private[0]}", "kty, crv, x, y"
        refuse(Refusal.PRIVATE_KEY_IN_RUNTIME_DATA, message, got=got, expected=expected)
    return jwk.only(("kty", "crv", "x", "y"))


def _key(jwk: JsonObject) -> ec.EllipticCurvePublicKey:
    jwk.text("kty", "EC")
    jwk.text("crv", "P-256")
    x, y = jwk.base64url("x", 32), jwk.base64url("y", 32)
    require_equal(jwk.code, (len(x), len(y)), (32, 32), "A coordinate has a wrong number of bytes.")
    numbers = ec.EllipticCurvePublicNumbers(int.from_bytes(x), int.from_bytes(y), ec.SECP256R1())
    try:
        return numbers.public_key()
    except ValueError:
        refuse(jwk.code, "The key is not a point of P-256.", got=x.hex(), expected="a point on the curve")


def _job(job: JsonObject) -> protocol.JobIdentity:
    job.only(("name", "file_sha256", "arguments_sha256"))
    return protocol.JobIdentity(
        name=job.text("name", JOB_NAME),
        file_sha256=job.hexadecimal("file_sha256", 32),
        arguments_sha256=job.hexadecimal("arguments_sha256", 32),
    )
