"""The platform check of `dcsv3`: the Docker engine, its host, the enclave image and what they need."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from confidential_spark.agent.bounded_http import is_loopback
from confidential_spark.core.check_rows import (
    CheckRow,
    Status,
    attempt,
    attempt_all,
    not_looked_at,
)
from confidential_spark.core.errors import ConfidentialSparkError, ConfigurationError
from confidential_spark.enclave.image import EnclaveImage, asset_name
from confidential_spark.enclave.occlum_config import enclave_bytes
from confidential_spark.enclave.spark import memory_bytes
from confidential_spark.operators.image import IMAGE_ASSETS
from confidential_spark.operators.platform_check import (
    DISK_BYTES,
    PlatformCheckOperator,
    approval_row,
    attestation_row,
    leftovers_row,
)
from confidential_spark.platforms.docker.check.host import DockerHost
from confidential_spark.platforms.docker.check.rows import (
    ENGINE_ROWS,
    HOST_ROWS,
    Needs,
    engine_rows,
    host_rows,
)
from confidential_spark.platforms.docker.container import ContainerSpec
from confidential_spark.platforms.docker.enclave import SCRATCH_BYTES, device_sets
from confidential_spark.platforms.docker.engine import LOCAL_SOCKET, EngineAddress
from confidential_spark.platforms.docker.operators import remove_abandoned
from confidential_spark.platforms.docker.settings import docker_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow.sdk import Context

    from confidential_spark.enclave.occlum_config import EnclaveSizing
    from confidential_spark.platforms.docker.settings import DockerSettings
    from confidential_spark.verification import Policy

REQUEST_TIMEOUT_SECONDS = 60
IMAGE_ROWS = ("image", "measurement")
ALL_ROWS = (*ENGINE_ROWS, "leftovers", *IMAGE_ROWS, *HOST_ROWS)


class DockerCheckOperator(PlatformCheckOperator):
    """Look at the Docker host on which enclaves run."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(inlets=list(IMAGE_ASSETS.values()), **kwargs)

    def rows(self, context: Context, policy: Policy) -> Iterator[CheckRow]:
        """Yield the engine's rows, the image's, the host's and the attestation provider's."""
        subject = "memory"
        try:
            needs = needs_of(docker_settings(), self.settings.enclave_sizing(), policy)
            subject = "engine"
            address = EngineAddress.of_connection(docker_settings().conn_id)
            if not is_configured(address):
                yield from absent_engine()
                return
            host = reach(address)
        except ConfidentialSparkError as error:
            yield CheckRow.refused(subject, error, "a Docker engine that answers")
            yield from not_looked_at([name for name in ALL_ROWS if name != subject], subject)
            return
        yield from attempt_all(ENGINE_ROWS, "an answer", lambda: engine_rows(host.engine(), needs))
        results_dir = self.settings.results_dir
        yield leftovers_row(lambda: remove_abandoned(context["ti"], results_dir))
        yield from self.image_and_host_rows(context, policy, host, needs)
        yield attempt(
            "attestation", "a provider that answers", lambda: attestation_row(self.settings, policy)
        )

    def image_and_host_rows(
        self, context: Context, policy: Policy, host: DockerHost, needs: Needs
    ) -> Iterator[CheckRow]:
        """Yield the image's rows, and the host's where the image may be started.

        An enclave that nobody approved is not started, not even to look around.
        """
        image = attempt_all(
            IMAGE_ROWS, "a signed image", lambda: image_rows(host, self.named_image(context, policy), policy)
        )
        yield from image
        if any(row.status is not Status.OK for row in image):
            yield from not_looked_at(HOST_ROWS, "image")
            return
        spec = look_spec(str(self.named_image(context, policy)), needs)
        devices = device_sets(docker_settings())
        yield from attempt_all(
            HOST_ROWS, "a container that starts", lambda: host_rows(host.look(spec, devices), needs)
        )

    def named_image(self, context: Context, policy: Policy) -> str | None:
        """Return the reference of the image that a run would use now, or None when there is none."""
        if reference := docker_settings().image:
            return reference
        events = context["inlet_events"][IMAGE_ASSETS[policy.trust]]
        return EnclaveImage.from_xcom(events[-1].extra or {}).reference if len(events) else None


def needs_of(settings: DockerSettings, sizing: EnclaveSizing, policy: Policy) -> Needs:
    """Return what one run takes of the host, by the deployment's settings.

    :raises ConfigurationError: ``memory-malformed``, ``enclave-size-malformed``, ``enclave-number-invalid``.
    """
    return Needs(
        trust=policy.trust,
        memory_bytes=memory_bytes(settings.memory),
        enclave_bytes=enclave_bytes(sizing),
        cpus=settings.cores,
        disk_bytes=DISK_BYTES,
        aesm_dir=settings.aesm_dir,
    )


def is_configured(address: EngineAddress) -> bool:
    """Return whether there is an engine to look at: one was named, or one was installed here."""
    return address.url != LOCAL_SOCKET or Path(urlsplit(LOCAL_SOCKET).path).exists()


def absent_engine() -> Iterator[CheckRow]:
    """Yield the table of a machine on which nobody uses Docker."""
    yield CheckRow.absent(
        "engine",
        "no Docker here, and no connection names one",
        "a Docker engine that answers",
        "nothing, unless dcsv3 is wanted: then set the host of the Airflow connection docker_default",
    )
    yield from not_looked_at(ALL_ROWS[1:], "engine")


def reach(address: EngineAddress) -> DockerHost:
    """Connect to the engine.

    :raises EnclaveError: ``docker-…``.
    """
    client = address.connect(REQUEST_TIMEOUT_SECONDS)
    url = urlsplit(address.url)
    is_private = url.scheme == "unix" or bool(address.tls) or is_loopback(address.url)
    return DockerHost(client, address.url, is_private=is_private)


def image_rows(host: DockerHost, reference: str | None, policy: Policy) -> Iterator[CheckRow]:
    """Yield whether the image is there, for this policy, and approved.

    :raises ConfigurationError: ``image-not-signed``, ``image-malformed``, ``image-trust-mismatch``.
    """
    labels = host.image_labels(reference) if reference else None
    if reference is None or labels is None:
        name = reference or f"no image was published as {asset_name(policy.trust)}"
        raise ConfigurationError(
            "The engine does not have the enclave image.",
            code="image-not-found",
            got=name,
            expected="an image on the engine",
            action=f"docker pull {reference}" if reference else "run DAG enclave_image",
        )
    image = EnclaveImage.from_labels(reference, reference.rpartition("@")[2], labels)
    image.require_trust(policy)
    yield CheckRow.judge("image", f"{reference} ({image.trust})", "an image", passed=True, action="")
    yield approval_row(image.identity, policy, "run DAG enclave_image, where a person approves an image")


def look_spec(reference: str, needs: Needs) -> ContainerSpec:
    """Return a container like a run's, which has nothing to do."""
    return ContainerSpec(
        image=reference,
        command="look",
        environment={},
        labels={},
        memory_bytes=needs.memory_bytes,
        scratch_bytes=SCRATCH_BYTES,
        instance_bytes=SCRATCH_BYTES,
        cpus=needs.cpus,
        network="none",
        aesm_dir=needs.aesm_dir,
    )
