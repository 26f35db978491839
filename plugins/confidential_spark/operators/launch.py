"""What a launch file says because of the image: where its programs are, and whom its enclave attests to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from confidential_spark.agent.protocol import TRUST_SIMULATED
from confidential_spark.enclave import layout
from confidential_spark.enclave.spark import SparkInstallation
from confidential_spark.hooks.attestation import DEFAULT_API_VERSION
from confidential_spark.hooks.endpoints import attestation_endpoints

if TYPE_CHECKING:
    from confidential_spark.core.platforms import Platform
    from confidential_spark.enclave.image import EnclaveImage
    from confidential_spark.settings import Settings


def quote_source(image: EnclaveImage, platform: Platform, settings: Settings) -> dict[str, Any]:
    """Return the launch file's keys that say where quote and token come from.

    A simulated image has its own attestation service, so that its container needs no network.
    """
    if image.trust == TRUST_SIMULATED:
        return {
            "quote_provider": "software",
            "attestation_url": layout.SIMULATED_ATTESTATION_URL,
            "attestation_api_version": DEFAULT_API_VERSION,
            "jobs_dir": str(layout.JOBS_DIR),
        }
    with attestation_endpoints(platform, settings) as endpoints:
        return {
            "quote_provider": "occlum",
            "attestation_url": endpoints.provider.url,
            "attestation_api_version": endpoints.provider.api_version,
        }


def image_installation(image: EnclaveImage) -> SparkInstallation:
    """Return where Java, Spark and Python are inside the image."""
    simulated = image.trust == TRUST_SIMULATED
    return SparkInstallation(
        java=Path(layout.JAVA),
        spark_home=Path(layout.SPARK_HOME),
        python=Path(layout.PYTHON),
        archive=Path(layout.CLASS_ARCHIVE) if simulated else None,
    )
