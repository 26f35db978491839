"""A storage emulator of another machine on this container's loopback, where agents take plain http."""

from __future__ import annotations

import socket
import socketserver
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

CONNECT_SECONDS = 10.0
CHUNK_BYTES = 65_536


@contextmanager
def emulator_relay(forward: str) -> Iterator[None]:
    """Pass every connection to a port of 127.0.0.1 on to an emulator.

    :param forward: ``PORT:HOST:PORT``, as `ssh -L` takes it; empty: there is none.
    :raises OSError: the port is taken.
    """
    if not forward:
        yield
        return
    own, _, target = forward.partition(":")
    host, _, port = target.rpartition(":")

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            # Who connected is hung up on where the emulator is away, and tries again.
            with suppress(OSError), socket.create_connection((host, int(port)), CONNECT_SECONDS) as far:
                far.settimeout(None)
                back = threading.Thread(target=_pass_on, args=(far, self.request), daemon=True)
                back.start()
                _pass_on(self.request, far)
                back.join()

    with _Server(("127.0.0.1", int(own)), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.2,), name="relay", daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while chunk := source.recv(CHUNK_BYTES):
            target.sendall(chunk)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
