"""The end of a run on a Docker engine: no container outlives it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from confidential_spark.operators.publish import CleanStagingOperator
from confidential_spark.platforms.docker.container import EnclaveContainer
from confidential_spark.platforms.docker.enclave import connect
from confidential_spark.platforms.docker.operators import NONCE_KEY

if TYPE_CHECKING:
    from airflow.sdk import Context

    from confidential_spark.operators.base import RunScope

CONTAINER_TASKS = ("attestation.attest_platform", "spark.run_spark")
# A run is over when its teardown is, so an engine that is away does not hold it up for long.
PATIENCE_SECONDS = 30.0


class CleanDockerRunOperator(CleanStagingOperator):
    """Remove also the containers whose worker died and that no later try has found."""

    def run(self, context: Context, scope: RunScope) -> None:
        """Settle every try of this run, then its containers.

        :raises EnclaveError: ``docker-…`` (mostly retryable).
        """
        super().run(context, scope)
        nonces = [context["ti"].xcom_pull(task_ids=task, key=NONCE_KEY) for task in CONTAINER_TASKS]
        for nonce in filter(None, nonces):
            client = connect(self.settings, patience=PATIENCE_SECONDS)
            EnclaveContainer(client, nonce, patience=PATIENCE_SECONDS).remove()
