"""The agent in a container of a Docker engine: started, followed to its end, read out, removed."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from confidential_spark.agent.protocol import TRUST_SIMULATED
from confidential_spark.core.errors import EnclaveError
from confidential_spark.enclave import layout
from confidential_spark.enclave.archives import Entry, tar_stream
from confidential_spark.enclave.image import PREFIX
from confidential_spark.enclave.spark import memory_bytes
from confidential_spark.hooks.blob.settings import blob_settings
from confidential_spark.operators.resumable import Pauses, raise_if_cancelled
from confidential_spark.platforms.docker.container import (
    DEPLOYMENT_LABEL,
    ENGINE_PATIENCE_SECONDS,
    NONCE_LABEL,
    ContainerSpec,
    EnclaveContainer,
    ask_engine,
    has_ended,
)
from confidential_spark.platforms.docker.engine import EngineAddress
from confidential_spark.platforms.docker.failures import container_diagnosis

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from docker.api import APIClient

    from confidential_spark.agent.launch.launch_file import LaunchSpec
    from confidential_spark.enclave.image import EnclaveImage
    from confidential_spark.enclave.output import EnclaveOutput
    from confidential_spark.platforms.docker.settings import DockerSettings

GIBIBYTE = 1024**3
SCRATCH_BYTES = GIBIBYTE
SIMULATED_INSTANCE_BYTES = 64 * 1024**2
# The names of the SGX driver in mainline Linux, and of Intel's DCAP driver before it.
SGX_DEVICES = (
    ("/dev/sgx/enclave", "/dev/sgx/provision"),
    ("/dev/sgx_enclave", "/dev/sgx_provision"),
)
DEVICE_MISSING = "sgx-device-missing"
NEVER_STARTED = "created"
REQUEST_TIMEOUT_SECONDS = 60
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 1.0


def connect(settings: DockerSettings, *, patience: float = ENGINE_PATIENCE_SECONDS) -> APIClient:
    """Return a client of the engine that the deployment's connection names.

    :param patience: seconds that an engine may be away.
    :raises ConfigurationError: ``docker-connection-invalid``.
    :raises EnclaveError: ``docker-…``.
    """
    address = EngineAddress.of_connection(settings.conn_id)
    return ask_engine(lambda: address.connect(timeout=REQUEST_TIMEOUT_SECONDS), patience)


def run_labels(ti: Any, nonce: str, deployment: str) -> dict[str, str]:
    """Return the labels that say whose container it is."""
    return {
        f"{PREFIX}dag": ti.dag_id,
        f"{PREFIX}run": ti.run_id,
        f"{PREFIX}task": ti.task_id,
        f"{PREFIX}try": str(ti.try_number),
        f"{PREFIX}map-index": str(ti.map_index),
        NONCE_LABEL: nonce,
        DEPLOYMENT_LABEL: deployment,
    }


def spark_memory(settings: DockerSettings) -> str:
    """Return what a container's limit leaves for Spark, as the JVM writes it."""
    left = memory_bytes(settings.memory) - SCRATCH_BYTES
    return f"{max(left, 1024) // 1024}k"


def sgx_devices(image: EnclaveImage, settings: DockerSettings) -> Sequence[tuple[str, ...]]:
    """Return the sets of devices to try, in order; a simulated enclave needs none."""
    return ((),) if image.trust == TRUST_SIMULATED else device_sets(settings)


def device_sets(settings: DockerSettings) -> Sequence[tuple[str, ...]]:
    """Return the host's SGX devices by each of their names, in the order to try."""
    if settings.sgx_devices == "auto":
        return SGX_DEVICES
    return (tuple(settings.sgx_devices.split(",")),)


def container_spec(
    settings: DockerSettings,
    image: EnclaveImage,
    command: str,
    launch: LaunchSpec,
    labels: dict[str, str],
    devices: tuple[str, ...],
) -> ContainerSpec:
    """Return the container of one command of the agent.

    A launch with credentials is no part of it: the engine shows a container's variables to whoever asks.
    """
    simulated = image.trust == TRUST_SIMULATED
    variables = {layout.LAUNCH_VARIABLE: json.dumps(asdict(launch), ensure_ascii=False)}
    emulator = blob_settings().emulator_forward(settings.emulator) if simulated else None
    downloads = {layout.EMULATOR_VARIABLE: emulator} if emulator else {}
    return ContainerSpec(
        image=image.reference,
        command=command,
        environment=downloads if launch.input_files else variables,
        labels=labels,
        memory_bytes=memory_bytes(settings.memory),
        scratch_bytes=SCRATCH_BYTES,
        instance_bytes=SIMULATED_INSTANCE_BYTES if simulated else SCRATCH_BYTES,
        cpus=settings.cores,
        network="none" if simulated and not launch.input_files else settings.network,
        devices=devices,
        aesm_dir=None if simulated else settings.aesm_dir,
    )


@dataclass
class DockerEnclave:
    """One container of an enclave image, known by its nonce.

    :param output: reads what the container prints.
    :param stopped: says whether somebody asked the task to end.
    """

    client: APIClient
    nonce: str
    output: EnclaveOutput
    stopped: Callable[[], bool]

    @cached_property
    def container(self) -> EnclaveContainer:
        """The container, there or not."""
        return EnclaveContainer(self.client, self.nonce)

    def start(
        self, specs: Sequence[ContainerSpec], inputs: Sequence[Path], launch_file: Path | None = None
    ) -> str:
        """Start the first of the specs whose devices the host has, and return the container's id.

        :param inputs: files that the enclave finds in its input folder.
        :param launch_file: a launch with credentials; others are in the specs.
        :raises EnclaveError: what the engine refused.
        """
        entries = [
            Entry(layout.INPUT_DIR.name),
            *(Entry(f"{layout.INPUT_DIR.name}/{path.name}", path) for path in inputs),
            Entry(layout.RESULTS_DIR.name),
        ]
        if launch_file is not None:
            folder = layout.LAUNCH_DELIVERY.name
            entries += [Entry(folder), Entry(f"{folder}/{layout.LAUNCH_FILE.name}", launch_file)]
        for spec in specs[:-1]:
            try:
                return self._start(spec, entries)
            except EnclaveError as error:
                if error.code != DEVICE_MISSING:
                    raise
                self.container.remove()
        return self._start(specs[-1], entries)

    def _start(self, spec: ContainerSpec, entries: Sequence[Entry]) -> str:
        container = self.container.create(spec)
        raise_if_cancelled(self.stopped)
        self.container.put(container, layout.DATA_DIR, lambda: tar_stream(entries, user_id=layout.USER_ID))
        raise_if_cancelled(self.stopped)
        self.container.start(container)
        return container

    def follow(
        self,
        container: str,
        *,
        known_until: str = "",
        on_position: Callable[[str], None] = lambda stamp: None,
    ) -> None:
        """Read what the container prints until it has ended well.

        :param known_until: time stamp up to which an earlier try has logged already.
        :param on_position: takes the time stamp up to which the log is complete.
        :raises EnclaveError: the program failed, by name; ``container-lost``; ``terminated``.
        """
        position, pauses = "", Pauses(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
        while True:
            raise_if_cancelled(self.stopped)
            state = self.container.state(container)
            for stamp, line in self.container.lines(container, after=position):
                self.output.feed(line, known=stamp <= known_until)
                position = stamp
            on_position(position)
            if has_ended(state):
                break
            pauses.wait()
        self.output.close()
        if diagnosis := container_diagnosis(state, self.output.watcher):
            self.output.fail(diagnosis)

    def leftover(self) -> str | None:
        """Return the container that a dead worker has left, unless it was never started.

        :raises EnclaveError: ``docker-…``.
        """
        found = self.container.find()
        if found is None or found["State"] == NEVER_STARTED:
            return None
        return f"container {found['Id'][:12]} ({found['Status']})"

    def remove(self) -> None:
        """Remove the container with its volume; there may be none.

        :raises EnclaveError: ``docker-…``.
        """
        self.container.remove()
