"""Which enclave image a cluster runs: pinned by a setting and measured there, or the latest published."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from confidential_spark.agent.protocol import TRUST_SIMULATED
from confidential_spark.enclave.image import EnclaveImage
from confidential_spark.image_build.containers import read_identity
from confidential_spark.operators.image_published import ResolvePublishedImageOperator
from confidential_spark.platforms.kubernetes import cluster_layout
from confidential_spark.platforms.kubernetes.enclave import pod_plan, try_labels
from confidential_spark.platforms.kubernetes.operators import KubernetesTask
from confidential_spark.platforms.kubernetes.pod_specs import measure_pod

if TYPE_CHECKING:
    from airflow.sdk import Context

# Only who builds an image knows what it was built from.
UNKNOWN_INPUTS = "0" * 64


class ResolveKubernetesImageOperator(KubernetesTask, ResolvePublishedImageOperator):
    """Find the enclave image by digest, and refuse it unless the policy allows it.

    No Docker engine is needed. What an image says of itself is believed for the approval only: the quotes of
    `attest_platform` and of every enclave of the run must have the same measurement.
    """

    def pinned_image(self, context: Context) -> EnclaveImage | None:
        """Return the image that the deployment names, measured in a pod of it."""
        reference = self.settings.aks_image
        if reference is None:
            return None
        return EnclaveImage(
            reference=reference,
            digest=reference.rpartition("@")[2],
            inputs_sha256=UNKNOWN_INPUTS,
            **self.measured(context, reference),
        )

    def measured(self, context: Context, reference: str) -> dict[str, Any]:
        """Return who an image's enclave is, as a pod of it prints; the enclave itself is not started.

        :raises EnclaveError: ``measurement-unreadable``, and what the cluster refuses.
        """
        nonce = f"{context['ti'].run_id}/{context['ti'].try_number}"
        enclave = self.enclave(context, nonce)
        labels = try_labels(context["ti"], nonce)
        # Its trust is not known yet, and no enclave is started: a pod without SGX.
        plan = pod_plan(self.settings, reference, TRUST_SIMULATED, enclave.names, labels)
        pod, container = enclave.names.measure, cluster_layout.ENCLAVE_CONTAINER
        try:
            self.cluster.create_pod(measure_pod(plan))
            enclave.await_running(pod, container, or_ended=True)
            enclave.follow(pod, container)
            printed = self.cluster.lines(pod, container, after="", within=None, patient=True)
            return read_identity([line for _, line in printed])
        finally:
            self.cluster.delete_pod(pod)
