"""A listener that accepts every connection and then stalls, before or within the TLS handshake."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Self

# The header of a TLS record, and the first bytes of the ServerHello that it announces.
HALF_A_SERVER_HELLO = bytes.fromhex("160303007a020000760303")


class StalledTls:
    """Keeps its clients waiting until the block ends.

    :param answer: what each gets in answer to its first bytes.
    """

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.connections: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(60)
        for connection in self.connections:
            connection.close()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"https://127.0.0.1:{self._listener.getsockname()[1]}"

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections.append(connection)
                with suppress(OSError):
                    if self.answer and connection.recv(1):
                        connection.sendall(self.answer)
