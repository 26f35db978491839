"""The formats that cross the enclave's border: runtime data, in-toto statement, DSSE envelope.

The enclave writes them and the verifier reads them, so they are defined once, here, in the lowest layer.

Sources: in-toto Attestation Framework v1 (Statement), DSSE v1.0.2 (envelope, PAE), RFC 7517/7638 (JWK,
thumbprint), RFC 8785 (the subset of canonical JSON that has no floats).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cryptography.hazmat.primitives.asymmetric import ec

NONCE_BYTES = 32
REPORT_DATA_BYTES = 64
# The enclave must not sign what no verifier reads, so both sides take their limits from here.
MAX_QUOTE_BYTES = 32 * 1024
MAX_RUNTIME_DATA_BYTES = 16 * 1024
MAX_TOKEN_BYTES = 128 * 1024
MAX_EXECUTORS = 128
MAX_STATEMENT_BYTES = 4 * 1024 * 1024
# What the runtime data says of enclaves that run no job; so no job has these names.
ATTEST_JOB, EXECUTOR_JOB = "attest", "executor"
RESERVED_JOBS = frozenset({ATTEST_JOB, EXECUTOR_JOB})
# From 2009-01, when the TLC's records begin.
MONTH_PATTERN = r"^(2009|20[1-9][0-9])-(0[1-9]|1[0-2])$"
# What argparse takes for --month, and a plain search for --month does not find.
ABBREVIATED_MONTH = re.compile(r"--(m|mo|mon|mont)(=|\Z)")
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:confidential-spark:run:v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"

TRUST_HARDWARE = "hardware"
TRUST_SIMULATED = "simulated"
SIMULATED_NOTICE = "SIMULATED – proves nothing about hardware"


def b64url(data: bytes) -> str:
    """Return unpadded base64url (RFC 4648 §5)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def canonical_json(value: Any) -> bytes:
    """Return the one byte string for a JSON value: sorted keys, no white space, UTF-8.

    :raises ValueError: for floats that are not finite.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def sha256_hex(data: bytes) -> str:
    """Return the lower-case hex SHA-256 of ``data``."""
    return hashlib.sha256(data).hexdigest()


def public_jwk(key: ec.EllipticCurvePublicKey) -> dict[str, str]:
    """Return the public P-256 key as a JWK with exactly ``kty``, ``crv``, ``x``, ``y``."""
    numbers = key.public_numbers()
    x, y = (b64url(coordinate.to_bytes(32, "big")) for coordinate in (numbers.x, numbers.y))
    return {"kty": "EC", "crv": "P-256", "x": x, "y": y}


def jwk_thumbprint(jwk: Mapping[str, str]) -> str:
    """Return the RFC 7638 SHA-256 thumbprint of an EC JWK, base64url."""
    members = {name: jwk[name] for name in ("crv", "kty", "x", "y")}
    return b64url(hashlib.sha256(canonical_json(members)).digest())


def arguments_sha256(arguments: Sequence[str]) -> str:
    """Return the hex SHA-256 of a job's argument list, as it stands in the runtime data."""
    return sha256_hex(canonical_json(list(arguments)))


def option_values(arguments: Sequence[str], name: str) -> list[str]:
    """Return every value that a command line gives an option, as ``--name value`` or ``--name=value``."""
    following = zip(arguments, [*arguments, ""][1:], strict=True)
    return [
        value if argument == name else argument.removeprefix(f"{name}=")
        for argument, value in following
        if argument == name or argument.startswith(f"{name}=")
    ]


@dataclass(frozen=True)
class JobIdentity:
    """Which program ran: its name, and SHA-256 (hex) of its file and of its arguments."""

    name: str
    file_sha256: str
    arguments_sha256: str


def executor_role(executor_id: str) -> JobIdentity:
    """Return what the runtime data of an executor's enclave says in place of a job."""
    return JobIdentity(EXECUTOR_JOB, sha256_hex(b""), arguments_sha256([executor_id]))


def runtime_data(*, nonce: bytes, run_id: str, jwk: Mapping[str, str], job: JobIdentity) -> bytes:
    """Return the canonical bytes whose SHA-256 goes into the quote's report data."""
    members = {"v": 1, "nonce": b64url(nonce), "run_id": run_id, "jwk": dict(jwk), "job": asdict(job)}
    return canonical_json(members)


def report_data(runtime: bytes) -> bytes:
    """Return the quote's 64 bytes of report data: SHA-256 of the runtime data, then 32 zero bytes."""
    return hashlib.sha256(runtime).digest() + bytes(REPORT_DATA_BYTES - 32)


def statement(subjects: Mapping[str, str], predicate: Mapping[str, Any]) -> bytes:
    """Return an in-toto Statement v1 over files (name → hex SHA-256), as canonical JSON."""
    subject = [{"name": name, "digest": {"sha256": subjects[name]}} for name in sorted(subjects)]
    types = {"_type": STATEMENT_TYPE, "predicateType": PREDICATE_TYPE}
    return canonical_json(types | {"subject": subject, "predicate": dict(predicate)})


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """Return DSSE's PAE, the bytes that are signed."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sign_envelope(payload: bytes, key: ec.EllipticCurvePrivateKey) -> dict[str, Any]:
    """Return a DSSE envelope with one ECDSA P-256/SHA-256 signature (DER)."""
    # Imported here: DAG files read these formats' names, and need no cryptography to be parsed.
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    signature = key.sign(pre_authentication_encoding(PAYLOAD_TYPE, payload), ec.ECDSA(hashes.SHA256()))
    encoded, sig = (base64.b64encode(data).decode("ascii") for data in (payload, signature))
    keyid = jwk_thumbprint(public_jwk(key.public_key()))
    return {"payloadType": PAYLOAD_TYPE, "payload": encoded, "signatures": [{"keyid": keyid, "sig": sig}]}
