"""Evidence bundles as a simulated run makes them, with a hook at every stage of their making.

Each hook is a function from the genuine value to the one to go on with. What is made later (signatures,
hashes) is made over the changed value, so that a bundle is wrong in exactly one way.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from confidential_spark.agent import protocol
from confidential_spark.agent.protocol import SIMULATED_NOTICE, b64url, canonical_json
from confidential_spark.simulation.enclave.software_quote import EnclaveIdentity, SoftwareQuote
from confidential_spark.simulation.hardware import authority as development_ca
from confidential_spark.simulation.hardware.keys import p256_key, token_signing_key
from confidential_spark.simulation.service import tokens as attestation_tokens
from confidential_spark.verification import Policy, verify_attestation, verify_evidence
from confidential_spark.verification.evidence.bundle import evidence_bundle
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from confidential_spark.verification import VerificationReport
    from cryptography.hazmat.primitives.asymmetric import ec

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
NONCE = hashlib.sha256(b"nonce").digest()
RUN_ID = "nytaxi_local/manual__2018-05-01T00:00:00+00:00"
ARGUMENTS = ["--month", "2018-05"]
JOB = protocol.JobIdentity(
    "nytaxi", hashlib.sha256(b"job file").hexdigest(), protocol.arguments_sha256(ARGUMENTS)
)
IDENTITY = EnclaveIdentity(
    hashlib.sha256(b"enclave").digest(), hashlib.sha256(b"signer").digest(), product_id=7, svn=3
)
RESULTS = {"summary.json": b'{"trips": 1}', "by_hour/part-0.parquet": b"PAR1 PAR1", "empty.csv": b""}
ISSUER = attestation_tokens.ISSUER

POLICY: dict[str, Any] = {
    "name": "test",
    "version": 1,
    "trust": "simulated",
    "attestation": {"issuer": ISSUER},
    "identities": {
        "mrenclave": {"allow": [IDENTITY.mrenclave.hex()]},
        "mrsigner": {"allow": [IDENTITY.mrsigner.hex()]},
        "product_id": {"allow": [7]},
        "svn": {"minimum": 3},
    },
    "dcap": {
        "roots": [development_ca.root_certificate_pem()],
        "accepted_tcb_statuses": ["UpToDate"],
        "max_collateral_age": "30d",
        "allow_dynamic_platform": True,
    },
}


def same(value: Any) -> Any:
    """Leave a stage as it is."""
    return value


@dataclass(frozen=True)
class Hooks:
    """The stages of a bundle's making, in order."""

    runtime: Callable[[dict[str, Any]], dict[str, Any]] = same
    runtime_bytes: Callable[[bytes], bytes] = same
    report_data: Callable[[bytes], bytes] = same
    quote: Callable[[bytes], bytes] = same
    claims: Callable[[dict[str, Any]], dict[str, Any]] = same
    header: Callable[[dict[str, Any]], dict[str, Any]] = same
    claims_bytes: Callable[[bytes], bytes] = same
    header_bytes: Callable[[bytes], bytes] = same
    token: Callable[[str], str] = same
    predicate: Callable[[dict[str, Any]], dict[str, Any]] = same
    statement: Callable[[dict[str, Any]], dict[str, Any]] = same
    payload: Callable[[bytes], bytes] = same
    envelope: Callable[[dict[str, Any]], dict[str, Any]] = same
    collateral: Callable[[dict[str, Any]], dict[str, Any]] = same
    jwks: Callable[[dict[str, Any]], dict[str, Any]] = same
    bundle: Callable[[dict[str, Any]], dict[str, Any]] = same
    evidence: Callable[[bytes], bytes] = same
    results: Callable[[dict[str, bytes]], dict[str, bytes]] = same
    policy: Callable[[dict[str, Any]], dict[str, Any]] = same


@dataclass(frozen=True)
class Bundle:
    """A bundle and everything it was made of."""

    evidence: bytes
    results: dict[str, bytes]
    policy: Mapping[str, Any]
    token: str
    jwks: dict[str, Any]
    quote: bytes
    runtime_data: bytes
    collateral: dict[str, Any]
    now: datetime = NOW + timedelta(minutes=1)
    expected: dict[str, Any] = field(
        default_factory=lambda: {
            "expected_nonce": NONCE,
            "expected_run_id": RUN_ID,
            "expected_job": JOB,
            "run_started_at": NOW - timedelta(seconds=5),
        }
    )

    def verify(self, **changes: Any) -> VerificationReport:
        arguments = {
            "evidence": self.evidence,
            "results": self.results,
            "jwks": self.jwks,
            "policy": self.policy,
            "now": self.now,
            **self.expected,
        }
        return verify_evidence(**(arguments | changes))

    def verify_attestation(self, **changes: Any) -> VerificationReport:
        arguments = {
            "token": self.token,
            "jwks": self.jwks,
            "quote": self.quote,
            "runtime_data": self.runtime_data,
            "collateral": self.collateral,
            "policy": self.policy,
            "now": self.now,
            **self.expected,
        }
        return verify_attestation(**(arguments | changes))


def make_bundle(
    *,
    identity: EnclaveIdentity = IDENTITY,
    key: ec.EllipticCurvePrivateKey | None = None,
    signing_key: rsa.RSAPrivateKey | None = None,
    quote_with: Callable[[EnclaveIdentity, bytes], bytes] | None = None,
    collateral_options: Mapping[str, Any] | None = None,
    nonce: bytes = NONCE,
    run_id: str = RUN_ID,
    **hooks: Any,
) -> Bundle:
    """Return a genuine bundle, changed by the hooks that are given (see :class:`Hooks`)."""
    stage = Hooks(**hooks)
    key = key or p256_key("tests' run key")
    runtime = stage.runtime_bytes(canonical_json(stage.runtime(runtime_members(key, nonce, run_id))))
    report_data = stage.report_data(protocol.report_data(runtime))
    make_quote = quote_with or (lambda who, data: SoftwareQuote(who).quote(data))
    quote = stage.quote(make_quote(identity, report_data))
    token = stage.token(_token(quote, runtime, stage, signing_key or token_signing_key()))
    envelope = _envelope(quote, token, runtime, nonce, run_id, key, stage)
    collateral = stage.collateral(development_ca.collateral(NOW, **(collateral_options or {})))
    jwks = stage.jwks(attestation_tokens.jwks())
    plain = evidence_bundle(envelope, notice=SIMULATED_NOTICE, collateral=collateral, jwks=jwks)
    evidence = stage.evidence(json.dumps(stage.bundle(json.loads(plain))).encode())
    return Bundle(
        evidence=evidence,
        results=stage.results(dict(RESULTS)),
        policy=stage.policy(json.loads(json.dumps(POLICY))),
        token=token,
        jwks=jwks,
        quote=quote,
        runtime_data=runtime,
        collateral=collateral,
    )


def run_report(bundle: Bundle, **figures: Any) -> dict[str, Any]:
    """Return the members of the pipeline's `report.json` that a verifier compares with the evidence."""
    facts = json.loads(json.dumps(bundle.verify().to_dict()["facts"]))
    measured = ("mrenclave", "mrsigner", "product_id", "svn")
    return {
        "run_id": facts["run_id"],
        "job": facts["job_name"],
        "month": facts["month"],
        "trust": "simulated",
        "notice": SIMULATED_NOTICE,
        "image_digest": facts["image_digest"],
        "measurement": {name: facts[name] for name in measured},
        "figures": figures,
        "verification": {"trust": "simulated", "facts": facts},
    }


def runtime_members(key: ec.EllipticCurvePrivateKey, nonce: bytes, run_id: str) -> dict[str, Any]:
    jwk = protocol.public_jwk(key.public_key())
    members: dict[str, Any] = json.loads(protocol.runtime_data(nonce=nonce, run_id=run_id, jwk=jwk, job=JOB))
    return members


def sign_compact(header: bytes, claims: bytes, key: rsa.RSAPrivateKey | None = None) -> str:
    """Return an RS256 token over any header and claims bytes."""
    signing_input = f"{b64url(header)}.{b64url(claims)}"
    signature = (key or token_signing_key()).sign(signing_input.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{signing_input}.{b64url(signature)}"


@cache
def rsa_key(bits: int = 2048, label: str = "") -> rsa.RSAPrivateKey:
    """Return a key of this size; the same one for the same label."""
    return rsa.generate_private_key(65537, bits)


def jwk(key: Any, kid: str | None = None) -> dict[str, Any]:
    """Return a key as MAA serves it: kid, kty and a self-signed certificate."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, ISSUER)])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, NOW, NOW + timedelta(days=1))
    der = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)
    return {
        "kid": kid or attestation_tokens.key_id(),
        "kty": "RSA",
        "x5c": [base64.b64encode(der).decode()],
    }


def _token(quote: bytes, runtime: bytes, stage: Hooks, key: rsa.RSAPrivateKey) -> str:
    claims = stage.claims(attestation_tokens.token_claims(quote, runtime, now=NOW))
    header = {"alg": "RS256", "jku": f"{ISSUER}/certs", "kid": attestation_tokens.key_id(), "typ": "JWT"}
    return sign_compact(
        stage.header_bytes(canonical_json(stage.header(header))),
        stage.claims_bytes(canonical_json(claims)),
        key,
    )


def _envelope(
    quote: bytes,
    token: str,
    runtime: bytes,
    nonce: bytes,
    run_id: str,
    key: ec.EllipticCurvePrivateKey,
    stage: Hooks,
) -> dict[str, Any]:
    predicate = {
        "v": 1,
        "trust": "simulated",
        "notice": SIMULATED_NOTICE,
        "run_id": run_id,
        "nonce": b64url(nonce),
        "job": {
            "name": JOB.name,
            "file_sha256": JOB.file_sha256,
            "arguments": ARGUMENTS,
            "arguments_sha256": JOB.arguments_sha256,
        },
        "month": "2018-05",
        "inputs": [{"uri": "file:///data/part-0.parquet", "bytes": 4, "sha256": "ab" * 32}],
        "rows": {"input": 3, "accepted": 2, "rejected": 1},
        "image_digest": "sha256:" + "cd" * 32,
        "started_at": "2026-11-23T09:59:58Z",
        "finished_at": "2026-11-23T10:00:30Z",
        "quote": b64url(quote),
        "token": token,
        "runtime_data": b64url(runtime),
    }
    subjects = {name: hashlib.sha256(content).hexdigest() for name, content in RESULTS.items()}
    statement = stage.statement(json.loads(protocol.statement(subjects, stage.predicate(predicate))))
    return stage.envelope(protocol.sign_envelope(stage.payload(canonical_json(statement)), key))


def load(policy: Mapping[str, Any]) -> Policy:
    """Return a test's policy."""
    return Policy.from_mapping(policy)
