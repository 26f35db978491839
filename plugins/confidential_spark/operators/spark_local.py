"""Spark in a simulated enclave: a child process on the Airflow machine."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, ClassVar

from confidential_spark.agent.launch import LaunchSpec
from confidential_spark.core.spark_launch import SparkRuntime
from confidential_spark.operators.attestation_endpoints import attestation_endpoints
from confidential_spark.operators.base import ConfidentialOperator
from confidential_spark.operators.enclave_process import EnclaveProcess
from confidential_spark.operators.enclave_run import EnclaveRun

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.sdk import Context

    from confidential_spark.core.platforms import Platform
    from confidential_spark.operators.base import RunScope


class EnclaveSparkLocalOperator(ConfidentialOperator):
    """Run one Spark job in a simulated enclave on this machine.

    :param platform: ``local``.
    :param image: what `resolve_image` returned.
    :param manifest: what `resolve_input` returned, or None for jobs without input.
    """

    template_fields: ClassVar[Sequence[str]] = ("image", "manifest")

    def __init__(
        self,
        *,
        platform: Platform,
        image: Mapping[str, Any],
        manifest: Mapping[str, Any] | None,
        **kwargs: Any,  # noqa: ANN401 - Airflow's own
    ) -> None:
        """Pass on."""
        super().__init__(**kwargs)
        self.platform = platform
        self.image = image
        self.manifest = manifest
        self._enclave: EnclaveProcess | None = None

    def run(self, context: Context, scope: RunScope) -> dict[str, str]:
        """Run the job and return the :class:`EnclaveRun` that verification needs."""
        run = EnclaveRun.prepare(context, scope, self.job, self.settings)
        store = context["task_state_store"]
        with (
            attestation_endpoints(self.platform, self.settings) as endpoints,
            TemporaryDirectory(prefix="enclave-") as work_dir,
        ):
            launch_file = Path(work_dir) / "launch.json"
            self.launch_spec(run, scope, endpoints.provider_url, work_dir).write(launch_file)
            self._enclave = EnclaveProcess(
                "run",
                launch_file,
                log=lambda line: self.log.info("%s", line),
                on_progress=lambda record: store.set("progress", dict(record)),
            )
            self._enclave.run()
        return run.to_xcom()

    def on_kill(self) -> None:
        """End the enclave with the task."""
        if self._enclave is not None:
            self._enclave.stop()
