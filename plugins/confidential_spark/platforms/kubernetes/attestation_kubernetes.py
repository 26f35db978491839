"""Platform attestation on a cluster: the image's own enclave, in a pod on a node that can run it."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from confidential_spark.agent.launch.launch_file import LaunchSpec
from confidential_spark.agent.protocol import b64url
from confidential_spark.enclave import layout
from confidential_spark.enclave.image import EnclaveImage
from confidential_spark.operators.attestation import AttestPlatformOperator, read_attestation
from confidential_spark.operators.launch import quote_source
from confidential_spark.platforms.kubernetes import cluster_layout
from confidential_spark.platforms.kubernetes.enclave import pod_plan, try_labels
from confidential_spark.platforms.kubernetes.operators import KubernetesTask
from confidential_spark.platforms.kubernetes.pod_specs import attest_pod

if TYPE_CHECKING:
    from airflow.sdk import Context

    from confidential_spark.hooks.attestation import AttestationProvider
    from confidential_spark.operators.base import RunScope


class AttestKubernetesPlatformOperator(KubernetesTask, AttestPlatformOperator):
    """Attest the enclave image on its cluster, in a pod that is removed at once."""

    def collect(self, context: Context, scope: RunScope, provider: AttestationProvider) -> dict[str, str]:
        """Let the agent attest in a pod."""
        self.remove_earlier_tries(context, scope)
        nonce = b64url(self.nonce_of(scope.try_number))
        image = EnclaveImage.from_xcom(self.image)
        launch = LaunchSpec(
            nonce=nonce,
            run_id=scope.run_id,
            results_dir=str(layout.RESULTS_DIR),
            **quote_source(image, self.platform, self.settings),
        )
        enclave = self.enclave(context, nonce)
        pod = enclave.names.attest
        plan = pod_plan(
            self.settings, image.reference, image.trust, enclave.names, try_labels(context["ti"], nonce)
        )
        with TemporaryDirectory(prefix="attest-") as folder:
            try:
                self.cluster.create_pod(attest_pod(plan, launch))
                enclave.await_running(pod, cluster_layout.ENCLAVE_CONTAINER, or_ended=True)
                enclave.follow(pod, cluster_layout.ENCLAVE_CONTAINER)
                enclave.await_running(pod, cluster_layout.TRANSFER_CONTAINER)
                enclave.fetch(pod, str(layout.DATA_DIR), Path(folder))
            finally:
                self.cluster.delete_pod(pod)
            return read_attestation(Path(folder))

    def remove_earlier_tries(self, context: Context, scope: RunScope) -> None:
        """Remove what a killed worker has left; its nonce is never used again."""
        for earlier in range(1, scope.try_number):
            names = self.enclave(context, b64url(self.nonce_of(earlier))).names
            self.cluster.delete_pod(names.attest)
