"""This enclave's attestation: a quote over its runtime data, and the provider's token for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from confidential_spark.agent.attestation.measurement import simulated_enclave
from confidential_spark.agent.attestation.provider import request_token
from confidential_spark.agent.attestation.quote import OcclumQuote, QuoteProvider, software_quote
from confidential_spark.agent.progress import progress_line, say
from confidential_spark.agent.protocol import (
    SIMULATED_NOTICE,
    TRUST_SIMULATED,
    b64url,
    public_jwk,
    report_data,
    runtime_data,
    sha256_hex,
)

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

    from confidential_spark.agent.launch.launch_file import LaunchSpec
    from confidential_spark.agent.protocol import JobIdentity


@dataclass(frozen=True)
class Attestation:
    """A quote over our runtime data, and the attestation service's token for it."""

    quote: bytes
    token: str
    runtime_data: bytes
    trust: str

    def record(self) -> dict[str, str]:
        """Return what goes to files and to other enclaves, base64url."""
        return {
            "quote": b64url(self.quote),
            "token": self.token,
            "runtime_data": b64url(self.runtime_data),
        }


def attest_key(spec: LaunchSpec, key: ec.EllipticCurvePrivateKey, job: JobIdentity) -> Attestation:
    """Have the public key attested, together with the launch's nonce and run and what this enclave is for.

    :raises AgentError: no quote, or no token.
    """
    provider = quote_provider(spec)
    if provider.trust == TRUST_SIMULATED:
        say(SIMULATED_NOTICE)
    say(progress_line("attest", 0, 1, "asking for a quote and a token"))
    jwk = public_jwk(key.public_key())
    data = runtime_data(nonce=spec.nonce_bytes, run_id=spec.run_id, jwk=jwk, job=job)
    quote = provider.quote(report_data(data))
    token = request_token(spec.attestation_url, spec.attestation_api_version, quote, data)
    say(f"Attested: quote sha256 {sha256_hex(quote)[:16]}…, token sha256 {sha256_hex(token.encode())[:16]}…")
    say(progress_line("attest", 1, 1, "attested"))
    return Attestation(quote, token, data, provider.trust)


def quote_provider(spec: LaunchSpec) -> QuoteProvider:
    """Return what vouches for this enclave.

    :raises AgentError: it is not here.
    """
    if spec.in_occlum:
        return OcclumQuote()
    jobs_dir = Path(spec.jobs_dir) if spec.jobs_dir else None
    if jobs_dir is None and spec.job_file:
        jobs_dir = Path(spec.job_file).parent
    return software_quote(simulated_enclave(jobs_dir))
