"""Programs in a running pod, over the API's `exec`: `tar` takes files in and out.

The websocket is this module's own: kubernetes-client connects without a time limit, and keeps in memory all
that a program has printed.

Source: Kubernetes 1.34, `v4.channel.k8s.io` and `v5.channel.k8s.io`: a byte for the channel, then data.
"""

from __future__ import annotations

import json
import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import certifi
from kubernetes.client import ApiClient, CoreV1Api
from kubernetes.client.exceptions import ApiException
from kubernetes.stream.ws_client import (
    ERROR_CHANNEL,
    STDERR_CHANNEL,
    STDIN_CHANNEL,
    STDOUT_CHANNEL,
    V4_CHANNEL_PROTOCOL,
    V5_CHANNEL_PROTOCOL,
    get_websocket_url,
    websocket_proxycare,
)
from urllib3.exceptions import ProtocolError
from websocket import (
    ABNF,
    WebSocket,
    WebSocketBadStatusException,
    WebSocketConnectionClosedException,
    WebSocketException,
)

from confidential_spark.core.errors import EnclaveError, shorten
from confidential_spark.platforms.kubernetes.client.failures import kubernetes_failures

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from kubernetes.client import Configuration

FRAME_BYTES = 256 * 1024
CONNECT_SECONDS = 30.0
IDLE_SECONDS = 60.0
CLOSE_SECONDS = 3
MAX_STDERR = 4_096
FIRST_SIGNAL_CODE = 128


class PodCommandError(EnclaveError):
    """A program in a pod failed.

    :ivar exit_code: as a shell reports it, or None where the kubelet did not say.
    """

    def __init__(self, said: str, exit_code: int | None) -> None:
        """Take the program's own words."""
        super().__init__(
            "Files could not be moved between Airflow and the pod.",
            code="pod-command-failed",
            got=said,
            action="read the words of the program: the volume may be full, or not writable",
        )
        self.exit_code = exit_code

    @property
    def killed(self) -> bool:
        """Whether the program may have been ended from outside, for example with its pod."""
        return self.exit_code is None or self.exit_code >= FIRST_SIGNAL_CODE


class PodCommand:
    """One program in a running container.

    What the connection does is an error of the API here, so that no other `OSError` is taken for one.
    """

    def __init__(self, socket: WebSocket) -> None:
        """Take over the connection."""
        self._socket = socket
        self._socket.settimeout(IDLE_SECONDS)
        self._open = True
        self._errors = b""
        self._status = b""

    def write(self, chunks: Iterable[bytes]) -> None:
        """Send to its standard input, which is not closed: the program must know how much to read.

        :raises EnclaveError: ``pod-command-failed``: it has ended before it had read all;
            ``kubernetes-unreachable``.
        """
        for chunk in chunks:
            for start in range(0, len(chunk), FRAME_BYTES):
                self._send(chunk[start : start + FRAME_BYTES])

    def read(self) -> Iterator[bytes]:
        """Yield what it prints until it has ended well.

        :raises EnclaveError: ``pod-command-failed`` with its own words; ``kubernetes-unreachable``: the
            connection ended before the program did, or nothing came for too long.
        """
        while self._open:
            with kubernetes_failures():
                data = self._receive()
            if data:
                yield data
        self._require_success()

    def _send(self, data: bytes) -> None:
        with kubernetes_failures():
            try:
                self._socket.send(bytes([STDIN_CHANNEL]) + data, opcode=ABNF.OPCODE_BINARY)
            except (OSError, WebSocketException):
                # Who ends early does not read, and the connection breaks; how it ended is on its way to us.
                self._drain()
                if not self._status:
                    raise
                self._require_success()
                raise

    def _drain(self) -> None:
        try:
            while self._open:
                self._receive()
        except (OSError, WebSocketException):
            self._open = False

    def _receive(self) -> bytes:
        """Take one frame, and return what of it is standard output."""
        try:
            opcode, frame = self._socket.recv_data_frame(control_frame=True)
        except (WebSocketConnectionClosedException, ConnectionError):
            self._open = False
            if not self._status:
                raise
            return b""
        if opcode == ABNF.OPCODE_CLOSE:
            self._open = False
        if opcode not in (ABNF.OPCODE_BINARY, ABNF.OPCODE_TEXT) or not frame.data:
            return b""
        channel, data = frame.data[0], bytes(frame.data[1:])
        if channel == STDERR_CHANNEL:
            self._errors = (self._errors + data)[-MAX_STDERR:]
        elif channel == ERROR_CHANNEL:
            self._status += data
        return data if channel == STDOUT_CHANNEL else b""

    def _require_success(self) -> None:
        with kubernetes_failures():
            if not self._status:
                raise ProtocolError("the connection ended before the program")
        status = json.loads(self._status)
        if status.get("status") != "Success":
            words = self._errors.decode("utf-8", "replace").strip() or str(status.get("message"))
            raise PodCommandError(shorten(words), _exit_code(status))


@contextmanager
def pod_command(
    client: CoreV1Api, namespace: str, pod: str, container: str, command: Sequence[str], *, stdin: bool
) -> Iterator[PodCommand]:
    """Run a program in a container for the time of the block.

    :raises EnclaveError: the API refused, or did not answer.
    """
    with kubernetes_failures():
        socket = CoreV1Api(_ExecClient(client.api_client.configuration)).connect_get_namespaced_pod_exec(
            pod,
            namespace,
            container=container,
            command=list(command),
            stdin=stdin,
            stdout=True,
            stderr=True,
            tty=False,
            _preload_content=False,
        )
    try:
        yield PodCommand(socket)
    finally:
        # The program may have ended without reading the rest, so closing must not wait for it.
        socket.settimeout(CLOSE_SECONDS)
        socket.close(timeout=CLOSE_SECONDS)


class _ExecClient(ApiClient):
    """Opens a websocket where its base sends a request."""

    def request(
        self,
        method: str,
        url: str,
        query_params: Any = None,
        headers: Mapping[str, str] | None = None,
        **_: Any,
    ) -> WebSocket:
        """Return the open connection.

        :raises ApiException: the API refused.
        """
        configuration = self.configuration
        options: dict[str, Any] = {
            "timeout": CONNECT_SECONDS,
            "header": [f"{name}: {value}" for name, value in _headers(headers or {}).items()],
        }
        if configuration.proxy or configuration.proxy_headers:
            websocket_proxycare(options, configuration, url, headers)
        address = get_websocket_url(url, query_params)
        socket = WebSocket(sslopt=_tls(configuration, address), skip_utf8_validation=True)
        try:
            socket.connect(address, **options)  # type: ignore[no-untyped-call]
        except WebSocketBadStatusException as error:
            refusal = ApiException(status=error.status_code, reason=error.status_message)
            refusal.body = error.resp_body or b""
            raise refusal from error
        return socket


def _headers(headers: Mapping[str, str]) -> dict[str, str]:
    # Only the credentials among the client's headers are meaningful here.
    credentials = {name: value for name, value in headers.items() if name.lower() == "authorization"}
    return {**credentials, "sec-websocket-protocol": f"{V5_CHANNEL_PROTOCOL},{V4_CHANNEL_PROTOCOL}"}


def _tls(configuration: Configuration, address: str) -> dict[str, Any]:
    """Return the TLS options of a connection, as the client's other requests have them."""
    options: dict[str, Any] = {"cert_reqs": ssl.CERT_NONE}
    if address.startswith("wss:") and configuration.verify_ssl:
        options = {
            "cert_reqs": ssl.CERT_REQUIRED,
            "ca_certs": configuration.ssl_ca_cert or certifi.where(),
        }
        if configuration.assert_hostname is not None:
            options["check_hostname"] = configuration.assert_hostname
    named = {
        "certfile": configuration.cert_file,
        "keyfile": configuration.key_file,
        "server_hostname": configuration.tls_server_name,
    }
    return options | {name: value for name, value in named.items() if value}


def _exit_code(status: dict[str, Any]) -> int | None:
    causes = (status.get("details") or {}).get("causes") or []
    found = next((each.get("message") for each in causes if each.get("reason") == "ExitCode"), None)
    return int(str(found)) if str(found).isdecimal() else None
