"""The way into the node: bytes both ways, each direction ends by itself, and an end is passed on."""

from __future__ import annotations

import socket
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.support.cluster.forwarder import forward

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGE = b"0123456789abcdef" * 10_000


@pytest.fixture
def server() -> Iterator[socket.socket]:
    """A server to be forwarded to."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(20)
        yield listening


@pytest.fixture
def client(server: socket.socket) -> Iterator[socket.socket]:
    """A connection to a port that is forwarded to the server."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    forward(listener, server.getsockname()[1])
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connected:
        yield connected


def read_all(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(65_536), b""))


def test_an_answer_comes_after_the_question_has_ended(server: socket.socket, client: socket.socket) -> None:
    client.sendall(b"question")
    client.shutdown(socket.SHUT_WR)
    accepted, _ = server.accept()
    accepted.settimeout(20)
    with closing(accepted):
        assert read_all(accepted) == b"question"
        accepted.sendall(LARGE)
    assert read_all(client) == LARGE


def test_a_server_that_ends_ends_its_client(server: socket.socket, client: socket.socket) -> None:
    accepted, _ = server.accept()
    accepted.close()
    assert client.recv(1) == b""


def test_a_server_that_is_away_is_an_end_and_not_silence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        away = nobody.getsockname()[1]
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    forward(listener, away)
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        assert client.recv(1) == b""
