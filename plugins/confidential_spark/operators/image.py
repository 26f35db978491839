"""Which enclave image will run, and is its measurement approved?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset

from confidential_spark.agent.protocol import SIMULATED_NOTICE, TRUST_HARDWARE, TRUST_SIMULATED
from confidential_spark.core.errors import ConfigurationError, PolicyError, VerificationError
from confidential_spark.enclave.image import EnclaveImage, asset_name, asset_uri
from confidential_spark.operators.base import ConfidentialOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from confidential_spark.core.platforms import Platform
    from confidential_spark.operators.base import RunScope
    from confidential_spark.verification import Policy
    from confidential_spark.verification.attestation.identity import EnclaveClaims

IF_CHANGED_ON_PURPOSE = (
    "if the agent or a job was changed on purpose, review the change and run `make approve-measurement`; "
    "if not, find out who changed it"
)
IMAGE_ASSETS = {
    trust: Asset(name=asset_name(trust), uri=asset_uri(trust)) for trust in (TRUST_HARDWARE, TRUST_SIMULATED)
}


def require_approved(identity: EnclaveClaims, policy: Policy, action: str) -> None:
    """Refuse an enclave that the policy does not allow, before anything of it is started.

    :param action: what to do about it.
    :raises PolicyError: with the code of the refusal.
    """
    # Imported late: DAG files import this module, and need no cryptography to be parsed.
    from confidential_spark.verification.attestation.identity import require_identity
    from confidential_spark.verification.policy.ledger import read_ledger

    try:
        require_identity(identity, policy, lambda: read_ledger(policy.approvals_path))
    except VerificationError as error:
        raise PolicyError(
            error.message, code=error.code, got=error.got, expected=error.expected, action=action
        ) from error


class ResolvePublishedImageOperator(ConfidentialOperator):
    """Find the enclave image by digest, and refuse it unless the policy allows it.

    :param platform: whose policy decides.
    """

    begins_run = True

    def __init__(self, *, platform: Platform, **kwargs: Any) -> None:
        super().__init__(inlets=list(IMAGE_ASSETS.values()), **kwargs)
        self.platform = platform

    def run(self, context: Context, scope: RunScope) -> dict[str, Any]:
        """Return the image; see :class:`EnclaveImage`."""
        # Imported late: DAG files import this module, and need no cryptography to be parsed.
        from confidential_spark.verification import load_policy

        self.job.require_supported_form(self.settings.jobs_dir)
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
            action="run DAG enclave_image (`make image` on this machine's engine), or name an image in "
            f"CONFIDENTIAL_SPARK_{platform.upper()}_IMAGE",
        )
    return EnclaveImage.from_xcom(events[-1].extra or {})
