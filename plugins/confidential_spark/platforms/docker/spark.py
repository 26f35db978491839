"""Spark in an enclave on a Docker engine, in a container that survives the death of its worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from confidential_spark.enclave import layout
from confidential_spark.enclave.image import EnclaveImage
from confidential_spark.enclave.occlum_config import require_memory_fits
from confidential_spark.enclave.spark import choose_runtime
from confidential_spark.hooks.blob.run_input import files_to_send
from confidential_spark.hooks.durable_files import storage_errors
from confidential_spark.hooks.results.location import result_store
from confidential_spark.hooks.task_folder import task_folder
from confidential_spark.operators.attempt import log_position
from confidential_spark.operators.launch import image_installation, image_places, launch_spec, quote_source
from confidential_spark.operators.outcomes.lineage import ReadsInput
from confidential_spark.operators.outcomes.links import EnclavePlace
from confidential_spark.operators.resumable import ResumableTask
from confidential_spark.platforms.docker.container import ENGINE_AWAY
from confidential_spark.platforms.docker.enclave import (
    container_spec,
    sgx_devices,
    spark_memory,
)
from confidential_spark.platforms.docker.operators import DockerTask

if TYPE_CHECKING:
    from airflow.sdk import Context

    from confidential_spark.agent.launch.launch_file import LaunchSpec
    from confidential_spark.core.platforms import Platform
    from confidential_spark.operators.attempt import EnclaveRun
    from confidential_spark.operators.base import RunScope
    from confidential_spark.platforms.docker.enclave import DockerEnclave


class EnclaveSparkDockerOperator(ReadsInput, DockerTask, ResumableTask):
    """Run one Spark job inside an enclave on a Docker host.

    The container is known by the try's nonce, which is stored before there is a container. When the worker
    dies, the next try finds the container, running or finished, and goes on with it; every other end of the
    task removes it.

    :param platform: ``dcsv3``.
    :param image: what `resolve_image` returned: an enclave image, by digest.
    :param manifest: what `resolve_input` returned, or None for jobs without input.
    """

    template_fields = ("image", "manifest")
    away = frozenset({ENGINE_AWAY})

    def __init__(
        self,
        *,
        platform: Platform,
        image: Any,
        manifest: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.image = image
        self.platform = platform
        self.manifest = manifest

    def run(self, context: Context, scope: RunScope) -> dict[str, str]:
        """Run the job, or go on with it, and return the :class:`EnclaveRun` that verification needs."""
        rendered: Any = self.image
        image = EnclaveImage.from_xcom(rendered)
        run = self.continued(context) or self.prepared(context, scope)
        enclave = self.enclave(context, run.nonce)
        store = result_store(self.settings.results_dir, scope.dag_id)
        with self.ended_with_the_task(context, enclave), store.hold(run.staging) as staging:
            container = self.started(context, scope, image, run, enclave)
            self.show_place(context, EnclavePlace.container(container, self.wing.conn_id))
            enclave.follow(
                container,
                known_until=log_position(context),
                on_position=lambda stamp: self.remember(context, stamp),
            )
            with storage_errors("fetch results"):
                enclave.container.fetch(container, layout.RESULTS_DIR, staging)
        self.remove(context, enclave)
        self.announce(f"{self.job.title} ran and signed its results")
        return run.to_xcom()

    def started(
        self, context: Context, scope: RunScope, image: EnclaveImage, run: EnclaveRun, enclave: DockerEnclave
    ) -> str:
        """Return the id of the run's container, which is started unless it was."""
        if found := enclave.container.find():
            return str(found["Id"])
        launch = self.launch(scope, image, run)
        labels = self.owner_labels(context, run.nonce)
        specs = [
            container_spec(self.wing, image, "run", launch, labels, devices)
            for devices in sgx_devices(image, self.wing)
        ]
        with task_folder("launch") as folder:
            launch_file = folder / "launch.json" if launch.input_files else None
            if launch_file:
                launch.write(launch_file)
            container = enclave.start(specs, files_to_send(self.manifest), launch_file)
        self.log.info("Container %s of image %s has started", container[:12], image.digest)
        return container

    def launch(self, scope: RunScope, image: EnclaveImage, run: EnclaveRun) -> LaunchSpec:
        """Return what the agent is asked to do.

        :raises ConfigurationError: too little memory for Spark, too much for its enclave, cores out of range.
        """
        runtime = choose_runtime(
            input_bytes=self.manifest["bytes"] if self.manifest else 0,
            cores=self.wing.cores,
            memory=spark_memory(self.wing),
            installation=image_installation(image, in_pods=False),
        )
        require_memory_fits(runtime.memory, self.settings.enclave_sizing())
        source = quote_source(image, self.platform, self.settings)
        places = image_places(self.job, self.manifest, self.settings)
        return launch_spec(self.job, scope, run, runtime, source, places, image_digest=image.digest)
