"""Runtime data: what the enclave put into its quote's report data; see ``agent.protocol.runtime_data``."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ec

from confidential_spark.agent.protocol import (
    MAX_RUNTIME_DATA_BYTES,
    NONCE_BYTES,
    JobIdentity,
    jwk_thumbprint,
)
from confidential_spark.verification import strict_json
from confidential_spark.verification.attestation.signing_keys import PRIVATE_MEMBERS
from confidential_spark.verification.json_object import JsonObject
from confidential_spark.verification.refusals import Refusal, refuse

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

MAX_RUN_ID = 512
JOB_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"


@dataclass(frozen=True)
class RuntimeData:
    """Decoded runtime data of the documented shape."""

    nonce: bytes
    run_id: str
    job: JobIdentity
    key: ec.EllipticCurvePublicKey
    thumbprint: str

    @classmethod
    def parse(cls, data: bytes) -> RuntimeData:
        """Read runtime data.

        :raises VerificationError: ``runtime-data-malformed``, ``runtime-data-duplicate-key``,
            ``private-key-in-runtime-data``.
        """
        value = strict_json.loads(
            data,
            what="runtime data",
            max_bytes=MAX_RUNTIME_DATA_BYTES,
            malformed=Refusal.RUNTIME_DATA_MALFORMED,
            duplicate=Refusal.RUNTIME_DATA_DUPLICATE_KEY,
        )
        members = JsonObject.of(value, "runtime data", Refusal.RUNTIME_DATA_MALFORMED)
        jwk = _public_jwk(members)
        members.only(("v", "nonce", "run_id", "jwk", "job")).integer("v", 1, 1)
        nonce = members.base64url("nonce", NONCE_BYTES)
        if len(nonce) != NONCE_BYTES:
            refuse(
                Refusal.RUNTIME_DATA_MALFORMED,
                "The nonce has a wrong length.",
                got=f"{len(nonce)} bytes",
                expected=f"{NONCE_BYTES} bytes",
            )
        return cls(
            nonce=nonce,
            run_id=members.text("run_id", max_length=MAX_RUN_ID),
            job=_job(members.object("job")),
            key=_key(jwk),
            thumbprint=jwk_thumbprint({name: jwk.text(name) for name in ("kty", "crv", "x", "y")}),
        )


def require_nonce(nonce: bytes, expected: bytes | None, seen: Container[object]) -> None:
    """Accept our own, unused nonce.

    :raises VerificationError: ``nonce-mismatch``, ``nonce-replayed``.
    """
    if expected is not None and nonce != expected:
        refuse(
            Refusal.NONCE_MISMATCH,
            "The nonce was not minted for this run.",
            got=nonce.hex(),
            expected=expected.hex(),
            action="this is evidence of another run or try",
        )
    if any(spelling in seen for spelling in _spellings(nonce)):
        refuse(
            Refusal.NONCE_REPLAYED, "The nonce was used before.", got=nonce.hex(), expected="an unused nonce"
        )


def require_run(
    data: RuntimeData, run_id: str | None, job: JobIdentity | None, job_file_sha256: str | None = None
) -> None:
    """Accept the expected run and job, or the job's file where its arguments are not known.

    :raises VerificationError: ``run-id-mismatch``, ``job-mismatch``.
    """
    if run_id is not None and data.run_id != run_id:
        refuse(Refusal.RUN_ID_MISMATCH, "This is evidence of another run.", got=data.run_id, expected=run_id)
    if job is not None and data.job != job:
        refuse(Refusal.JOB_MISMATCH, "Another job ran.", got=repr(data.job), expected=repr(job))
    if job_file_sha256 is not None and data.job.file_sha256 != job_file_sha256:
        refuse(
            Refusal.JOB_MISMATCH,
            "Another job file ran.",
            got=f"SHA-256 {data.job.file_sha256}",
            expected=f"SHA-256 {job_file_sha256}",
        )


def _spellings(nonce: bytes) -> Iterator[bytes | str]:
    # Callers keep used nonces as bytes or as text; no replay may slip through by its spelling.
    standard = base64.b64encode(nonce).decode("ascii")
    url_safe = base64.urlsafe_b64encode(nonce).decode("ascii")
    yield nonce
    for padded in (standard, url_safe):
        yield from _as_text_and_bytes(padded)
        yield from _as_text_and_bytes(padded.rstrip("="))
    yield from _as_text_and_bytes(nonce.hex())
    yield from _as_text_and_bytes(nonce.hex().upper())


def _as_text_and_bytes(text: str) -> tuple[str, bytes]:
    return text, text.encode("ascii")


def _public_jwk(members: JsonObject) -> JsonObject:
    jwk = members.object("jwk")
    private = sorted(PRIVATE_MEMBERS & set(jwk.members))
    if private:
        refuse(
            Refusal.PRIVATE_KEY_IN_RUNTIME_DATA,
            "The runtime data discloses a private key: it comes back inside every token.",
            got=f"member {private[0]}",
            expected="kty, crv, x, y",
        )
    return jwk.only(("kty", "crv", "x", "y"))


def _key(jwk: JsonObject) -> ec.EllipticCurvePublicKey:
    jwk.text("kty", "EC")
    jwk.text("crv", "P-256")
    x, y = jwk.base64url("x", 32), jwk.base64url("y", 32)
    if len(x) != 32 or len(y) != 32:
        refuse(
            jwk.code,
            "A coordinate has a wrong length.",
            got=f"{len(x)} and {len(y)} bytes",
            expected="32 bytes each",
        )
    try:
        return ec.EllipticCurvePublicNumbers(
            int.from_bytes(x, "big"), int.from_bytes(y, "big"), ec.SECP256R1()
        ).public_key()
    except ValueError:
        refuse(jwk.code, "The key is not a point of P-256.", got=x.hex(), expected="a point on the curve")


def _job(job: JsonObject) -> JobIdentity:
    job.only(("name", "file_sha256", "arguments_sha256"))
    return JobIdentity(
        name=job.text("name", JOB_NAME),
        file_sha256=job.hexadecimal("file_sha256", 32),
        arguments_sha256=job.hexadecimal("arguments_sha256", 32),
    )
