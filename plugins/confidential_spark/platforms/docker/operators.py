"""The tasks of a run on a Docker engine beside Spark: find the image, attest it, leave nothing behind."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from confidential_spark.agent.protocol import b64url
from confidential_spark.core.errors import ConfigurationError
from confidential_spark.enclave import layout
from confidential_spark.enclave.image import EnclaveImage
from confidential_spark.enclave.output import EnclaveOutput
from confidential_spark.hooks.deployment import deployment_id
from confidential_spark.hooks.task_folder import task_folder
from confidential_spark.operators.attestation import AttestPlatformOperator, read_attestation
from confidential_spark.operators.base import ConfidentialOperator
from confidential_spark.operators.image import ResolvePublishedImageOperator
from confidential_spark.operators.launch import quote_source
from confidential_spark.operators.publish import CleanStagingOperator
from confidential_spark.operators.resumable import abandoned
from confidential_spark.platforms.docker.container import (
    EnclaveContainer,
    ask_engine,
    leftovers,
    remove_leftover,
)
from confidential_spark.platforms.docker.enclave import (
    DockerEnclave,
    connect,
    container_spec,
    run_labels,
    sgx_devices,
)
from confidential_spark.platforms.docker.engine import RegistryLogin
from confidential_spark.platforms.docker.images import ImageStore
from confidential_spark.platforms.docker.settings import DockerSettings, docker_settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.sdk import Context
    from airflow.sdk.types import RuntimeTaskInstanceProtocol
    from docker.api import APIClient

    from confidential_spark.hooks.attestation import AttestationProvider
    from confidential_spark.hooks.results.store import Location
    from confidential_spark.operators.base import RunScope
    from confidential_spark.operators.resumable import Leftover

# Under this XCom key the run's teardown finds what a dead worker has left.
NONCE_KEY = "container_nonce"
CONTAINER_TASKS = ("attestation.attest_platform", "spark.run_spark")
# A run is over when its teardown is, so an engine that is away does not hold it up for long.
PATIENCE_SECONDS = 30.0


class DockerTask(ConfidentialOperator):
    """Base of the operators that run one enclave container at a time."""

    _nonce: str | None = None
    _killed: bool = False

    @property
    def wing(self) -> DockerSettings:
        """The settings of the engine and its containers."""
        return docker_settings()

    @cached_property
    def cli(self) -> APIClient:
        """Client of the engine that the deployment's connection names."""
        return connect(docker_settings())

    def enclave(self, context: Context, nonce: str) -> DockerEnclave:
        """Return the enclave whose container has this nonce, started or not; a killed task ends it."""
        self._nonce = nonce
        context["ti"].xcom_push(key=NONCE_KEY, value=nonce)
        output = EnclaveOutput(
            log=lambda line: self.log.info("%s", line),
            on_progress=lambda record: self.show_progress(context, record),
        )
        return DockerEnclave(self.cli, nonce, output, stopped=lambda: self._killed)

    def owner_labels(self, context: Context, nonce: str) -> dict[str, str]:
        """Return the labels that say whose container it is."""
        return run_labels(context["ti"], nonce, deployment_id(self.settings.results_dir))

    def on_kill(self) -> None:
        """End the container at once, for Airflow kills a task a few seconds after asking.

        A client of its own: this is called from a signal handler, in the middle of another request.
        """
        self._killed = True
        if self._nonce is not None:
            EnclaveContainer(connect(docker_settings(), patience=0), self._nonce, patience=0).remove()


class ResolveDockerImageOperator(ResolvePublishedImageOperator):
    """Find the enclave image by digest, on the engine, and refuse it unless the policy allows it."""

    def pinned_image(self, context: Context) -> EnclaveImage | None:
        """Return the image that the deployment names, pulled where the engine does not have it."""
        reference = docker_settings().image
        if reference is None:
            return None
        return EnclaveImage.from_labels(reference, reference.rpartition("@")[2], self.labels_of(reference))

    def published_image(self, context: Context, trust: str) -> EnclaveImage:
        """Return the image of the latest event, which must be what the engine's image says of itself.

        :raises ConfigurationError: ``image-not-published``, ``image-malformed``.
        """
        said = super().published_image(context, trust)
        found = EnclaveImage.from_labels(said.reference, said.digest, self.labels_of(said.reference))
        if found != said:
            raise ConfigurationError(
                "The published image says something else of itself than its publication.",
                code="image-malformed",
                got=found,
                expected=said,
                action="run DAG enclave_image again; if it happens again, treat it as an incident",
            )
        return found

    def labels_of(self, reference: str) -> Mapping[str, str]:
        """Return the labels of an image, pulled by digest where the engine does not have it.

        :raises ConfigurationError: ``registry-connection-…``.
        :raises EnclaveError: ``image-not-found`` and what else the engine or the registry say.
        """
        store = ImageStore(connect(docker_settings()), lambda line, _: self.log.info("%s", line))
        image = ask_engine(lambda: store.inspect(reference))
        if image is None and "@" in reference:
            login = RegistryLogin.of_connection(docker_settings().registry_conn_id)
            image = ask_engine(lambda: store.pull(reference, login))
        return (image or store.require(reference)).labels


class AttestDockerPlatformOperator(DockerTask, AttestPlatformOperator):
    """Attest the enclave image on its Docker host, in a container that is removed at once."""

    def collect(self, context: Context, scope: RunScope, provider: AttestationProvider) -> dict[str, str]:
        """Let the agent attest in a container."""
        self.remove_earlier_tries(scope)
        nonce = b64url(self.nonce_of(scope.try_number))
        image = EnclaveImage.from_xcom(self.image)
        source = quote_source(image, self.platform, self.settings)
        launch = self.attest_spec(scope, str(layout.RESULTS_DIR), source)
        labels = self.owner_labels(context, nonce)
        specs = [
            container_spec(self.wing, image, "attest", launch, labels, devices)
            for devices in sgx_devices(image, self.wing)
        ]
        enclave = self.enclave(context, nonce)
        with task_folder("attest") as folder:
            try:
                container = enclave.start(specs, inputs=[])
                enclave.follow(container)
                enclave.container.fetch(container, layout.RESULTS_DIR, folder)
            finally:
                enclave.container.remove()
            return read_attestation(folder)

    def remove_earlier_tries(self, scope: RunScope) -> None:
        """Remove what a killed worker has left; its nonce is never used again."""
        for earlier in range(1, scope.try_number):
            EnclaveContainer(self.cli, b64url(self.nonce_of(earlier))).remove()


class CleanDockerRunOperator(CleanStagingOperator):
    """Remove also the containers whose worker died and that no later try has found, here or in other runs."""

    def run(self, context: Context, scope: RunScope) -> None:
        """Settle every try of this run, then its containers, then what runs that are over have left.

        :raises EnclaveError: ``docker-…`` (mostly retryable).
        """
        super().run(context, scope)
        nonces = [context["ti"].xcom_pull(task_ids=task, key=NONCE_KEY) for task in CONTAINER_TASKS]
        for nonce in filter(None, nonces):
            client = connect(docker_settings(), patience=PATIENCE_SECONDS)
            EnclaveContainer(client, nonce, patience=PATIENCE_SECONDS).remove()
        try:
            for leftover in remove_abandoned(context["ti"], self.settings.results_dir):
                self.log.info("Removed %s, which was left", leftover)
        except Exception as error:
            # Another run's remains are no reason to fail this one.
            self.log.warning("What other runs have left is not removed: %s", error)


def remove_abandoned(ti: RuntimeTaskInstanceProtocol, results_dir: Location) -> list[Leftover]:
    """Remove the containers and volumes of runs that nobody will continue, and return them.

    :param ti: the task that asks, to which Airflow tells what runs are over.
    :param results_dir: of the deployment, whose containers they are.
    :raises EnclaveError: ``docker-…``.
    :raises ResultError: ``results-unwritable``.
    """
    client = connect(docker_settings(), patience=0)
    removed = abandoned(leftovers(client), deployment_id(results_dir), ti)
    for leftover in removed:
        remove_leftover(client, leftover)
    return removed
