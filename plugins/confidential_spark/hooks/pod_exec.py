"""Files into and out of a running pod: `tar` over the API's `exec`.

Source: Kubernetes 1.34, `v4.channel.k8s.io` and `v5.channel.k8s.io`: a byte for the channel, then data.
"""

from __future__ import annotations

import json
import re
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from kubernetes.client.exceptions import ApiException
from kubernetes.stream import stream
from kubernetes.stream.ws_client import ERROR_CHANNEL, STDERR_CHANNEL, STDOUT_CHANNEL
from urllib3.exceptions import ProtocolError

from confidential_spark.core.errors import EnclaveError, shorten

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from kubernetes.client import CoreV1Api

FRAME_BYTES = 256 * 1024
IDLE_SECONDS = 60.0
MAX_STDERR = 4_096


class PodCommand:
    """One program in a running container.

    :param socket: as kubernetes-client's `stream` returns it, binary.
    """

    def __init__(self, socket: Any) -> None:  # noqa: ANN401 - WSClient
        """Take over the connection."""
        self._socket = socket
        self._socket.sock.settimeout(IDLE_SECONDS)
        self._errors = b""

    def write(self, chunks: Iterable[bytes]) -> None:
        """Send to its standard input, which is not closed: the program must know how much to read."""
        for chunk in chunks:
            for start in range(0, len(chunk), FRAME_BYTES):
                self._socket.write_stdin(chunk[start : start + FRAME_BYTES])

    def read(self) -> Iterator[bytes]:
        """Yield what it prints until it has ended well.

        :raises EnclaveError: ``pod-command-failed`` with its own words.
        :raises ProtocolError: the connection ended before the program did.
        """
        heard = time.monotonic()
        while True:
            # Looked at first: what came before the end is still to be read.
            is_open = self._socket.is_open()
            if is_open:
                self._socket.update(timeout=1)
            data = self._take(STDOUT_CHANNEL)
            self._errors = (self._errors + self._take(STDERR_CHANNEL))[-MAX_STDERR:]
            if data:
                heard = time.monotonic()
                yield data
            elif not is_open:
                break
            elif time.monotonic() - heard > IDLE_SECONDS:
                raise ProtocolError(f"nothing for {IDLE_SECONDS:.0f} s")
        self._require_success(self._take(ERROR_CHANNEL))

    def _take(self, channel: int) -> bytes:
        # Not `read_channel`, which waits for more where there is nothing.
        return bytes(self._socket._channels.pop(channel, b""))

    def _require_success(self, status: bytes) -> None:
        if not status:
            raise ProtocolError("the connection ended before the program")
        said = json.loads(status)
        if said.get("status") != "Success":
            raise EnclaveError(
                "Files could not be moved between Airflow and the pod.",
                code="pod-command-failed",
                got=shorten(self._errors.decode("utf-8", "replace").strip() or str(said.get("message"))),
                action="read the words of the program: the volume may be full, or not writable",
            )


@contextmanager
def pod_command(
    client: CoreV1Api, namespace: str, pod: str, container: str, command: Sequence[str], *, stdin: bool
) -> Iterator[PodCommand]:
    """Run a program in a container for the time of the block.

    :raises ApiException: the API refused, with its status where the handshake has one.
    """
    try:
        socket = stream(
            client.connect_get_namespaced_pod_exec,
            pod,
            namespace,
            container=container,
            command=list(command),
            stdin=stdin,
            stdout=True,
            stderr=True,
            tty=False,
            binary=True,
            _preload_content=False,
        )
    except (ApiException, AttributeError) as error:
        raise _refusal(error) from error
    try:
        yield PodCommand(socket)
    finally:
        socket.close()


def _refusal(error: Exception) -> Exception:
    """Return why there is no connection, with the status of the handshake, which is in a text only."""
    # kubernetes-client 36 decodes the body of its own error, which has none.
    cause: object = error.__context__ if isinstance(error, AttributeError) else error
    if not isinstance(cause, ApiException):
        return error
    words = str(cause.reason)
    status = re.match(r"Handshake status ([0-9]{3}) ", words)
    refusal: Exception = ApiException(status=int(status[1]) if status else 0, reason=words)
    return refusal
