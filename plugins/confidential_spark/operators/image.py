"""Which enclave will run, and is its measurement approved?"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from confidential_spark.agent.attestation.measurement import simulated_measurement
from confidential_spark.agent.protocol import SIMULATED_NOTICE
from confidential_spark.core.errors import PolicyError, VerificationError
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


class ResolveSimulatedImageOperator(ConfidentialOperator):
    """Measure the simulated enclave of this machine and refuse it unless the policy allows it.

    :param platform: whose policy decides.
    """

    def __init__(self, *, platform: Platform, **kwargs: Any) -> None:  # noqa: ANN401 - Airflow's own
        """Pass on."""
        super().__init__(**kwargs)
        self.platform = platform

    def run(self, context: Context, scope: RunScope) -> dict[str, Any]:
        """Return the image's digest, measurement and trust level."""
        # Imported late: DAG files import this module, and need no cryptography to be parsed.
        from confidential_spark.verification import load_policy
        from confidential_spark.verification.attestation.identity import EnclaveClaims

        measurement = simulated_measurement(self.settings.jobs_dir)
        policy = load_policy(self.settings.policy_path(self.platform))
        require_approved(EnclaveClaims(**asdict(measurement)), policy, IF_CHANGED_ON_PURPOSE)
        self.log.warning(SIMULATED_NOTICE)
        self.announce(f"MRENCLAVE {measurement.mrenclave[:12]}… approved by policy {policy.name}")
        return {"digest": measurement.image_digest, "trust": policy.trust, **asdict(measurement)}
