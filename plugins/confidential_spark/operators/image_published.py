"""Which enclave image a platform runs: pinned by a setting, or the latest that was published."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset

from confidential_spark.agent.protocol import SIMULATED_NOTICE, TRUST_HARDWARE, TRUST_SIMULATED
from confidential_spark.core.errors import ConfigurationError
from confidential_spark.enclave.image import EnclaveImage, asset_name, asset_uri
from confidential_spark.operators.base import ConfidentialOperator
from confidential_spark.operators.image import require_approved

if TYPE_CHECKING:
    from airflow.sdk import Context

    from confidential_spark.core.platforms import Platform
    from confidential_spark.operators.base import RunScope

IMAGE_ASSETS = {
    trust: Asset(name=asset_name(trust), uri=asset_uri(trust)) for trust in (TRUST_HARDWARE, TRUST_SIMULATED)
}


class ResolvePublishedImageOperator(ConfidentialOperator):
    """Find the enclave image by digest, and refuse it unless the policy allows it.

    :param platform: whose policy decides.
    """

    def __init__(self, *, platform: Platform, **kwargs: Any) -> None:  # noqa: ANN401 - Airflow's own
        """Pass on; both assets may be asked for their latest event."""
        super().__init__(inlets=list(IMAGE_ASSETS.values()), **kwargs)
        self.platform = platform

    def run(self, context: Context, scope: RunScope) -> dict[str, Any]:
        """Return the image; see :class:`EnclaveImage`."""
        # Imported late: DAG files import this module, and need no cryptography to be parsed.
        from confidential_spark.verification import load_policy

        policy = load_policy(self.settings.policy_path(self.platform))
        image = self.pinned_image(context) or self.published_image(context, policy.trust)
        image.require_trust(policy)
        require_approved(
            image.identity,
            policy,
            "run DAG enclave_image, where a person approves a new measurement; or name an approved image",
        )
        if image.trust == TRUST_SIMULATED:
            self.log.warning(SIMULATED_NOTICE)
        self.announce(
            f"{image.digest[:19]}… · MRENCLAVE {image.mrenclave[:12]}… approved by policy {policy.name}"
        )
        return image.to_xcom()

    def pinned_image(self, context: Context) -> EnclaveImage | None:
        """Return the image that the deployment names, or None."""
        raise NotImplementedError

    def published_image(self, context: Context, trust: str) -> EnclaveImage:
        """Return the image of the latest event.

        :raises ConfigurationError: ``image-not-published``, ``image-malformed``.
        """
        return published_image(context, trust, self.platform)


def published_image(context: Context, trust: str, platform: Platform) -> EnclaveImage:
    """Return the image of the latest event.

    :param platform: whose setting could name one instead.
    :raises ConfigurationError: ``image-not-published``, ``image-malformed``.
    """
    events = context["inlet_events"][IMAGE_ASSETS[trust]]
    if not len(events):
        raise ConfigurationError(
            "There is no enclave image yet.",
            code="image-not-published",
            got=f"no event of asset {asset_name(trust)}",
            expected="an image that DAG enclave_image published",
            action=f"run DAG enclave_image, or name an image in CONFIDENTIAL_SPARK_{platform.upper()}_IMAGE",
        )
    return EnclaveImage.from_xcom(events[-1].extra or {})
