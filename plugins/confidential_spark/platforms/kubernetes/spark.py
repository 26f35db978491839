"""Spark in enclaves on a Kubernetes cluster, in pods that survive the death of their worker."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import (
    AirflowTaskTimeout,
)

from confidential_spark.core.errors import EnclaveError
from confidential_spark.enclave.image import EnclaveImage
from confidential_spark.enclave.occlum_config import require_memory_fits
from confidential_spark.hooks.blob.run_input import files_to_send
from confidential_spark.hooks.connections import find_connection
from confidential_spark.hooks.durable_files import storage_errors
from confidential_spark.hooks.results.location import result_store
from confidential_spark.operators.attempt import (
    EnclaveRun,
    StoredTry,
    executorless_since,
    log_position,
    save_executorless_since,
)
from confidential_spark.operators.base import airflow_failures
from confidential_spark.operators.launch import (
    Places,
    image_installation,
    image_places,
    launch_spec,
    quote_source,
)
from confidential_spark.operators.outcomes.lineage import ReadsInput
from confidential_spark.operators.outcomes.links import EnclavePlace
from confidential_spark.operators.resumable import ResumableTask, raise_if_cancelled
from confidential_spark.platforms.kubernetes.client.failures import API_AWAY, UNAUTHORIZED
from confidential_spark.platforms.kubernetes.names import (
    ENCLAVE_CONTAINER,
    RELEASE_PORT,
)
from confidential_spark.platforms.kubernetes.operators import KubernetesTask, run_folder
from confidential_spark.platforms.kubernetes.pod_specs import (
    PodPlan,
    driver_pod,
    executor_pod,
    launch_secret,
)
from confidential_spark.platforms.kubernetes.spark_conf import ExecutorPlan, driver_runtime

if TYPE_CHECKING:
    from pathlib import Path

    from airflow.sdk import Context

    from confidential_spark.agent.launch.launch_file import LaunchSpec
    from confidential_spark.core.platforms import Platform
    from confidential_spark.operators.base import RunScope
    from confidential_spark.platforms.kubernetes.enclave import KubernetesEnclave

ENCLAVE = ENCLAVE_CONTAINER
# The triggerer's clock may be ahead of this machine's.
CLOCK_MARGIN_SECONDS = 10.0
# A trigger that has not fired long after the pod's own deadline is broken.
TRIGGER_MARGIN = timedelta(minutes=30)


class EnclaveSparkKubernetesOperator(ReadsInput, KubernetesTask, ResumableTask):
    """Run one Spark job in enclaves on a Kubernetes cluster.

    This operator's pod is Spark's driver; executors are pods that Spark makes. All names follow from the
    try's nonce, which is stored before anything is made. When the worker dies, or while the triggerer waits
    in its place, the pods go on; the next try finds them and goes on with them. Every other end of the task
    removes them.

    The pod is built by Airflow's own operator for pods. Following and ending it are this project's: that
    operator gives up an API that is away for half a minute, and runs a job again whose pod has ended while
    nobody looked.

    :param platform: ``aks``.
    :param image: what `resolve_image` returned: an enclave image, by digest.
    :param manifest: what `resolve_input` returned, or None for jobs without input.
    """

    template_fields = ("enclave_image", "manifest")
    # Also the account that has the driver's results: the next try takes them from there.
    away = frozenset({API_AWAY, UNAUTHORIZED, "results-unreachable"})

    def __init__(
        self,
        *,
        platform: Platform,
        image: Any,
        manifest: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.platform = platform
        self.enclave_image = image
        self.manifest = manifest

    def run(self, context: Context, scope: RunScope) -> dict[str, str]:
        """Run the job, or go on with it, and return the :class:`EnclaveRun` that verification needs."""
        run = self.continued(context) or self.prepared(context, scope)
        enclave = self.enclave(context, run.nonce)
        store = result_store(self.settings.results_dir, scope.dag_id)
        with self.ended_with_the_task(context, enclave), store.hold(run.staging):
            self.start(context, scope, run, enclave)
            place = EnclavePlace.pod(enclave.names.driver, self.wing.namespace, enclave.selector)
            self.show_place(context, place)
        return self.go_on(context, {})

    def go_on(self, context: Context, event: dict[str, Any]) -> dict[str, str]:
        """Follow the driver to its end, here or in the triggerer, and return the run.

        :param event: the trigger's, where it has waited; how the driver is, is looked up anyway.
        """
        with airflow_failures(self.log, context["ti"]):
            run = self.stored_run(context)
            enclave = self.enclave(context, run.nonce)
            enclave.executorless_since = executorless_since(context)
            store = result_store(self.settings.results_dir, context["ti"].dag_id)
            with self.ended_with_the_task(context, enclave), store.hold(run.staging) as staging:
                self.require_time_left(run)
                if not self.follow(context, enclave):
                    save_executorless_since(context, enclave.executorless_since)
                    self.wait_in_triggerer(enclave, run)
                self.fetch(context, enclave, staging)
            self.remove(context, enclave)
            self.announce(f"{self.job.title} ran and signed its results")
            return run.to_xcom()

    def stored_run(self, context: Context) -> EnclaveRun:
        """Return the run that this task has started, here or before it was deferred.

        :raises EnclaveError: ``try-forgotten``: Airflow's task state store has lost it.
        """
        stored = StoredTry.load(context)
        if stored is None:
            raise EnclaveError(
                "Airflow no longer knows which pods this task has started.",
                code="try-forgotten",
                expected="the try in the task state store",
                action="clear the task; the run's teardown removes the pods",
            )
        return stored.run

    def start(self, context: Context, scope: RunScope, run: EnclaveRun, enclave: KubernetesEnclave) -> None:
        """Make what is not there yet: the input's blobs, the driver, its launch file."""
        image = EnclaveImage.from_xcom(self.enclave_image)
        plan = replace(
            self.pod_plan(context, enclave, image.reference, image.trust), input_bytes=self.input_bytes
        )
        launch = self.launch(context, scope, image, run, enclave)
        if self.cluster.find(enclave.names.driver, ENCLAVE) is None:
            raise_if_cancelled(enclave.stopped)
            self.create_driver(context, plan)
        owner = enclave.require(enclave.names.driver, ENCLAVE).uid
        # After its owner, so that it never stays behind; the pod waits for it.
        template = executor_pod(plan, executor_launch(launch))
        self.cluster.create_secret(launch_secret(plan, launch, template, owner))
        self.log.info("Pod %s of image %s is made", enclave.names.driver, image.digest)

    def create_driver(self, context: Context, plan: PodPlan) -> None:
        """Make the driver's pod as Airflow builds pods: with its labels and mutation hook."""
        # Imported late: DAG files import this module, and the cluster's client is large.
        from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
        from airflow.providers.cncf.kubernetes.pod_generator import PodGenerator

        builder = KubernetesPodOperator(
            task_id=self.task_id,
            kubernetes_conn_id=self.wing.conn_id,
            namespace=self.wing.namespace,
            full_pod_spec=PodGenerator.deserialize_model_dict(driver_pod(plan)),
            base_container_name=ENCLAVE,
            random_name_suffix=False,
            # A returned value would mean one more container.
            do_xcom_push=False,
        )
        self.cluster.create_pod(builder.build_pod_request_obj(context))

    def follow(self, context: Context, enclave: KubernetesEnclave) -> bool:
        """Copy the driver's log until its end, or what there is of it now; return whether it has ended."""
        driver = enclave.names.driver
        if self.wing.deferrable:
            state = enclave.require(driver, ENCLAVE)
            enclave.check_startup(state)
        else:
            state = enclave.await_running(driver, ENCLAVE, or_ended=True)
        if not state.ended:
            enclave.check_siblings(state)
        return enclave.follow(
            driver,
            ENCLAVE,
            known_until=log_position(context),
            on_position=lambda stamp: self.remember(context, stamp),
            on_look=enclave.check_siblings,
            until_ended=not self.wing.deferrable,
        )

    def fetch(self, context: Context, enclave: KubernetesEnclave, staging: Path) -> None:
        """Take the results from the blob that the driver has written."""
        ti = context["ti"]
        with storage_errors("fetch results"):
            self.work.fetch(run_folder(ti.dag_id, ti.run_id), enclave.names.base, staging)

    def require_time_left(self, run: EnclaveRun) -> None:
        """End a deferred run that takes too long: Airflow itself counts from each time it is resumed.

        :raises AirflowTaskTimeout: as Airflow would.
        """
        if self.wing.deferrable and time.time() > self.ends_at(run):
            raise AirflowTaskTimeout(f"the run of {run.started_at} has taken more than {self.time_limit}")

    @property
    def input_bytes(self) -> int:
        """Size of the input's files; 0 for jobs without input."""
        return int(self.manifest["bytes"]) if self.manifest else 0

    @property
    def time_limit(self) -> timedelta:
        """How long a run may take."""
        return self.execution_timeout or timedelta(minutes=self.wing.deadline_minutes)

    def ends_at(self, run: EnclaveRun) -> float:
        """Return when a run must be over, seconds since 1970."""
        return (datetime.fromisoformat(run.started_at) + self.time_limit).timestamp()

    def wait_in_triggerer(self, enclave: KubernetesEnclave, run: EnclaveRun) -> None:
        """Give the worker's slot back until the driver has ended, or is worth another look.

        :raises TaskDeferred: always.
        """
        from confidential_spark.platforms.kubernetes.trigger import EnclavePodTrigger

        limit = timedelta(minutes=self.wing.deadline_minutes) + TRIGGER_MARGIN
        trigger = EnclavePodTrigger(
            names=[enclave.names.driver],
            namespace=self.wing.namespace,
            container=ENCLAVE,
            conn_id=self.wing.conn_id,
            connection_extras=connection_extras(self.wing.conn_id),
            start_seconds=enclave.start_seconds,
            look_at=self.ends_at(run) + CLOCK_MARGIN_SECONDS,
        )
        self.defer(trigger=trigger, method_name="go_on", timeout=limit)

    def launch(
        self,
        context: Context,
        scope: RunScope,
        image: EnclaveImage,
        run: EnclaveRun,
        enclave: KubernetesEnclave,
    ) -> LaunchSpec:
        """Return what the driver's agent is asked to do.

        :raises ConfigurationError: too little memory for Spark, too much for an enclave, cores out of range.
        """
        settings = self.wing
        executors = ExecutorPlan(
            count=settings.executors,
            cores=settings.executor_cores,
            memory=settings.executor_memory,
            cpu_request=settings.cpu_request,
            input_bytes=self.input_bytes,
        )
        runtime = driver_runtime(
            memory=settings.driver_memory,
            installation=image_installation(image, in_pods=True),
            executors=executors,
            image=image.reference,
            namespace=settings.namespace,
            names=enclave.names,
        )
        for plan in (runtime.memory, executors.memory_plan):
            require_memory_fits(plan, self.settings.enclave_sizing())
        source = quote_source(image, self.platform, self.settings)
        places = self.places(context, scope, enclave)
        return launch_spec(self.job, scope, run, runtime, source, places, image_digest=image.digest)

    def places(self, context: Context, scope: RunScope, enclave: KubernetesEnclave) -> Places:
        """Return where things are; a month of files becomes one of blobs."""
        places = replace(
            image_places(self.job, self.manifest, self.settings, release_port=RELEASE_PORT),
            results_blob=self.results_blob(context, enclave.names),
        )
        contract = self.job.rules().input
        if not (files_to_send(self.manifest) and self.manifest and scope.month and contract):
            return places
        lifetime = timedelta(minutes=self.wing.deadline_minutes)
        url, blobs = self.work.stored_input(self.manifest, scope.month, contract, lifetime)
        return replace(places, input=url, input_files=blobs)


def executor_launch(driver: LaunchSpec) -> LaunchSpec:
    """Return what every executor is told: whom to attest to and how to start, nothing secret.

    Where blobs are, and the right to read them, an executor learns from the driver's enclave.
    """
    # Imported late: of a run's tasks, only those that start an enclave read launch files' rules.
    from confidential_spark.agent.launch.launch_file import LaunchSpec

    return LaunchSpec(
        nonce=driver.nonce,
        run_id=driver.run_id,
        results_dir=driver.results_dir,
        attestation_url=driver.attestation_url,
        attestation_api_version=driver.attestation_api_version,
        quote_provider=driver.quote_provider,
        jobs_dir=driver.jobs_dir,
        input=None if driver.input_files else driver.input,
        work_dir=driver.work_dir,
        java=driver.java,
        spark_home=driver.spark_home,
        python=driver.python,
        jvm_options=[option for option in driver.jvm_options or () if not option.startswith("-Xmx")],
        release_port=driver.release_port,
    )


def connection_extras(conn_id: str) -> dict[str, Any]:
    """Return what the trigger needs to reach the cluster, which cannot look a connection up by itself."""
    connection = find_connection(conn_id)
    # Without a connection the provider uses what the machine itself knows, and so does the trigger.
    return dict(connection.extra_dejson) if connection else {}
