"""Where a platform's enclaves get their tokens and where the pipeline gets keys and collateral."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from confidential_spark.agent.protocol import TRUST_SIMULATED
from confidential_spark.core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from confidential_spark.core.platforms import Platform
    from confidential_spark.hooks.attestation import AttestationHook, AttestationProvider
    from confidential_spark.hooks.collateral import CollateralHook
    from confidential_spark.settings import Settings
    from confidential_spark.verification import Policy


@dataclass(frozen=True)
class AttestationEndpoints:
    """One platform's attestation provider and PCCS (collateral cache)."""

    attestation: AttestationHook
    collateral: CollateralHook

    @property
    def provider(self) -> AttestationProvider:
        """Where the enclave sends its quote, and in which version of the API."""
        return self.attestation.provider


@contextmanager
def attestation_endpoints(platform: Platform, settings: Settings) -> Iterator[AttestationEndpoints]:
    """Yield the endpoints that the platform's policy asks for; a simulated service ends with the block."""
    # Imported late: DAG files import this module, and need no cryptography to be parsed.
    from confidential_spark.hooks.attestation import AttestationHook
    from confidential_spark.hooks.collateral import CollateralHook
    from confidential_spark.verification import load_policy

    policy = load_policy(settings.policy_path(platform))
    if policy.trust == TRUST_SIMULATED:
        from confidential_spark.simulation.service.server import LoopbackAttestationService

        with LoopbackAttestationService() as service:
            yield AttestationEndpoints(AttestationHook.from_url(service.url), CollateralHook(service.url))
    else:
        hook = AttestationHook(attestation_conn_id=settings.attestation_conn_id)
        require_policys_issuer(hook.provider_url, policy)
        yield AttestationEndpoints(hook, CollateralHook(settings.pccs_url))


def require_policys_issuer(provider_url: str, policy: Policy) -> None:
    """Refuse a provider that is not the policy's issuer: its keys must not judge another one's tokens.

    :raises ConfigurationError: ``attestation-provider-mismatch``.
    """
    if provider_url.rstrip("/") != policy.attestation.issuer:
        raise ConfigurationError(
            "The connection names another attestation provider than the policy.",
            code="attestation-provider-mismatch",
            got=provider_url,
            expected=f"{policy.attestation.issuer}, the issuer of policy {policy.name}",
            action="correct the connection's host or the policy's issuer",
        )
