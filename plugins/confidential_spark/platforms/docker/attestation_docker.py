"""Platform attestation on a Docker engine: the image's own enclave, on the host that will run it."""

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
from confidential_spark.platforms.docker.container import EnclaveContainer
from confidential_spark.platforms.docker.enclave import (
    container_spec,
    run_labels,
    sgx_devices,
)
from confidential_spark.platforms.docker.operators import DockerTask

if TYPE_CHECKING:
    from airflow.sdk import Context

    from confidential_spark.hooks.attestation import AttestationProvider
    from confidential_spark.operators.base import RunScope


class AttestDockerPlatformOperator(DockerTask, AttestPlatformOperator):
    """Attest the enclave image on its Docker host, in a container that is removed at once."""

    def collect(self, context: Context, scope: RunScope, provider: AttestationProvider) -> dict[str, str]:
        """Let the agent attest in a container."""
        self.remove_earlier_tries(scope)
        nonce = b64url(self.nonce_of(scope.try_number))
        image = EnclaveImage.from_xcom(self.image)
        launch = LaunchSpec(
            nonce=nonce,
            run_id=scope.run_id,
            results_dir=str(layout.RESULTS_DIR),
            **quote_source(image, self.platform, self.settings),
        )
        labels = run_labels(context["ti"], nonce)
        specs = [
            container_spec(self.settings, image, "attest", launch, labels, devices)
            for devices in sgx_devices(image, self.settings)
        ]
        enclave = self.enclave(context, nonce)
        with TemporaryDirectory(prefix="attest-") as folder:
            try:
                container = enclave.start(specs, inputs=[])
                enclave.follow(container)
                enclave.container.fetch(container, layout.RESULTS_DIR, Path(folder))
            finally:
                enclave.container.remove()
            return read_attestation(Path(folder))

    def remove_earlier_tries(self, scope: RunScope) -> None:
        """Remove what a killed worker has left; its nonce is never used again."""
        for earlier in range(1, scope.try_number):
            EnclaveContainer(self.cli, b64url(self.nonce_of(earlier))).remove()
