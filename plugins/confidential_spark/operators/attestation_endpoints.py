"""Where a platform's enclaves get their tokens and where the pipeline gets keys and collateral."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from confidential_spark.core.platforms import Platform
from confidential_spark.hooks.attestation import AttestationHook
from confidential_spark.hooks.collateral import CollateralHook
from confidential_spark.simulation.attestation_service import LoopbackAttestationService

if TYPE_CHECKING:
    from collections.abc import Iterator

    from confidential_spark.settings import Settings


@dataclass(frozen=True)
class AttestationEndpoints:
    """One platform's attestation provider and PCCS (collateral cache)."""

    provider_url: str
    attestation: AttestationHook
    collateral: CollateralHook


@contextmanager
def attestation_endpoints(platform: Platform, settings: Settings) -> Iterator[AttestationEndpoints]:
    """Yield the endpoints of ``platform``; a simulated one is started for as long as it is needed."""
    if platform is Platform.LOCAL:
        with LoopbackAttestationService() as service:
            yield AttestationEndpoints(
                service.url, AttestationHook.from_url(service.url), CollateralHook(service.url)
            )
    else:
        hook = AttestationHook(attestation_conn_id=settings.attestation_conn_id)
        yield AttestationEndpoints(hook.provider_url, hook, CollateralHook(settings.pccs_url))
