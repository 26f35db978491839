"""Which enclave each platform runs now, and what its policy says of it now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from confidential_spark.agent.attestation.measurement import simulated_measurement
from confidential_spark.agent.errors import AgentError
from confidential_spark.core.errors import ConfidentialSparkError, VerificationError
from confidential_spark.core.platforms import Platform
from confidential_spark.enclave.image import EnclaveImage
from confidential_spark.image_build.ledger import entry_number, read_approvals
from confidential_spark.platforms.docker.settings import DockerSettings, docker_settings
from confidential_spark.platforms.kubernetes.settings import KubernetesSettings, kubernetes_settings
from confidential_spark.settings import get_settings
from confidential_spark.ui.airflow_runs import PLATFORMS
from confidential_spark.ui.measurements.airflow_rows import announced_image, resolved_images
from confidential_spark.verification import load_policy
from confidential_spark.verification.attestation.identity import require_identity

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from confidential_spark.verification import Policy
    from confidential_spark.verification.attestation.identity import EnclaveClaims
    from confidential_spark.verification.policy.ledger import Ledger

FROM_EVENT = "the latest image that DAG enclave_image announced"
FROM_SOURCES = "measured by the agent itself over its sources: there is no image"


@dataclass(frozen=True)
class Use:
    """What a platform runs.

    :param policy: None where it cannot be read; ``trouble`` says why.
    :param image: None where there is none, or where this server does not know which one it is.
    :param where: how the image is found.
    :param entry: the ledger's entry that approves it; 0 for none.
    :param trouble: why no run would start; empty where one would.
    """

    platform: Platform
    policy: Policy | None
    image: EnclaveImage | None
    where: str
    entry: int
    trouble: str

    @property
    def dags(self) -> tuple[str, ...]:
        """The DAGs whose runs use it."""
        return dags_on(self.platform)


def dags_on(platform: Platform) -> tuple[str, ...]:
    """Return the job DAGs of a platform."""
    return tuple(dag_id for dag_id, its in PLATFORMS.items() if its is platform)


def uses(session: Session) -> tuple[Use, ...]:
    """Return what each platform runs."""
    return tuple(use_of(session, platform) for platform in Platform)


def use_of(session: Session, platform: Platform) -> Use:
    """Return what a platform runs."""
    try:
        policy = load_policy(get_settings().policy_path(platform))
    except ConfidentialSparkError as error:
        return Use(platform, None, None, "", 0, f"{error.message} [{error.code}]")
    image, where = image_of(session, platform, policy)
    if image is None:
        return Use(platform, policy, None, where, 0, "")
    try:
        ledger = read_approvals(policy)
    except ConfidentialSparkError as error:
        return Use(platform, policy, image, where, 0, f"The ledger is refused [{error.code}].")
    return Use(
        platform, policy, image, where, entry_number(image, ledger), refusal(image.identity, policy, ledger)
    )


def image_of(session: Session, platform: Platform, policy: Policy) -> tuple[EnclaveImage | None, str]:
    """Return the image that the platform's next run would use, and how it is found."""
    if platform is Platform.LOCAL:
        return sources_as_image(policy), FROM_SOURCES
    named, variable = named_image(platform)
    if named is None:
        return announced_image(session, policy.trust), FROM_EVENT
    # What it measures is known from its labels, which a run has read on the engine.
    known = (image for image in resolved_images(session, dags_on(platform)) if image.reference == named)
    return next(known, None), f"named by {variable}"


def named_image(platform: Platform) -> tuple[str | None, str]:
    """Return the image that a platform's setting names, if it does, and the setting's variable."""
    if platform is Platform.DCSV3:
        return docker_settings().image, DockerSettings.variable("image")
    if platform is Platform.AKS:
        return kubernetes_settings().image, KubernetesSettings.variable("image")
    return None, ""


def sources_as_image(policy: Policy) -> EnclaveImage | None:
    """Return what the agent on this machine measures itself as; None where its sources are not complete."""
    try:
        own = simulated_measurement(get_settings().jobs_dir)
    except (AgentError, OSError):
        return None
    return EnclaveImage(
        own.image_digest,
        own.image_digest,
        policy.trust,
        own.mrenclave,
        own.mrsigner,
        own.product_id,
        own.svn,
        own.debuggable,
        "",
    )


def refusal(identity: EnclaveClaims, policy: Policy, ledger: Ledger) -> str:
    """Return the code with which a policy refuses an enclave now; empty where it accepts it."""
    try:
        require_identity(identity, policy, lambda: ledger)
    except VerificationError as error:
        return error.code
    return ""
