"""Simulated enclaves that attest to each other, for tests."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from confidential_spark.agent.attestation.attest import Attestation
from confidential_spark.agent.attestation.measurement import Measurement
from confidential_spark.agent.attestation.quote import software_quote
from confidential_spark.agent.executors.peer import AttestationAnchor, Expected, PeerAttestation, verify_peer
from confidential_spark.agent.executors.secret_release import Grant, request_secret
from confidential_spark.agent.protocol import (
    JobIdentity,
    b64url,
    canonical_json,
    executor_role,
    public_jwk,
    report_data,
    runtime_data,
    sha256_hex,
)
from confidential_spark.simulation.hardware.keys import token_signing_key
from confidential_spark.simulation.service.tokens import ISSUER, jwks, sign_token, token_claims
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

OURS = Measurement(mrenclave="11" * 32, mrsigner="22" * 32, product_id=1, svn=3)
NONCE = bytes(range(32))
DRIVER_JOB = JobIdentity("nytaxi", "aa" * 32, "bb" * 32)
RUN_ID = "nytaxi_aks/manual__1"
NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
ANCHOR = AttestationAnchor(
    issuer=ISSUER, token_signing_keys=(), mrsigner=OURS.mrsigner, product_id=OURS.product_id, svn=OURS.svn
)
EXPECTED = Expected(ANCHOR, OURS.mrenclave, NONCE, RUN_ID, int(NOW.timestamp()))
JWKS = canonical_json(jwks())


def spki_sha256() -> str:
    """Return the name under which an image pins the simulated provider's key."""
    key = token_signing_key().public_key()
    return sha256_hex(
        key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


@dataclass(frozen=True)
class Enclave:
    """One enclave and what it says about itself; ``claims`` replaces claims of its token."""

    measurement: Measurement = OURS
    job: JobIdentity = field(default_factory=lambda: executor_role("1"))
    nonce: bytes = NONCE
    run_id: str = RUN_ID
    issued_at: datetime = NOW - timedelta(seconds=1)
    claims: dict[str, Any] = field(default_factory=dict)
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def attest(self) -> Attestation:
        jwk = public_jwk(self.key.public_key())
        data = runtime_data(nonce=self.nonce, run_id=self.run_id, jwk=jwk, job=self.job)
        quote = software_quote(self.measurement).quote(report_data(data))
        claims = token_claims(quote, data, now=self.issued_at) | self.claims
        return Attestation(quote, sign_token(claims), data, "simulated")

    def show(self) -> PeerAttestation:
        attestation = self.attest()
        return PeerAttestation(attestation.quote, attestation.token, attestation.runtime_data)

    def with_measurement(self, **changes: Any) -> Enclave:
        return replace(self, measurement=replace(self.measurement, **changes))


def verify(peer: PeerAttestation) -> tuple[JobIdentity, ec.EllipticCurvePublicKey]:
    return verify_peer(peer, JWKS, EXPECTED)


def ask(port: int, executor: Enclave, executor_id: str = "1", *, own=None, trusts=verify) -> Grant:
    attestation = executor.attest() if own is None else own
    return request_secret(
        ("127.0.0.1", port),
        executor_id=executor_id,
        own=attestation.record(),
        runtime=attestation.runtime_data,
        key=executor.key,
        verify=trusts,
    )


def framed(message) -> bytes:
    data = json.dumps(message).encode()
    return len(data).to_bytes(4, "big") + data


def part(value) -> str:
    return b64url(json.dumps(value).encode())
