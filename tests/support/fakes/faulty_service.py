"""A loopback service that misbehaves as told: what a service on a bad day does to a client."""

from __future__ import annotations

import socketserver
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from confidential_spark.simulation.service import api as attestation_api
from confidential_spark.simulation.service.api import Request

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping


@dataclass(frozen=True)
class Fault:
    """One misbehaviour, in the order things happen on the wire.

    :param delay: seconds before the first byte.
    :param raw: bytes sent instead of an HTTP answer.
    :param announce: Content-Length to claim, when it is not the body's.
    :param trickle: seconds between single bytes of the body, or of ``raw``.
    """

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    raw: bytes | None = None
    announce: int | None = None
    trickle: float = 0.0


class FaultyService:
    """Answers the first requests with faults, in order, and all later ones properly.

    :param now: of the attestation provider that it is.
    :param proper: what it is instead: the answer to a request with its headers.
    :param tls: its certificate, where it has one.
    """

    def __init__(
        self,
        *faults: Fault | None,
        now: datetime | None = None,
        proper: Callable[[Request, Mapping[str, str]], Fault] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.faults = deque(faults)
        self.now = now
        self.proper = proper or self._attest
        self.requests: list[Request] = []
        self.headers: list[dict[str, str]] = []
        self._heard = threading.Condition()
        self._server = _Server(("127.0.0.1", 0), _Connection)
        self._server.service = self
        self._secure = tls is not None
        if tls is not None:
            self._server.socket = tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )

    def _attest(self, request: Request, _: Mapping[str, str]) -> Fault:
        answer = attestation_api.answer(request, self.now or datetime.now(UTC))
        return Fault(answer.status, answer.body, dict(answer.headers))

    @property
    def url(self) -> str:
        return f"http{'s' if self._secure else ''}://127.0.0.1:{self.port}"

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def add(self, request: Request) -> None:
        """Keep a request that was read."""
        with self._heard:
            self.requests.append(request)
            self._heard.notify_all()

    def wait_for(self, count: int, seconds: float = 30) -> int:
        """Return how many requests there are, once there are so many: a client that gave up is read later."""
        with self._heard:
            self._heard.wait_for(lambda: len(self.requests) >= count, seconds)
            return len(self.requests)

    def __enter__(self) -> FaultyService:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    service: FaultyService

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a client that hangs up on a fault is what tests are after."""


class _Connection(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        request, headers = self._request()
        service = self.server.service
        service.add(request)
        fault = service.faults.popleft() if service.faults else None
        self._misbehave(fault or service.proper(request, headers))

    def _request(self) -> tuple[Request, dict[str, str]]:
        method, target, _ = self.rfile.readline().decode("ascii").split()
        headers: dict[str, str] = {}
        while line := self.rfile.readline().decode("latin-1").strip():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        self.server.service.headers.append(headers)
        body = self.rfile.read(int(headers.get("content-length", "0")))
        return Request(method, target, headers.get("content-type", ""), body), headers

    def _misbehave(self, fault: Fault) -> None:
        time.sleep(fault.delay)
        if fault.raw is not None:
            self._send(fault.raw, fault.trickle)
            return
        length = len(fault.body) if fault.announce is None else fault.announce
        headers = {"Content-Length": str(length), "Connection": "close", **fault.headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.wfile.write(f"HTTP/1.1 {fault.status} Something\r\n{lines}\r\n".encode("latin-1"))
        self._send(fault.body, fault.trickle)

    def _send(self, content: bytes, trickle: float) -> None:
        if not trickle:
            self.wfile.write(content)
            return
        for byte in content:
            self.wfile.write(bytes([byte]))
            time.sleep(trickle)
