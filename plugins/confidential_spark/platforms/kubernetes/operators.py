"""The tasks of a run on a cluster beside Spark: find the image, attest it, leave nothing behind."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from confidential_spark.agent.protocol import TRUST_SIMULATED, b64url
from confidential_spark.core.errors import ConfidentialSparkError, ConfigurationError, EnclaveError
from confidential_spark.enclave import layout
from confidential_spark.enclave.image import EnclaveImage, read_identity
from confidential_spark.enclave.output import EnclaveOutput
from confidential_spark.hooks.deployment import deployment_id
from confidential_spark.hooks.task_folder import task_folder
from confidential_spark.operators.attestation import AttestPlatformOperator, read_attestation
from confidential_spark.operators.base import ConfidentialOperator
from confidential_spark.operators.image import ResolvePublishedImageOperator
from confidential_spark.operators.launch import quote_source
from confidential_spark.operators.publish import CleanStagingOperator
from confidential_spark.operators.resumable import abandoned
from confidential_spark.platforms.kubernetes.client.cluster import Cluster
from confidential_spark.platforms.kubernetes.enclave import (
    GONE_SECONDS,
    KubernetesEnclave,
    connect,
    leftovers,
    pod_owner,
    pod_plan,
    run_labels,
)
from confidential_spark.platforms.kubernetes.names import (
    ENCLAVE_CONTAINER,
    TryNames,
    selector,
)
from confidential_spark.platforms.kubernetes.pod_specs import attest_pod, launch_secret, measure_pod
from confidential_spark.platforms.kubernetes.settings import KubernetesSettings, kubernetes_settings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from airflow.sdk import Context
    from airflow.sdk.types import RuntimeTaskInstanceProtocol

    from confidential_spark.hooks.attestation import AttestationProvider
    from confidential_spark.hooks.blob.work import WorkFolder
    from confidential_spark.hooks.results.store import Location
    from confidential_spark.operators.base import RunScope
    from confidential_spark.operators.resumable import Leftover
    from confidential_spark.platforms.kubernetes.pod_specs import PodPlan

# Only who builds an image knows what it was built from.
UNKNOWN_INPUTS = "0" * 64
# A run is over when its teardown is, so an API that is away does not hold it up for long.
PATIENCE_SECONDS = 60.0


class KubernetesTask(ConfidentialOperator):
    """Base of the operators that run the pods of one try at a time."""

    _nonce: str | None = None
    _ending: Cluster | None = None
    _killed: bool = False

    @property
    def wing(self) -> KubernetesSettings:
        """The settings of the cluster and its pods."""
        return kubernetes_settings()

    @cached_property
    def cluster(self) -> Cluster:
        """The namespace of the deployment's pods."""
        return connect(self.wing, stopped=lambda: self._killed)

    @cached_property
    def work(self) -> WorkFolder:
        """The blobs through which a try's files go."""
        return work_folder(self.wing)

    def results_blob(self, context: Context, names: TryNames) -> dict[str, str]:
        """Return where the enclave of a try writes what it makes, and the right to do so."""
        lifetime = timedelta(minutes=self.wing.deadline_minutes)
        ti = context["ti"]
        run = run_folder(ti.dag_id, ti.run_id)
        return self.work.results_blob(run, names.base, lifetime)

    def enclave(self, context: Context, nonce: str) -> KubernetesEnclave:
        """Return the pods of the try with this nonce, started or not; a killed task ends them."""
        self._nonce = nonce
        # Made now: looking a connection up in a signal handler could wait for the very task it interrupted.
        client = connect(self.wing).client
        self._ending = Cluster(lambda: client, self.wing.namespace, patience=0)

        def show(record: Mapping[str, Any]) -> None:
            self.show_progress(context, record)

        return KubernetesEnclave(
            self.cluster,
            TryNames.of(self.job.name, nonce),
            nonce,
            EnclaveOutput(log=lambda line: self.log.info("%s", line), on_progress=show),
            stopped=lambda: self._killed,
            start_seconds=self.wing.start_minutes * 60,
        )

    def pod_plan(self, context: Context, enclave: KubernetesEnclave, reference: str, trust: str) -> PodPlan:
        """Return what the pods of a try have in common."""
        owner = pod_owner(context["ti"], enclave.nonce, deployment_id(self.settings.results_dir))
        return pod_plan(self.wing, self.settings.enclave_sizing(), reference, trust, enclave.names, owner)

    def on_kill(self) -> None:
        """Ask for the pods' end at once, for Airflow kills a task a few seconds after asking.

        A client of its own: this is called from a signal handler, in the middle of another request.
        """
        self._killed = True
        if self._nonce is not None and self._ending is not None:
            names = TryNames.of(self.job.name, self._nonce)
            for pod in (names.driver, names.attest, names.measure):
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
        reference = self.wing.image
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
        # Its trust is not known yet, and no enclave is started: a pod without SGX.
        plan = self.pod_plan(context, enclave, reference, TRUST_SIMULATED)
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
        enclave = self.enclave(context, nonce)
        pod = enclave.names.attest
        launch = replace(
            self.attest_spec(scope, str(layout.RESULTS_DIR), source),
            results_blob=self.results_blob(context, enclave.names),
        )
        plan = self.pod_plan(context, enclave, image.reference, image.trust)
        with task_folder("attest") as folder:
            try:
                uid = self.cluster.create_pod(attest_pod(plan))
                self.cluster.create_secret(launch_secret(plan, launch, None, uid, pod))
                enclave.await_running(pod, ENCLAVE_CONTAINER, or_ended=True)
                enclave.follow(pod, ENCLAVE_CONTAINER)
                self.work.fetch(run_folder(scope.dag_id, scope.airflow_run_id), enclave.names.base, folder)
            finally:
                self.cluster.delete_pod(pod)
            return read_attestation(folder)

    def remove_earlier_tries(self, context: Context, scope: RunScope) -> None:
        """Remove what a killed worker has left; its nonce is never used again."""
        for earlier in range(1, scope.try_number):
            names = self.enclave(context, b64url(self.nonce_of(earlier))).names
            self.cluster.delete_pod(names.attest)


class CleanKubernetesRunOperator(CleanStagingOperator):
    """Remove also the pods whose worker died and that no later try has found, here or in other runs."""

    def run(self, context: Context, scope: RunScope) -> None:
        """Remove the run's pods, and with them Secrets; then its blobs, and settle its tries.

        :raises EnclaveError: ``kubernetes-…`` (mostly retryable).
        """
        settings = kubernetes_settings()
        cluster = connect(settings, patience=PATIENCE_SECONDS)
        labels = selector(run_labels(scope.dag_id, scope.airflow_run_id))
        for pod in cluster.pods(labels, ""):
            self.log.info("Pod %s is left and removed", pod.name)
            cluster.delete_pod(pod.name)
        try:
            for leftover in remove_abandoned(cluster, context["ti"], self.settings.results_dir):
                self.log.info("Removed %s, which was left", leftover)
        except Exception as error:
            # Another run's remains are no reason to fail this one.
            self.log.warning("What other runs have left is not removed: %s", error)
        if not cluster.await_gone(labels, GONE_SECONDS):
            self.log.warning("Pods with %s are still ending; their node may be away", labels)
        try:
            work_folder(settings).remove_run(run_folder(scope.dag_id, scope.airflow_run_id))
        except ConfidentialSparkError as error:
            # They are small, and nobody can use them any more.
            self.log.warning("The run's blobs are not removed: %s", error)
        # Last: it refuses while a try is held, and pods cost more than files.
        super().run(context, scope)


def work_folder(settings: KubernetesSettings) -> WorkFolder:
    """Return the blobs through which the files of tries go.

    :raises ConfigurationError: ``work-not-configured``, ``results-location``, ``storage-connection-…``.
    """
    # Imported late: Azure's libraries are large, and other platforms need none of them.
    from confidential_spark.hooks.blob.work import WorkFolder

    if settings.work is None:
        raise ConfigurationError(
            "Nothing says through which blobs input and results of `aks` go.",
            code="work-not-configured",
            got="no CONFIDENTIAL_SPARK_AKS_WORK",
            expected="an address, as in wasbs://work@ACCOUNT.blob.core.windows.net/spark",
            action="make a container and set it; docs/azure.md",
        )
    return WorkFolder(settings.work)


def run_folder(dag_id: str, run_id: str) -> str:
    """Return a run's own part of its blobs' names."""
    return "/".join(run_labels(dag_id, run_id).values())


def remove_abandoned(
    cluster: Cluster, ti: RuntimeTaskInstanceProtocol, results_dir: Location
) -> list[Leftover]:
    """Remove the pods of runs that nobody will continue, and return them.

    :param ti: the task that asks, to which Airflow tells what runs are over.
    :param results_dir: of the deployment, whose pods they are.
    :raises EnclaveError: ``kubernetes-…``.
    :raises ResultError: ``results-unwritable``.
    """
    removed = abandoned(leftovers(cluster), deployment_id(results_dir), ti)
    for leftover in removed:
        cluster.delete_pod(leftover.name)
    return removed
