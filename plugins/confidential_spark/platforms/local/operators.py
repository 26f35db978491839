"""The tasks of a run in a simulated enclave: a child process on the Airflow machine."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from confidential_spark.agent.attestation.measurement import simulated_measurement
from confidential_spark.agent.protocol import SIMULATED_NOTICE
from confidential_spark.enclave.java import find_java
from confidential_spark.enclave.spark import choose_runtime, find_spark_home, host_installation
from confidential_spark.hooks.blob.run_input import enclave_blobs
from confidential_spark.hooks.endpoints import attestation_endpoints
from confidential_spark.hooks.results.location import result_store
from confidential_spark.hooks.task_folder import task_folder
from confidential_spark.operators.attempt import EnclaveRun
from confidential_spark.operators.attestation import AttestPlatformOperator, read_attestation
from confidential_spark.operators.base import ConfidentialOperator
from confidential_spark.operators.image import IF_CHANGED_ON_PURPOSE, require_approved
from confidential_spark.operators.launch import Places, QuoteSource, launch_spec
from confidential_spark.operators.outcomes.lineage import ReadsInput
from confidential_spark.platforms.local.process import EnclaveProcess

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from airflow.sdk import Context

    from confidential_spark.agent.launch.launch_file import LaunchSpec
    from confidential_spark.core.platforms import Platform
    from confidential_spark.enclave.spark import SparkRuntime
    from confidential_spark.hooks.attestation import AttestationProvider
    from confidential_spark.operators.base import RunScope
    from confidential_spark.settings import Settings


def simulated_source(provider: AttestationProvider, settings: Settings) -> QuoteSource:
    """Return whom an enclave of this machine attests to."""
    return QuoteSource(
        quote_provider="software",
        attestation_url=provider.url,
        attestation_api_version=provider.api_version,
        jobs_dir=str(settings.jobs_dir),
    )


class ResolveSimulatedImageOperator(ConfidentialOperator):
    """Measure the simulated enclave of this machine and refuse it unless the policy allows it.

    :param platform: whose policy decides.
    """

    begins_run = True

    def __init__(self, *, platform: Platform, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.platform = platform

    def run(self, context: Context, scope: RunScope) -> dict[str, Any]:
        """Return the image's digest, measurement and trust level."""
        # Imported late: DAG files import this module, and need no cryptography to be parsed.
        from confidential_spark.verification import load_policy
        from confidential_spark.verification.attestation.identity import EnclaveClaims

        self.job.require_supported_form(self.settings.jobs_dir)
        measurement = simulated_measurement(self.settings.jobs_dir)
        policy = load_policy(self.settings.policy_path(self.platform))
        require_approved(EnclaveClaims(**asdict(measurement)), policy, IF_CHANGED_ON_PURPOSE)
        self.log.warning(SIMULATED_NOTICE)
        self.announce(f"MRENCLAVE {measurement.mrenclave[:12]}… approved by policy {policy.name}")
        return {"digest": measurement.image_digest, "trust": policy.trust, **asdict(measurement)}


class AttestLocalPlatformOperator(AttestPlatformOperator):
    """Attest the simulated enclave of this machine, a child process."""

    _enclave: EnclaveProcess | None = None

    def collect(self, context: Context, scope: RunScope, provider: AttestationProvider) -> dict[str, str]:
        """Let the agent attest here."""
        with task_folder("attest") as folder:
            results = folder / "results"
            results.mkdir()
            launch_file = folder / "launch.json"
            source = simulated_source(provider, self.settings)
            self.attest_spec(scope, str(results), source).write(launch_file)
            self._enclave = EnclaveProcess("attest", launch_file, log=lambda line: self.log.info("%s", line))
            self._enclave.run()
            return read_attestation(results)

    def on_kill(self) -> None:
        """End the enclave with the task."""
        if self._enclave is not None:
            self._enclave.terminate()


class EnclaveSparkLocalOperator(ReadsInput, ConfidentialOperator):
    """Run one Spark job in a simulated enclave on this machine.

    :param platform: ``local``.
    :param image: what `resolve_image` returned.
    :param manifest: what `resolve_input` returned, or None for jobs without input.
    """

    template_fields = ("image", "manifest")

    def __init__(
        self,
        *,
        platform: Platform,
        image: Mapping[str, Any],
        manifest: Mapping[str, Any] | None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.platform = platform
        self.image = image
        self.manifest = manifest
        self._enclave: EnclaveProcess | None = None

    def run(self, context: Context, scope: RunScope) -> dict[str, str]:
        """Run the job and return the :class:`EnclaveRun` that verification needs."""
        run = EnclaveRun.prepare(context, scope, self.job, self.settings)
        store = result_store(self.settings.results_dir, scope.dag_id)
        with (
            store.hold(run.staging) as staging,
            attestation_endpoints(self.platform, self.settings) as endpoints,
            task_folder("enclave") as folder,
        ):
            launch_file = folder / "launch.json"
            self.launch(run, scope, endpoints.provider, staging, folder / "work").write(launch_file)
            self._enclave = EnclaveProcess(
                "run",
                launch_file,
                log=lambda line: self.log.info("%s", line),
                on_progress=lambda record: self.show_progress(context, record),
            )
            self._enclave.run()
        self.announce(f"{self.job.title} ran and signed its results")
        return run.to_xcom()

    def launch(
        self,
        run: EnclaveRun,
        scope: RunScope,
        provider: AttestationProvider,
        results_dir: Path,
        work_dir: Path,
    ) -> LaunchSpec:
        """Return what the agent is asked to do.

        :raises ConfigurationError: no fit Java, no Spark, too little memory, before anything is started.
        """
        places = Places(
            results_dir=str(results_dir),
            job_file=str(self.job.file(self.settings.jobs_dir)),
            work_dir=str(work_dir),
            input=self.manifest["uri"] if self.manifest else None,
            input_files=enclave_blobs(self.manifest, self.settings),
        )
        source = simulated_source(provider, self.settings)
        return launch_spec(
            self.job, scope, run, self.spark_runtime(), source, places, image_digest=self.image["digest"]
        )

    def spark_runtime(self) -> SparkRuntime:
        """Choose Java, JVM options and Spark settings for the size of the input."""
        # Imported late: of a run's tasks, only this one starts a Java.
        from confidential_spark.enclave.class_archive import class_archive_path

        java = find_java()
        return choose_runtime(
            input_bytes=self.manifest["bytes"] if self.manifest else 0,
            cores=self.settings.spark_cores,
            memory=self.settings.spark_memory,
            installation=host_installation(
                java=java,
                archive=class_archive_path(self.settings.cache_dir, java.path, find_spark_home()),
            ),
        )

    def on_kill(self) -> None:
        """End the enclave with the task."""
        if self._enclave is not None:
            self._enclave.terminate()
