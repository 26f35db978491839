"""An attestation provider on loopback for simulated enclaves: MAA's REST API, and PCCS's.

It verifies quotes as MAA does, under the development root, and signs tokens under an issuer that cannot
exist. Both prove nothing about hardware.
"""

from __future__ import annotations

import logging
import socketserver
import threading
import time
import uuid
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar, Self

from confidential_spark.core.errors import ConfigurationError
from confidential_spark.simulation.service import api as attestation_api
from confidential_spark.simulation.service.answers import Answer, Refused, error, invalid_parameter
from confidential_spark.simulation.service.api import PCCS_PATH, Request
from confidential_spark.simulation.service.requests import MAX_REQUEST_BYTES
from confidential_spark.simulation.service.tokens import ISSUER, issue_token, jwks

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

__all__ = ["ISSUER", "LoopbackAttestationService", "issue_token", "jwks"]

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
READ_SECONDS = 10.0
POLL_SECONDS = 0.02
# An oversize body is read and thrown away up to here, so that its sender reads the refusal and no reset.
DISCARD_BYTES = 16 * MAX_REQUEST_BYTES


def utc_now() -> datetime:
    """Return the wall clock."""
    return datetime.now(UTC)


class LoopbackAttestationService:
    """Serves between ``with`` and its end, on 127.0.0.1 only.

    :param port: 0 takes a free one.
    :param clock: when the service believes it is.
    """

    def __init__(self, port: int = 0, clock: Callable[[], datetime] = utc_now) -> None:
        """Bind nothing yet."""
        self._port = port
        self._clock = clock
        self._server: _Server | None = None

    def __enter__(self) -> Self:
        """Listen, and answer from a daemon thread that ends with this process.

        :raises ConfigurationError: ``attestation-port-unavailable``.
        """
        self._server = _listen(self._port, self._clock)
        thread = threading.Thread(
            target=self._server.serve_forever, args=(POLL_SECONDS,), name="loopback-attestation", daemon=True
        )
        thread.start()
        log.info("SIMULATED attestation service listens on %s – proves nothing about hardware", self.url)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop answering and free the port."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    @property
    def url(self) -> str:
        """The provider's address, e.g. ``http://127.0.0.1:49152``.

        :raises ConfigurationError: ``attestation-service-stopped``.
        """
        if self._server is None:
            raise ConfigurationError(
                "The loopback attestation service is not running.",
                code="attestation-service-stopped",
                action="use it inside its `with` block",
            )
        return f"http://{HOST}:{self._server.server_port}"

    @property
    def pccs_url(self) -> str:
        """The address of the collateral, e.g. ``http://127.0.0.1:49152/sgx/certification/v4/``."""
        return f"{self.url}{PCCS_PATH}/"


def _listen(port: int, clock: Callable[[], datetime]) -> _Server:
    try:
        return _Server(port, clock)
    except (OSError, OverflowError) as problem:
        raise ConfigurationError(
            "The loopback attestation service cannot have its port.",
            code="attestation-port-unavailable",
            got=f"{HOST}:{port} ({problem})",
            expected="a free port",
            action="choose another port, or 0 for any free one",
        ) from problem


class _Server(ThreadingHTTPServer):
    """One thread per connection; threads and sockets die with the process."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_port = False

    def __init__(self, port: int, clock: Callable[[], datetime]) -> None:
        self.clock = clock
        super().__init__((HOST, port), _Handler)

    def server_bind(self) -> None:
        """Bind without HTTPServer's reverse DNS look-up, which can hang a laptop for seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Note a broken connection; a traceback would only look like a fault of the run."""
        log.debug("a connection broke", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    """Reads requests within limits and writes answers; what to answer is `attestation_api`'s business."""

    server: _Server
    server_version = "SimulatedAttestation"
    sys_version = ""
    default_request_version = "HTTP/1.0"  # for lines that name none; 0.9 would be answered without a status
    timeout: ClassVar[float] = READ_SECONDS

    def do_GET(self) -> None:
        """Answer a request."""
        try:
            request = Request(self.command, self.path, self.headers.get("Content-Type", ""), self._body())
            answer = attestation_api.answer(request, self.server.clock())
        except Refused as refused:
            answer = refused.answer
        except TimeoutError:
            answer = error(408, "RequestTimeout", f"The request took longer than {READ_SECONDS:g} seconds.")
        except Exception:
            log.exception("the loopback attestation service failed")
            answer = error(500, "InternalServerError", "The simulated provider failed; see the log.")
        self._write(answer)

    do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_HEAD = do_GET

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what is not HTTP at all in the provider's shape too, instead of in HTML."""
        self._write(error(code, "BadRequest", message or "The request is malformed."))

    def log_message(self, format: str, *args: Any) -> None:
        """Log requests for debugging only."""
        log.debug(format, *args)

    def _body(self) -> bytes:
        """Read the request's body.

        :raises Refused: no length, or too long.
        """
        if "Transfer-Encoding" in self.headers:
            raise Refused(error(411, "LengthRequired", "A request needs a Content-Length."))
        text = self.headers.get("Content-Length", "0")
        if not (text.isascii() and text.isdigit()) or len(text) > len(str(2**63)):
            raise invalid_parameter("Content-Length is not a number.")
        length = int(text)
        if length > MAX_REQUEST_BYTES:
            self._read(min(length, DISCARD_BYTES), keep=False)
            raise invalid_parameter(f"The request has {length} bytes, more than {MAX_REQUEST_BYTES}.")
        return self._read(length)

    def _read(self, length: int, *, keep: bool = True) -> bytes:
        """Read up to ``length`` bytes within the time limit, however slowly they trickle in."""
        deadline = time.monotonic() + READ_SECONDS
        body = bytearray()
        while length > 0 and (chunk := self.rfile.read1(min(length, 65536))):
            length -= len(chunk)
            if keep:
                body += chunk
            if time.monotonic() > deadline:
                raise TimeoutError
        return bytes(body)

    def _write(self, answer: Answer) -> None:
        self.close_connection = True
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Connection", "close")
        self.send_header("x-ms-request-id", str(uuid.uuid4()))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)
