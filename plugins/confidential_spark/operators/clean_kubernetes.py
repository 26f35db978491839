"""The end of a run on a cluster: no pod outlives it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from confidential_spark.core.kubernetes_names import selector
from confidential_spark.operators.kubernetes_enclave import GONE_SECONDS, connect, run_labels
from confidential_spark.operators.validation import CleanStagingOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from confidential_spark.operators.base import RunScope

# A run is over when its teardown is, so an API that is away does not hold it up for long.
PATIENCE_SECONDS = 60.0


class CleanKubernetesRunOperator(CleanStagingOperator):
    """Remove also the pods whose worker died and that no later try has found."""

    def run(self, context: Context, scope: RunScope) -> None:
        """Settle every try of this run, then its pods; Secrets and folders of the volume go with them.

        :raises EnclaveError: ``kubernetes-…`` (mostly retryable).
        """
        super().run(context, scope)
        cluster = connect(self.settings, patience=PATIENCE_SECONDS)
        labels = selector(run_labels(scope.dag_id, scope.airflow_run_id))
        for pod in cluster.pods(labels, ""):
            self.log.info("Pod %s is left and removed", pod.name)
            cluster.delete_pod(pod.name)
        cluster.await_gone(labels, GONE_SECONDS)
