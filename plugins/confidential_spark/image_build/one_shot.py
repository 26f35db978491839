"""A container for one command: no network, no rights, input on stdin, gone afterwards whatever happens."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from docker.errors import NotFound
from docker.types import LogConfig, Ulimit
from docker.utils.socket import frames_iter

from confidential_spark.core.failures import LogWatcher
from confidential_spark.enclave.layout import GROUP_ID, USER, USER_ID
from confidential_spark.platforms.docker.failures import container_diagnosis, docker_failures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from docker.api import APIClient

MAX_PROCESSES = 4_096
MAX_LINE_BYTES = 8_192


@dataclass(frozen=True)
class OneShot:
    """What the container is made of.

    :param name: its name, by which one that a killed worker left is found.
    :param tmpfs: mount point → megabytes; never part of an image that is made of the container.
    :param read_only: whether everything else cannot be written.
    """

    name: str
    image: str
    command: tuple[str, ...]
    tmpfs: Mapping[str, int]
    read_only: bool


class OneShotContainer:
    """A container that exists; see :func:`one_shot`."""

    def __init__(self, client: APIClient, container_id: str) -> None:
        """Start nothing yet."""
        self.client = client
        self.container_id = container_id

    def run(self, stdin: bytes, on_line: Callable[[str], None]) -> list[str]:
        """Start the command, send it ``stdin``, and return the lines of its standard output.

        :param on_line: gets every line, of standard error too, when it is written.
        :raises EnclaveError: what the log and the exit code mean.
        """
        watcher, output = LogWatcher(), list[str]()
        with docker_failures():
            for stream, line in self._converse(stdin):
                watcher.feed(line)
                on_line(line)
                if stream == 1:
                    output.append(line)
            self.client.wait(self.container_id)
            state = self.client.inspect_container(self.container_id)["State"]
        if diagnosis := container_diagnosis(state, watcher):
            raise diagnosis.error()
        return output

    def commit(self, labels: Mapping[str, str], command: str) -> str:
        """Make an image of what the command left, and return its id.

        :param command: what the image does by default.
        """
        changes = [f'CMD ["{command}"]', *(f'LABEL "{name}"="{value}"' for name, value in labels.items())]
        with docker_failures():
            return str(self.client.commit(self.container_id, changes=changes)["Id"])

    def _converse(self, stdin: bytes) -> Iterator[tuple[int, str]]:
        """Yield (1 for standard output or 2 for error, line); attached before it starts, so none is lost."""
        streams = {"stdin": bool(stdin), "stdout": True, "stderr": True, "stream": True}
        connection = self.client.attach_socket(self.container_id, params=streams)
        try:
            self.client.start(self.container_id)
            if stdin:
                # TLS gives the socket itself; a plain connection wraps it.
                getattr(connection, "_sock", connection).sendall(stdin)
            assemblers = {1: LineAssembler(), 2: LineAssembler()}
            for stream, data in frames_iter(connection, tty=False):
                for line in assemblers[stream].feed(data):
                    yield stream, line
            for stream, assembler in assemblers.items():
                for line in assembler.rest():
                    yield stream, line
        finally:
            connection.close()


@contextmanager
def one_shot(client: APIClient, spec: OneShot) -> Iterator[OneShotContainer]:
    """Create the container, and remove it with its volumes at the end.

    One of the same name is what a killed worker left: it is removed first.
    """
    remove(client, spec.name)
    with docker_failures():
        created = client.create_container(**_arguments(client, spec))
    try:
        yield OneShotContainer(client, str(created["Id"]))
    finally:
        remove(client, str(created["Id"]))


def remove(client: APIClient, container: str) -> None:
    """Kill and remove a container by name or id, unless there is none."""
    with docker_failures():
        try:
            client.remove_container(container, v=True, force=True)
        except NotFound:
            return


def _arguments(client: APIClient, spec: OneShot) -> dict[str, Any]:
    owner = f"uid={USER_ID},gid={GROUP_ID},mode=0700"
    host_config = client.create_host_config(
        network_mode="none",
        cap_drop=["ALL"],
        security_opt=["no-new-privileges:true"],
        pids_limit=MAX_PROCESSES,
        read_only=spec.read_only,
        tmpfs={path: f"rw,exec,nosuid,nodev,size={size}m,{owner}" for path, size in spec.tmpfs.items()},
        # A core dump would carry a key out, and a log file would outlive the container's memory.
        ulimits=[Ulimit(name="core", soft=0, hard=0)],
        log_config=LogConfig(type="none"),
        restart_policy={"Name": "no"},
    )
    return {
        "image": spec.image,
        "name": spec.name,
        "command": list(spec.command),
        "user": USER,
        "stdin_open": True,
        "environment": {},
        "labels": {},
        "host_config": host_config,
    }


class LineAssembler:
    """Puts the lines of one stream together; a line that never ends is cut, not kept."""

    def __init__(self) -> None:
        """Start at the beginning of a line."""
        self._begun = b""

    def feed(self, data: bytes) -> Iterator[str]:
        """Yield the lines that are complete now, without their ends."""
        *whole, begun = (self._begun + data).split(b"\n")
        self._begun = begun[:MAX_LINE_BYTES]
        for line in whole:
            yield _text(line)

    def rest(self) -> Iterator[str]:
        """Yield the line that the stream ended in the middle of, if any."""
        if self._begun:
            yield _text(self._begun)
        self._begun = b""


def _text(line: bytes) -> str:
    return line[:MAX_LINE_BYTES].decode("utf-8", "replace").rstrip("\r")
