"""The launch file of a job, on every platform: what the operator asks of the enclave."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from confidential_spark.agent.protocol import TRUST_SIMULATED
from confidential_spark.enclave import layout
from confidential_spark.enclave.spark import SparkInstallation
from confidential_spark.hooks.attestation import DEFAULT_API_VERSION
from confidential_spark.hooks.blob.run_input import enclave_blobs
from confidential_spark.hooks.endpoints import attestation_endpoints

if TYPE_CHECKING:
    from collections.abc import Mapping

    from confidential_spark.agent.launch.launch_file import LaunchSpec
    from confidential_spark.core.platforms import Platform
    from confidential_spark.enclave.image import EnclaveImage
    from confidential_spark.enclave.spark import SparkRuntime
    from confidential_spark.jobs.job import SparkJob
    from confidential_spark.operators.attempt import EnclaveRun
    from confidential_spark.operators.base import RunScope
    from confidential_spark.settings import Settings


@dataclass(frozen=True, kw_only=True)
class QuoteSource:
    """Where an enclave's quote and token come from: the launch file's keys of these names.

    :param jobs_dir: the job files that a simulated enclave measures as part of itself.
    """

    quote_provider: str
    attestation_url: str
    attestation_api_version: str
    jobs_dir: str | None = None


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where things are, as the enclave sees them: the launch file's keys of these names.

    :param input: location of the month's files, or None for jobs without input.
    :param input_files: the blobs to download from there, with rights for hours; None for files.
    :param results_blob: where results go instead, with the right to write it; None: to ``results_dir``.
    :param release_port: where a driver hands the Spark secret out to executors, or None: there are none.
    """

    results_dir: str
    job_file: str
    work_dir: str
    input: str | None
    release_port: int | None = None
    input_files: list[dict[str, Any]] | None = field(default=None, repr=False)
    results_blob: dict[str, str] | None = field(default=None, repr=False)


def launch_spec(
    job: SparkJob,
    scope: RunScope,
    run: EnclaveRun,
    runtime: SparkRuntime,
    source: QuoteSource,
    places: Places,
    *,
    image_digest: str,
) -> LaunchSpec:
    """Return what the agent is asked to do.

    :param image_digest: of the image whose enclave it is.
    :raises AgentError: ``launch-invalid``: the agent would refuse it.
    """
    # Imported late: of a run's tasks, only those that start an enclave read launch files' rules.
    from confidential_spark.agent.launch.launch_file import LaunchSpec

    return LaunchSpec(
        nonce=run.nonce,
        run_id=run.run_id,
        job=job.name,
        arguments=job.arguments_for(scope.month, scope.options),
        month=str(scope.month) if scope.month else None,
        image_digest=image_digest,
        java=str(runtime.java),
        spark_home=str(runtime.spark_home),
        python=str(runtime.python),
        jvm_options=list(runtime.jvm_options),
        spark_conf=runtime.spark_conf,
        **asdict(source),
        **asdict(places),
    )


def quote_source(image: EnclaveImage, platform: Platform, settings: Settings) -> QuoteSource:
    """Return whom an image's enclave attests to.

    A simulated image has its own attestation service, so that its container needs no network.
    """
    if image.trust == TRUST_SIMULATED:
        return QuoteSource(
            quote_provider="software",
            attestation_url=layout.SIMULATED_ATTESTATION_URL,
            attestation_api_version=DEFAULT_API_VERSION,
            jobs_dir=str(layout.JOBS_DIR),
        )
    with attestation_endpoints(platform, settings) as endpoints:
        return QuoteSource(
            quote_provider="occlum",
            attestation_url=endpoints.provider.url,
            attestation_api_version=endpoints.provider.api_version,
        )


def image_places(
    job: SparkJob, manifest: Mapping[str, Any] | None, settings: Settings, *, release_port: int | None = None
) -> Places:
    """Return where things are inside the image, and which blobs its enclave downloads.

    :param manifest: what `resolve_input` returned.
    :raises InputError: ``storage-…``.
    :raises ConfigurationError: ``storage-connection-…``.
    """
    blobs = enclave_blobs(manifest, settings)
    folder = f"file://{layout.INPUT_DIR}" if manifest else None
    return Places(
        results_dir=str(layout.RESULTS_DIR),
        job_file=str(layout.JOBS_DIR / f"{job.name}.py"),
        work_dir=str(layout.WORK_DIR),
        input=manifest["uri"] if manifest and blobs else folder,
        input_files=blobs,
        release_port=release_port,
    )


def image_installation(image: EnclaveImage, *, in_pods: bool) -> SparkInstallation:
    """Return where Java, Spark and Python are inside the image.

    :param in_pods: whether Spark's driver and executors are processes of their own.
    """
    archive = layout.POD_CLASS_ARCHIVE if in_pods else layout.CLASS_ARCHIVE
    return SparkInstallation(
        java=Path(layout.JAVA),
        spark_home=Path(layout.SPARK_HOME),
        python=Path(layout.PYTHON),
        archive=Path(archive) if image.trust == TRUST_SIMULATED else None,
    )
