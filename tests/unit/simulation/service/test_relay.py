"""The relay from a container's loopback to an emulator elsewhere; here both are addresses of one loopback."""

from __future__ import annotations

import socket
import threading

import pytest
from confidential_spark.simulation.service.relay import emulator_relay

ELSEWHERE = "::1"


@pytest.fixture
def emulator():
    """Echoes in upper case what one connection sends, once it has been sent entirely."""
    listener = socket.create_server((ELSEWHERE, 0), family=socket.AF_INET6)

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            heard = b""
            while chunk := connection.recv(65_536):
                heard += chunk
            connection.sendall(heard.upper())

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    listener.close()


@pytest.fixture
def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def asked(port: int, content: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 10) as client:
        client.sendall(content)
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while chunk := client.recv(65_536):
            answer += chunk
        return answer


def test_the_loopback_leads_to_the_emulator(emulator, free_port):
    content = b"blob " * 100_000
    with emulator_relay(f"{free_port}:{ELSEWHERE}:{emulator}"):
        assert asked(free_port, content) == content.upper()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", free_port), 10)


def test_an_emulator_that_is_away_is_a_connection_that_ends(emulator):
    with socket.create_server((ELSEWHERE, 0), family=socket.AF_INET6) as free:
        port = free.getsockname()[1]
    with emulator_relay(f"{port}:{ELSEWHERE}:{port}"):
        assert asked(port, b"") == b""


def test_without_an_emulator_nothing_listens(emulator):
    with emulator_relay(""), pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", emulator), 10)
