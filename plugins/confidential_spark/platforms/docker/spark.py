"""Spark in an enclave on a Docker engine, in a container that survives the death of its worker."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow.providers.docker.operators.docker import DockerOperator

from confidential_spark.agent.launch.launch_file import LaunchSpec
from confidential_spark.core.errors import EnclaveError
from confidential_spark.enclave import layout
from confidential_spark.enclave.image import EnclaveImage
from confidential_spark.enclave.occlum_config import require_memory_fits
from confidential_spark.enclave.spark import choose_runtime
from confidential_spark.hooks.durable_files import storage_errors
from confidential_spark.hooks.result_store import ResultStore
from confidential_spark.jobs.input.location import local_folder
from confidential_spark.operators.attempt import EnclaveRun, StoredTry, log_position, save_log_position
from confidential_spark.operators.launch import image_installation, quote_source
from confidential_spark.platforms.docker.container import ENGINE_AWAY, EnclaveContainer
from confidential_spark.platforms.docker.enclave import (
    container_spec,
    run_labels,
    sgx_devices,
    spark_memory,
)
from confidential_spark.platforms.docker.operators import DockerTask

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from airflow.sdk import Context

    from confidential_spark.core.platforms import Platform
    from confidential_spark.operators.base import RunScope
    from confidential_spark.platforms.docker.enclave import DockerEnclave

# The log's position is a row in Airflow's database, so it is not written with every line.
POSITION_INTERVAL_SECONDS = 5.0
NEVER_STARTED = "created"


class EnclaveSparkDockerOperator(DockerTask, DockerOperator):
    """Run one Spark job inside an enclave on a Docker host.

    The container is known by the try's nonce, which is stored before there is a container. When the worker
    dies, the next try finds the container, running or finished, and goes on with it; every other end of the
    task removes it.

    :param platform: ``dcsv3``.
    :param image: what `resolve_image` returned: an enclave image, by digest.
    :param manifest: what `resolve_input` returned, or None for jobs without input.
    """

    template_fields = ("image", "manifest")

    def __init__(
        self,
        *,
        platform: Platform,
        image: Any,
        manifest: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(image=image, mount_tmp_dir=False, user=layout.USER, **kwargs)
        self.platform = platform
        self.manifest = manifest
        self._next_position = 0.0

    def run(self, context: Context, scope: RunScope) -> dict[str, str]:
        """Run the job, or go on with it, and return the :class:`EnclaveRun` that verification needs."""
        rendered: Any = self.image
        image = EnclaveImage.from_xcom(rendered)
        run = self.continued(context) or self.prepared(context, scope)
        enclave = self.enclave(context, run.nonce)
        store = ResultStore(self.settings.results_dir, scope.dag_id)
        with self.ended_with_the_task(context, enclave.container), store.hold(run.staging) as staging:
            container = self.started(context, scope, image, run, enclave)
            enclave.follow(
                container,
                known_until=log_position(context),
                on_position=lambda stamp: self.remember(context, stamp),
            )
            with storage_errors("fetch results"):
                enclave.container.fetch(container, layout.RESULTS_DIR, staging)
        self.announce(f"{self.job.title} ran and signed its results")
        return run.to_xcom()

    def continued(self, context: Context) -> EnclaveRun | None:
        """Return the run whose container a dead worker has left; a container of no use is removed."""
        stored = StoredTry.load(context)
        if stored is None:
            return None
        container = EnclaveContainer(self.cli, stored.run.nonce)
        found = container.find()
        if found and found["State"] != NEVER_STARTED and stored.continues_in(context):
            self.announce_progress(f"goes on with container {found['Id'][:12]} ({found['Status']})")
            stored.run.hand_on(context)
            return stored.run
        container.remove()
        return None

    def prepared(self, context: Context, scope: RunScope) -> EnclaveRun:
        """Return a new run, stored where the next try looks before anything is created."""
        run = EnclaveRun.prepare(context, scope, self.job, self.settings)
        StoredTry.store(context, run)
        return run

    def started(
        self, context: Context, scope: RunScope, image: EnclaveImage, run: EnclaveRun, enclave: DockerEnclave
    ) -> str:
        """Return the id of the run's container, which is started unless it was."""
        if found := enclave.container.find():
            return str(found["Id"])
        launch = self.launch_spec(scope, image, run)
        labels = run_labels(context["ti"], run.nonce)
        specs = [
            container_spec(self.settings, image, "run", launch, labels, devices)
            for devices in sgx_devices(image, self.settings)
        ]
        container = enclave.start(specs, self.input_files())
        self.log.info("Container %s of image %s has started", container[:12], image.digest)
        return container

    def launch_spec(self, scope: RunScope, image: EnclaveImage, run: EnclaveRun) -> LaunchSpec:
        """Return what the agent is asked to do.

        :raises ConfigurationError: too little memory for Spark, too much for its enclave, cores out of range.
        """
        runtime = choose_runtime(
            input_bytes=self.manifest["bytes"] if self.manifest else 0,
            cores=self.settings.dcsv3_cores,
            memory=spark_memory(self.settings),
            installation=image_installation(image),
        )
        require_memory_fits(runtime.memory, self.settings.enclave_sizing())
        return LaunchSpec(
            nonce=run.nonce,
            run_id=run.run_id,
            results_dir=str(layout.RESULTS_DIR),
            **quote_source(image, self.platform, self.settings),
            job=self.job.name,
            job_file=str(layout.JOBS_DIR / f"{self.job.name}.py"),
            arguments=self.job.arguments_for(scope.month, scope.options),
            month=str(scope.month) if scope.month else None,
            input=f"file://{layout.INPUT_DIR}" if self.manifest else None,
            work_dir=str(layout.WORK_DIR),
            image_digest=image.digest,
            java=str(runtime.java),
            spark_home=str(runtime.spark_home),
            python=str(runtime.python),
            jvm_options=list(runtime.jvm_options),
            spark_conf=runtime.spark_conf,
        )

    def input_files(self) -> list[Path]:
        """Return the month's files on this machine, which are sent to the enclave's engine."""
        if not self.manifest:
            return []
        return sorted(local_folder(self.manifest["uri"]).glob("[!._]*.parquet"))

    def remember(self, context: Context, stamp: str) -> None:
        """Keep where the log is complete, now and then."""
        if stamp and time.monotonic() >= self._next_position:
            self._next_position = time.monotonic() + POSITION_INTERVAL_SECONDS
            save_log_position(context, stamp)

    @contextmanager
    def ended_with_the_task(self, context: Context, container: EnclaveContainer) -> Iterator[None]:
        """Remove the container however the task ends; where the engine is away, the next try goes on."""
        engine_away = False
        try:
            yield
        except EnclaveError as error:
            engine_away = error.code == ENGINE_AWAY
            raise
        finally:
            if not engine_away:
                self.remove(context, container)

    def remove(self, context: Context, container: EnclaveContainer) -> None:
        """Remove the container and forget it; the teardown removes what an engine's silence leaves."""
        try:
            container.remove()
        except EnclaveError as error:
            self.log.warning("The container is not removed yet: %s", error)
        else:
            StoredTry.forget(context)
