"""The platform check of `aks`: the cluster's API, its namespace, the enclave image, and a pod of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from confidential_spark.agent.protocol import TRUST_SIMULATED
from confidential_spark.core.check_rows import CheckRow, Status, attempt, attempt_all, not_looked_at
from confidential_spark.core.errors import ConfidentialSparkError
from confidential_spark.enclave.image import EnclaveImage, read_identity
from confidential_spark.enclave.spark import memory_bytes
from confidential_spark.hooks.connections import find_connection
from confidential_spark.hooks.deployment import deployment_id
from confidential_spark.operators.image import IMAGE_ASSETS, published_image
from confidential_spark.operators.platform_check import (
    PlatformCheckOperator,
    approval_row,
    attestation_row,
    leftovers_row,
)
from confidential_spark.platforms.kubernetes.check.facts import ClusterView
from confidential_spark.platforms.kubernetes.check.rows import (
    API_ROWS,
    PROBE_ROWS,
    ClusterNeeds,
    api_rows,
    probe_rows,
)
from confidential_spark.platforms.kubernetes.enclave import (
    connect,
    epc_bytes,
    pod_owner,
    pod_plan,
)
from confidential_spark.platforms.kubernetes.names import (
    ENCLAVE_CONTAINER,
    RUN_LABELS,
    TryNames,
    label_value,
    selector,
)
from confidential_spark.platforms.kubernetes.operators import (
    UNKNOWN_INPUTS,
    remove_abandoned,
    work_folder,
)
from confidential_spark.platforms.kubernetes.pod_specs import measure_pod
from confidential_spark.platforms.kubernetes.settings import kubernetes_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow.sdk import Context

    from confidential_spark.enclave.occlum_config import EnclaveSizing
    from confidential_spark.platforms.kubernetes.check.rows import ClusterFacts
    from confidential_spark.platforms.kubernetes.pod_specs import PodPlan
    from confidential_spark.platforms.kubernetes.settings import KubernetesSettings
    from confidential_spark.verification import Policy

IMAGE_ROWS = ("image", "measurement")
ALL_ROWS = (*API_ROWS, "work", "leftovers", *IMAGE_ROWS, *PROBE_ROWS)
WORKS = "a blob can be written and removed"
AN_API = "a Kubernetes API that answers"
# A check says what is now; it does not wait for better times.
API_PATIENCE_SECONDS = 5.0
# A pod is often unschedulable, or without its image, for a moment.
POD_PATIENCE_SECONDS = 20.0
IN_CLUSTER_VARIABLE = "KUBERNETES_SERVICE_HOST"
DAG_LABEL, _ = RUN_LABELS


class ClusterCheckOperator(PlatformCheckOperator):
    """Look at the Kubernetes cluster on which enclaves run."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(inlets=list(IMAGE_ASSETS.values()), **kwargs)

    def rows(self, context: Context, policy: Policy) -> Iterator[CheckRow]:
        """Yield the API's rows, the image's, the pod's and the attestation provider's."""
        settings = kubernetes_settings()
        if not is_configured(settings.conn_id):
            yield from absent_cluster()
            return
        try:
            needs = needs_of(settings, self.settings.enclave_sizing(), policy)
            view = reach(settings, context["ti"].dag_id)
            facts = view.facts()
        except ConfidentialSparkError as error:
            yield CheckRow.refused("api", error, AN_API)
            yield from not_looked_at(ALL_ROWS[1:], "api")
            return
        yield from api_rows(facts, needs)
        yield attempt("work", WORKS, lambda: work_row(settings))
        yield leftovers_row(lambda: remove_abandoned(view.cluster, context["ti"], self.settings.results_dir))
        yield from self.image_and_pod_rows(context, policy, view, facts, needs)
        yield attempt(
            "attestation", "a provider that answers", lambda: attestation_row(self.settings, policy)
        )

    def image_and_pod_rows(
        self, context: Context, policy: Policy, view: ClusterView, facts: ClusterFacts, needs: ClusterNeeds
    ) -> Iterator[CheckRow]:
        """Yield the image's rows, and those of a pod of it where it is approved."""
        image = attempt_all(
            IMAGE_ROWS, "a signed image", lambda: image_rows(self.image(context, policy, view), policy)
        )
        yield from image
        if any(row.status is not Status.OK for row in image):
            yield from not_looked_at(PROBE_ROWS, "image")
            return
        reference = (
            kubernetes_settings().image or published_image(context, policy.trust, self.platform).reference
        )
        plan = self.plan(context, reference, policy.trust)

        def look() -> Iterator[CheckRow]:
            met, seconds_off = view.look(plan)
            yield from probe_rows(met, needs, seconds_off=seconds_off, has_policies=bool(facts.policies))

        yield from attempt_all(PROBE_ROWS, "a pod that starts", look)

    def image(self, context: Context, policy: Policy, view: ClusterView) -> EnclaveImage:
        """Return the image that a run would use now; one that a setting names is measured in a pod.

        :raises ConfigurationError: ``image-not-published``, ``image-malformed``.
        :raises EnclaveError: ``measurement-unreadable``, and why the pod could not run.
        """
        reference = kubernetes_settings().image
        if reference is None:
            return published_image(context, policy.trust, self.platform)
        pod = measure_pod(self.plan(context, reference, TRUST_SIMULATED))
        return EnclaveImage(
            reference=reference,
            digest=reference.rpartition("@")[2],
            inputs_sha256=UNKNOWN_INPUTS,
            **read_identity(view.output_of(pod, ENCLAVE_CONTAINER)),
        )

    def plan(self, context: Context, image: str, trust: str) -> PodPlan:
        """Return what the check's pods are like: as a run's, with names of their own."""
        ti = context["ti"]
        key = f"{ti.run_id}/{ti.try_number}"
        names = TryNames.of("platform-check", key)
        sizing = self.settings.enclave_sizing()
        owner = pod_owner(ti, key, deployment_id(self.settings.results_dir))
        return pod_plan(kubernetes_settings(), sizing, image, trust, names, owner)


def needs_of(settings: KubernetesSettings, sizing: EnclaveSizing, policy: Policy) -> ClusterNeeds:
    """Return what one run takes of the cluster, by the deployment's settings.

    :raises ConfigurationError: ``memory-malformed``, ``enclave-size-malformed``.
    """
    executors = settings.executors
    return ClusterNeeds(
        trust=policy.trust,
        namespace=settings.namespace,
        executors=executors,
        epc_bytes=epc_bytes(settings, sizing, policy.trust) or 0,
        memory_bytes=memory_bytes(settings.driver_memory)
        + executors * memory_bytes(settings.executor_memory),
        aesm=settings.quote_access == "aesm",
    )


def work_row(settings: KubernetesSettings) -> CheckRow:
    """Write and remove a blob where input and results go.

    :raises ConfidentialSparkError: the connection or the storage refuses.
    """
    work_folder(settings).try_out()
    return CheckRow.judge("work", f"done below {settings.work}", WORKS, passed=True, action="")


def is_configured(conn_id: str) -> bool:
    """Return whether there is a cluster to look at: named by a connection, or as `kubectl` would find it."""
    connection = find_connection(conn_id)
    named = bool(connection and connection.extra_dejson)
    found = os.environ.get("KUBECONFIG") or os.environ.get(IN_CLUSTER_VARIABLE)
    return named or bool(found) or (Path.home() / ".kube" / "config").is_file()


def reach(settings: KubernetesSettings, dag_id: str) -> ClusterView:
    """Return the cluster that the connection names; it has not been asked anything.

    :param dag_id: of the check, whose pods are known by it.
    :raises ConfigurationError: ``kubernetes-connection-invalid``.
    """
    cluster = connect(settings, patience=API_PATIENCE_SECONDS)
    # Read now, once: what is wrong with the connection is the row of the API.
    cluster.client  # noqa: B018
    leftovers = selector({DAG_LABEL: label_value(dag_id)})
    return ClusterView(cluster, leftovers=leftovers, patience=POD_PATIENCE_SECONDS)


def absent_cluster() -> Iterator[CheckRow]:
    """Yield the table of a deployment that uses no cluster."""
    yield CheckRow.absent(
        "api",
        "no connection names a cluster, and there is no kubeconfig",
        AN_API,
        "nothing, unless aks is wanted: then make the Airflow connection kubernetes_default, see docs/aks.md",
    )
    yield from not_looked_at(ALL_ROWS[1:], "api")


def image_rows(image: EnclaveImage, policy: Policy) -> Iterator[CheckRow]:
    """Yield whether the image is for this policy, and approved.

    :raises ConfigurationError: ``image-trust-mismatch``.
    :raises PolicyError: it is not approved.
    """
    image.require_trust(policy)
    yield CheckRow.judge("image", f"{image.reference} ({image.trust})", "an image", passed=True, action="")
    yield approval_row(image.identity, policy, "run DAG enclave_image, where a person approves an image")
