"""The end of a run on a cluster: no pod outlives it, and none of a run whose end nobody saw."""

from __future__ import annotations

from typing import TYPE_CHECKING

from confidential_spark.operators.publish import CleanStagingOperator
from confidential_spark.platforms.kubernetes.enclave import GONE_SECONDS, connect, run_labels
from confidential_spark.platforms.kubernetes.names import NONCE_LABEL, selector

if TYPE_CHECKING:
    from airflow.sdk import Context

    from confidential_spark.operators.base import RunScope
    from confidential_spark.platforms.kubernetes.cluster import Cluster
    from confidential_spark.platforms.kubernetes.pods import PodState

# A run is over when its teardown is, so an API that is away does not hold it up for long.
PATIENCE_SECONDS = 60.0
# No run takes so long (`aks_deadline_minutes`), so what ended then belongs to none.
ABANDONED_SECONDS = 72 * 3600.0


class CleanKubernetesRunOperator(CleanStagingOperator):
    """Remove also the pods whose worker died and that no later try has found."""

    def run(self, context: Context, scope: RunScope) -> None:
        """Remove the run's pods, and with them Secrets and folders of the volume; then settle its tries.

        :raises EnclaveError: ``kubernetes-…`` (mostly retryable).
        """
        cluster = connect(self.settings, patience=PATIENCE_SECONDS)
        labels = selector(run_labels(scope.dag_id, scope.airflow_run_id))
        for pod in [*cluster.pods(labels, ""), *abandoned(cluster)]:
            self.log.info("Pod %s is left and removed", pod.name)
            cluster.delete_pod(pod.name)
        if not cluster.await_gone(labels, GONE_SECONDS):
            self.log.warning("Pods with %s are still ending; their node may be away", labels)
        # Last: it refuses while a try is held, and pods cost more than files.
        super().run(context, scope)


def abandoned(cluster: Cluster) -> list[PodState]:
    """Return the pods of runs, whoever's, that ended days ago: their teardown never came."""
    return [pod for pod in cluster.pods(NONCE_LABEL, "") if pod.ended and pod.age > ABANDONED_SECONDS]
