"""Nonce and platform attestation: is an enclave here what the policy expects, right now?"""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from confidential_spark.agent.protocol import NONCE_BYTES, b64url
from confidential_spark.core import base64url
from confidential_spark.core.errors import VerificationError
from confidential_spark.hooks.endpoints import attestation_endpoints
from confidential_spark.operators.base import ConfidentialOperator

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from airflow.sdk import Context

    from confidential_spark.agent.launch.launch_file import LaunchSpec
    from confidential_spark.core.platforms import Platform
    from confidential_spark.hooks.attestation import AttestationProvider
    from confidential_spark.hooks.endpoints import AttestationEndpoints
    from confidential_spark.operators.base import RunScope
    from confidential_spark.operators.launch import QuoteSource
    from confidential_spark.verification import VerificationReport


class MintNonceOperator(ConfidentialOperator):
    """Mint the nonce that every try's nonce follows from, before anything is launched."""

    def run(self, context: Context, scope: RunScope) -> dict[str, str]:
        """Return the nonce (base64url, 32 bytes) and when it was minted."""
        minted_at = datetime.now(UTC).isoformat(timespec="seconds")
        self.announce(f"32 random bytes at {minted_at}")
        return {"nonce": b64url(secrets.token_bytes(NONCE_BYTES)), "minted_at": minted_at}


def read_attestation(results: Path) -> dict[str, str]:
    """Return what the agent's `attest` left in its results folder."""
    return dict(json.loads((results / "attestation.json").read_text(encoding="utf-8")))


class AttestPlatformOperator(ConfidentialOperator):
    """Verify the quote and token of an enclave that was started with `attest`; subclasses start it.

    :param platform: whose policy decides.
    :param image: what `resolve_image` returned.
    :param nonce: what `mint_nonce` returned.
    """

    template_fields: Collection[str] = ("image", "nonce")

    def __init__(
        self,
        *,
        platform: Platform,
        image: Mapping[str, Any],
        nonce: Mapping[str, str],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.platform = platform
        self.image = image
        self.nonce = nonce

    def run(self, context: Context, scope: RunScope) -> dict[str, Any]:
        """Return what was proven: trust, measurement, TCB status."""
        with attestation_endpoints(self.platform, self.settings) as endpoints:
            attestation = self.collect(context, scope, endpoints.provider)
            report = self.verify(attestation, endpoints, scope)
        self.log.info("%s", report.text())
        report.raise_for_failure()
        facts = report.facts
        self.require_image(str(facts.mrenclave))
        self.announce(f"{facts.tcb_status} · MRENCLAVE {str(facts.mrenclave)[:12]}… · trust {report.trust}")
        return {
            "trust": report.trust,
            "mrenclave": facts.mrenclave,
            "mrsigner": facts.mrsigner,
            "tcb_status": facts.tcb_status,
            "token_id": facts.token_id,
        }

    def collect(self, context: Context, scope: RunScope, provider: AttestationProvider) -> dict[str, str]:
        """Start an enclave and return its quote, token and runtime data, base64url."""
        raise NotImplementedError

    def attest_spec(self, scope: RunScope, results_dir: str, source: QuoteSource) -> LaunchSpec:
        """Return what the agent of this try is asked to do."""
        # Imported late: of a run's tasks, only those that start an enclave read launch files' rules.
        from confidential_spark.agent.launch.launch_file import LaunchSpec

        nonce = b64url(self.nonce_of(scope.try_number))
        return LaunchSpec(nonce=nonce, run_id=scope.run_id, results_dir=results_dir, **asdict(source))

    def verify(
        self, attestation: Mapping[str, str], endpoints: AttestationEndpoints, scope: RunScope
    ) -> VerificationReport:
        """Verify the platform's attestation for our nonce."""
        # Imported late: DAG files import this module, and need no cryptography to be parsed.
        from confidential_spark.verification import load_policy, verify_attestation

        quote = base64url.decode(attestation["quote"])
        return verify_attestation(
            token=attestation["token"],
            jwks=endpoints.attestation.signing_keys(),
            quote=quote,
            runtime_data=base64url.decode(attestation["runtime_data"]),
            collateral=endpoints.collateral.fetch(quote),
            policy=load_policy(self.settings.policy_path(self.platform)),
            now=datetime.now(UTC),
            expected_nonce=self.nonce_of(scope.try_number),
            expected_run_id=scope.run_id,
            run_started_at=datetime.fromisoformat(self.nonce["minted_at"]),
        )

    def require_image(self, mrenclave: str) -> None:
        """Refuse an enclave that is approved and still another one than the image's.

        :raises VerificationError: ``enclave-not-the-images``.
        """
        if mrenclave != self.image["mrenclave"]:
            raise VerificationError(
                "The attested enclave is not the image's.",
                code="enclave-not-the-images",
                got=mrenclave,
                expected=self.image["mrenclave"],
                action="run DAG enclave_image again; if it happens again, treat it as an incident",
            )

    def nonce_of(self, try_number: int) -> bytes:
        """Return a try's nonce: derived from the minted one, so that a second try asks anew."""
        minted = base64url.decode(self.nonce["nonce"])
        return hashlib.sha256(minted + try_number.to_bytes(4, "big")).digest()
