"""One enclave container: made with the least rights, found again by its nonce, read out, removed.

Every call is one short request, so a pause or a restart of the engine, or of the line to a remote one, is
waited for and never mistaken for the end of the run.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar

from confidential_spark.enclave.archives import unpack_results
from confidential_spark.enclave.image import PREFIX
from confidential_spark.enclave.layout import DATA_DIR, LAUNCH_DIR, RUN_DIR, TEMPORARY_DIR, USER, USER_ID
from confidential_spark.operators.resumable import Leftover, ask_patiently
from confidential_spark.platforms.docker.failures import docker_failures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path, PurePosixPath

    from docker.api import APIClient

T = TypeVar("T")

ENGINE_AWAY = "docker-unreachable"
ENGINE_PATIENCE_SECONDS = 300.0
ENGINE_PAUSE_SECONDS = 2.0
REMOVAL_ATTEMPTS, REMOVAL_PAUSE_SECONDS = 50, 0.2
NONCE_LABEL = f"{PREFIX}nonce"
DEPLOYMENT_LABEL = f"{PREFIX}deployment"
HOSTNAME = "enclave"
AESM_DIR = "/var/run/aesmd"
# Threads of JVM, Python and, on hardware, of Occlum.
MAX_PROCESSES = 4_096
# The engine keeps at most this much of a log, whatever a job prints.
LOG_FILES = {"max-size": "8m", "max-file": "4"}
NANOSECONDS = 1_000_000_000
ENDED = frozenset({"exited", "dead", "removing"})
# Or was never started.
AT_REST = ENDED | {"created"}


@dataclass(frozen=True)
class ContainerSpec:
    """What one enclave container is made of.

    :param image: the image's id or ``repository@sha256:…``.
    :param command: of the image's entrypoint.
    :param environment: may hold credentials; shown nowhere.
    :param labels: whose container and volume it is.
    :param memory_bytes: limit of the whole container, its scratch space included; no swap.
    :param scratch_bytes: size of `/tmp`.
    :param instance_bytes: size of what the Occlum instance writes; on hardware, its encrypted scratch space.
    :param network: ``none``, or a network of the engine.
    :param devices: SGX devices of the host.
    :param aesm_dir: folder of the host's AESM socket, or None.
    """

    image: str
    command: str
    environment: Mapping[str, str] = field(repr=False)
    labels: Mapping[str, str]
    memory_bytes: int
    scratch_bytes: int
    instance_bytes: int
    cpus: float
    network: str
    devices: tuple[str, ...] = ()
    aesm_dir: str | None = None


def create_arguments(client: APIClient, spec: ContainerSpec) -> dict[str, Any]:
    """Return what `create_container` is called with."""
    from docker.types import LogConfig, Mount, Ulimit

    owner = f"uid={USER_ID},gid={USER_ID},mode=0700"
    mounts = [Mount(target=str(DATA_DIR), source=None, type="volume", labels=dict(spec.labels))]
    if spec.aesm_dir:
        mounts.append(Mount(target=AESM_DIR, source=spec.aesm_dir, type="bind", read_only=True))
    host_config = client.create_host_config(
        network_mode=spec.network,
        # What Spark asks its own name for, even where there is no network.
        extra_hosts={HOSTNAME: "127.0.0.1"},
        mem_limit=spec.memory_bytes,
        memswap_limit=spec.memory_bytes,
        nano_cpus=round(spec.cpus * NANOSECONDS),
        pids_limit=MAX_PROCESSES,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges:true"],
        privileged=False,
        read_only=True,
        # Spark unpacks native libraries into /tmp and maps them for execution.
        tmpfs={
            str(TEMPORARY_DIR): f"rw,exec,nosuid,nodev,mode=1777,size={spec.scratch_bytes}",
            str(LAUNCH_DIR): f"rw,noexec,nosuid,nodev,size=1m,{owner}",
            str(RUN_DIR): f"rw,exec,nosuid,nodev,size={spec.instance_bytes},{owner}",
        },
        mounts=mounts,
        devices=[f"{device}:{device}:rw" for device in spec.devices],
        # A core dump would carry the run's secrets out.
        ulimits=[Ulimit(name="core", soft=0, hard=0)],
        log_config=LogConfig(type=LogConfig.types.JSON, config=LOG_FILES),
        restart_policy={"Name": "no"},
    )
    return {
        "image": spec.image,
        "command": [spec.command],
        "user": USER,
        "hostname": HOSTNAME,
        "environment": dict(spec.environment),
        "labels": dict(spec.labels),
        "host_config": host_config,
    }


class EnclaveContainer:
    """The one container with a nonce.

    :param client: of the engine.
    :param nonce: label that no other container has.
    :param patience: seconds without any answer of the engine before that is an error.
    """

    def __init__(self, client: APIClient, nonce: str, *, patience: float = ENGINE_PATIENCE_SECONDS) -> None:
        """Name the container; nothing is asked yet."""
        self.client = client
        self.nonce = nonce
        self.patience = patience

    def find(self) -> dict[str, Any] | None:
        """Return the container as the engine lists it, or None when there is none.

        :raises EnclaveError: ``docker-…``, as everything here does that asks the engine.
        """
        found = self.ask(self._listed)
        return found[0] if found else None

    def create(self, spec: ContainerSpec) -> str:
        """Create the container and return its id; one that an unanswered request left is used."""

        def find_or_create() -> str:
            if found := self._listed():
                return str(found[0]["Id"])
            return str(self.client.create_container(**create_arguments(self.client, spec))["Id"])

        return self.ask(find_or_create)

    def put(self, container: str, folder: PurePosixPath, tar: Callable[[], Iterable[bytes]]) -> None:
        """Unpack a tar stream in a folder of the container's volume.

        :param tar: makes the stream, anew for each attempt.
        """
        self.ask(lambda: self.client.put_archive(container, str(folder), tar()))

    def start(self, container: str) -> None:
        """Start it; starting what runs already is harmless."""
        self.ask(lambda: self.client.start(container))

    def state(self, container: str) -> dict[str, Any]:
        """Return the container's `State`.

        :raises EnclaveError: ``container-lost`` when somebody removed it.
        """
        return dict(self.ask(lambda: self.client.inspect_container(container))["State"])

    def lines(self, container: str, after: str) -> Iterator[tuple[str, str]]:
        """Yield what the container printed after a time stamp: (time stamp, line)."""
        since = math.floor(_seconds(after) * 1000) / 1000 if after else None
        raw: bytes = self.ask(
            lambda: self.client.logs(container, stdout=True, stderr=True, timestamps=True, since=since)
        )
        for line in raw.decode("utf-8", "replace").split("\n"):
            stamp, _, text = line.partition(" ")
            # Time stamps have one width and are in UTC, so they compare as text.
            if stamp > after:
                yield stamp, text

    def fetch(self, container: str, folder: PurePosixPath, target: Path) -> list[str]:
        """Write the files of a folder of the container into ``target``, an empty folder.

        :raises ResultError: ``results-archive-malformed``, ``results-too-large``.
        :raises OSError: the files cannot be written.
        """

        def unpack() -> list[str]:
            for leftover in sorted(target.rglob("*"), reverse=True):
                leftover.rmdir() if leftover.is_dir() else leftover.unlink()
            chunks, _ = self.client.get_archive(container, str(folder))
            return unpack_results(chunks, target)

        return self.ask(unpack)

    def remove(self) -> None:
        """Kill and remove the container with its volume; there may be none."""

        def remove_found() -> None:
            for _ in range(REMOVAL_ATTEMPTS):
                if not (listed := self._listed()):
                    return
                for found in listed:
                    self._remove(found["Id"])

        self.ask(remove_found)

    def _remove(self, container: str) -> None:
        from docker.errors import APIError, NotFound

        try:
            self.client.remove_container(container, v=True, force=True)
        except NotFound:
            return
        except APIError as error:
            # Two who remove it at once, such as a killed task and its signal handler: the first one does it.
            if error.status_code != HTTPStatus.CONFLICT:
                raise
            time.sleep(REMOVAL_PAUSE_SECONDS)

    def _listed(self) -> list[dict[str, Any]]:
        label = f"{NONCE_LABEL}={self.nonce}"
        return list(self.client.containers(all=True, filters={"label": label}))

    def ask(self, request: Callable[[], T]) -> T:
        """Ask the engine, as :func:`ask_engine` does."""
        return ask_engine(request, self.patience)


def ask_engine(request: Callable[[], T], patience: float = ENGINE_PATIENCE_SECONDS) -> T:
    """Ask the engine until it answers; only its silence is waited for, never a refusal.

    :param request: may be sent more than once.
    :param patience: seconds without an answer before that is an error.
    :raises EnclaveError: what it refused, or ``docker-unreachable`` after the patience.
    """

    def attempt() -> T:
        with docker_failures():
            return request()

    return ask_patiently(
        attempt,
        service="Docker engine",
        passes=lambda failure, _: failure.code == ENGINE_AWAY,
        patience=patience,
        pause=ENGINE_PAUSE_SECONDS,
    )


def leftovers(client: APIClient) -> list[Leftover]:
    """Return the containers of all runs, and the volumes that no container has any longer.

    :raises EnclaveError: ``docker-…``.
    """
    now = time.time()
    labelled = {"label": NONCE_LABEL}
    with docker_failures():
        containers = client.containers(all=True, filters=labelled)
        volumes = client.volumes(filters={**labelled, "dangling": True})["Volumes"] or ()
    return [
        *(
            _leftover("container", each["Id"], each["Labels"], now - each["Created"], each["State"])
            for each in containers
        ),
        *(_leftover("volume", each["Name"], each["Labels"], now - _made_at(each)) for each in volumes),
    ]


def remove_leftover(client: APIClient, leftover: Leftover) -> None:
    """Remove a container with its volume, or a volume; somebody else may do the same.

    :raises EnclaveError: ``docker-…``.
    """
    from docker.errors import APIError

    with docker_failures():
        try:
            if leftover.kind == "volume":
                client.remove_volume(leftover.name)
            else:
                client.remove_container(leftover.name, v=True, force=True)
        except APIError as error:
            if error.status_code not in (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT):
                raise


def _leftover(kind: str, name: str, labels: Mapping[str, str], age: float, state: str = "") -> Leftover:
    return Leftover(
        kind=kind,
        name=name,
        deployment=labels.get(DEPLOYMENT_LABEL, ""),
        dag_id=labels.get(f"{PREFIX}dag", ""),
        run_id=labels.get(f"{PREFIX}run", ""),
        age=age,
        ended=kind == "volume" or state in AT_REST,
    )


def _made_at(volume: Mapping[str, str]) -> float:
    return datetime.fromisoformat(volume["CreatedAt"]).timestamp()


def has_ended(state: Mapping[str, Any]) -> bool:
    """Return whether a container's program is over."""
    return state["Status"] in ENDED


def _seconds(stamp: str) -> float:
    """Return an engine's time stamp (RFC 3339 with nine digits of a second) in seconds since 1970."""
    whole, _, fraction = stamp.rstrip("Z").partition(".")
    return datetime.fromisoformat(f"{whole}+00:00").timestamp() + float(f"0.{fraction or 0}")
