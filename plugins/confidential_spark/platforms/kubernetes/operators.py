"""The tasks of a run on a cluster beside Spark: find the image, attest it, leave nothing behind."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from confidential_spark.agent.protocol import TRUST_SIMULATED, b64url
from confidential_spark.core.errors import EnclaveError
from confidential_spark.enclave import layout
from confidential_spark.enclave.image import EnclaveImage, read_identity
from confidential_spark.operators.attestation import AttestPlatformOperator, read_attestation
from confidential_spark.operators.base import ConfidentialOperator
from confidential_spark.operators.image import ResolvePublishedImageOperator
from confidential_spark.operators.launch import quote_source
from confidential_spark.operators.output import EnclaveOutput
from confidential_spark.operators.publish import CleanStagingOperator
from confidential_spark.platforms.kubernetes.client.cluster import Cluster
from confidential_spark.platforms.kubernetes.enclave import (
    GONE_SECONDS,
    KubernetesEnclave,
    connect,
    pod_plan,
    run_labels,
    try_labels,
)
from confidential_spark.platforms.kubernetes.names import (
    ENCLAVE_CONTAINER,
    NONCE_LABEL,
    TRANSFER_CONTAINER,
    TryNames,
    selector,
)
from confidential_spark.platforms.kubernetes.pod_specs import attest_pod, measure_pod

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from airflow.sdk import Context

    from confidential_spark.hooks.attestation import AttestationProvider
    from confidential_spark.operators.base import RunScope
    from confidential_spark.platforms.kubernetes.client.pods import PodState

# Only who builds an image knows what it was built from.
UNKNOWN_INPUTS = "0" * 64
# A run is over when its teardown is, so an API that is away does not hold it up for long.
PATIENCE_SECONDS = 60.0
# No run takes so long (`aks_deadline_minutes`), so what ended then belongs to none.
ABANDONED_SECONDS = 72 * 3600.0


class KubernetesTask(ConfidentialOperator):
    """Base of the operators that run the pods of one try at a time."""

    _nonce: str | None = None
    _ending: Cluster | None = None
    _killed: bool = False

    @cached_property
    def cluster(self) -> Cluster:
        """The namespace of the deployment's pods."""
        return connect(self.settings, stopped=lambda: self._killed)

    def enclave(self, context: Context, nonce: str) -> KubernetesEnclave:
        """Return the pods of the try with this nonce, started or not; a killed task ends them."""
        self._nonce = nonce
        # Made now: looking a connection up in a signal handler could wait for the very task it interrupted.
        client = connect(self.settings).client
        self._ending = Cluster(lambda: client, self.settings.aks_namespace, patience=0)

        def show(record: Mapping[str, Any]) -> None:
            self.show_progress(context, record)

        return KubernetesEnclave(
            self.cluster,
            TryNames.of(self.job.name, nonce),
            nonce,
            EnclaveOutput(log=lambda line: self.log.info("%s", line), on_progress=show),
            stopped=lambda: self._killed,
            start_seconds=self.settings.aks_start_minutes * 60,
        )

    def on_kill(self) -> None:
        """Ask for the pods' end at once, for Airflow kills a task a few seconds after asking.

        A client of its own: this is called from a signal handler, in the middle of another request.
        """
        self._killed = True
        if self._nonce is not None and self._ending is not None:
            names = TryNames.of(self.job.name, self._nonce)
            for pod in (names.driver, names.attest, names.measure, names.transfer):
                try:
                    self._ending.delete_pod(pod)
                except EnclaveError as error:
                    self.log.warning("Pod %s is not removed; the run's teardown tries again: %s", pod, error)


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
        pod, container = enclave.names.measure, ENCLAVE_CONTAINER
        try:
            self.cluster.create_pod(measure_pod(plan))
            enclave.await_running(pod, container, or_ended=True)
            enclave.follow(pod, container)
            printed = self.cluster.lines(pod, container, after="", within=None, patient=True)
            return read_identity([line for _, line in printed])
        finally:
            self.cluster.delete_pod(pod)


class AttestKubernetesPlatformOperator(KubernetesTask, AttestPlatformOperator):
    """Attest the enclave image on its cluster, in a pod that is removed at once."""

    def collect(self, context: Context, scope: RunScope, provider: AttestationProvider) -> dict[str, str]:
        """Let the agent attest in a pod."""
        self.remove_earlier_tries(context, scope)
        nonce = b64url(self.nonce_of(scope.try_number))
        image = EnclaveImage.from_xcom(self.image)
        source = quote_source(image, self.platform, self.settings)
        launch = self.attest_spec(scope, str(layout.RESULTS_DIR), source)
        enclave = self.enclave(context, nonce)
        pod = enclave.names.attest
        plan = pod_plan(
            self.settings, image.reference, image.trust, enclave.names, try_labels(context["ti"], nonce)
        )
        with TemporaryDirectory(prefix="attest-") as folder:
            try:
                self.cluster.create_pod(attest_pod(plan, launch))
                enclave.await_running(pod, ENCLAVE_CONTAINER, or_ended=True)
                enclave.follow(pod, ENCLAVE_CONTAINER)
                enclave.await_running(pod, TRANSFER_CONTAINER)
                enclave.fetch(pod, str(layout.DATA_DIR), Path(folder))
            finally:
                self.cluster.delete_pod(pod)
            return read_attestation(Path(folder))

    def remove_earlier_tries(self, context: Context, scope: RunScope) -> None:
        """Remove what a killed worker has left; its nonce is never used again."""
        for earlier in range(1, scope.try_number):
            names = self.enclave(context, b64url(self.nonce_of(earlier))).names
            self.cluster.delete_pod(names.attest)


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
