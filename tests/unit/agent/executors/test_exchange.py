"""The wire between two enclaves, over real TLS on the loopback."""

from __future__ import annotations

import itertools
import json
import socket
import socketserver
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from confidential_spark.agent.executors import exchange
from confidential_spark.agent.executors.exchange import MAX_MESSAGE_BYTES, Exchange, ExchangeServer

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

PATIENCE = 30.0


@pytest.fixture
def channels(tmp_path) -> Iterator[tuple[ssl.SSLSocket, ssl.SSLSocket]]:
    """Two ends of one TLS connection."""
    context, _ = exchange.tls_server(tmp_path)
    one, other = socket.socketpair()
    one.settimeout(PATIENCE)
    other.settimeout(PATIENCE)
    with ThreadPoolExecutor(1) as pool:
        serving = pool.submit(context.wrap_socket, one, server_side=True)
        with exchange.tls_client().wrap_socket(other) as near, serving.result() as far:
            yield near, far


def soon() -> float:
    return time.monotonic() + PATIENCE


def test_a_message_of_many_records_arrives_whole(channels):
    near, far = channels
    message = {"v": 1, "text": "x" * 100_000}
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(Exchange(near, soon()).send, message)
        assert Exchange(far, soon()).receive() == message
        sending.result(PATIENCE)


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        pytest.param(b"", "after 0 of 4 bytes", id="nothing"),
        pytest.param(b"\0\0", "after 2 of 4 bytes", id="within-the-length"),
        pytest.param(b"\0\0\0\x09{", "after 1 of 9 bytes", id="within-the-message"),
        pytest.param(
            (MAX_MESSAGE_BYTES + 1).to_bytes(4, "big"), f"at most {MAX_MESSAGE_BYTES}", id="too-long"
        ),
    ],
)
def test_what_is_no_whole_message_is_refused(channels, sent, said):
    near, far = channels
    near.sendall(sent)
    near.shutdown(socket.SHUT_WR)
    with pytest.raises((ValueError, OSError), match=said):
        Exchange(far, soon()).receive()


@pytest.mark.parametrize("step", ["send", "receive"])
def test_nothing_is_exchanged_after_the_deadline(channels, step):
    near, far = channels
    Exchange(far, soon()).send({"v": 1})
    late = Exchange(near, time.monotonic())
    with pytest.raises(TimeoutError, match="took too long"):
        late.send({"v": 1}) if step == "send" else late.receive()


def test_a_byte_now_and_then_buys_no_time(channels, monkeypatch):
    near, far = channels
    data = json.dumps({"v": 1}).encode()
    for byte in len(data).to_bytes(4, "big") + data:
        near.sendall(bytes([byte]))
    clock = itertools.count()
    monkeypatch.setattr(exchange, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    with pytest.raises(TimeoutError, match="took too long"):
        Exchange(far, 5).receive()
    assert Exchange(far, 1_000)._exactly(1) == data[1:2]


class Waiting(socketserver.BaseRequestHandler):
    """Holds its connection until the test lets it go."""

    def handle(self) -> None:
        self.server.handled.release()
        self.server.let_go.wait(PATIENCE)


class Server(ExchangeServer):
    def __init__(self) -> None:
        self.handled = threading.Semaphore(0)
        self.taken = threading.Semaphore(0)
        self.let_go = threading.Event()
        super().__init__(("127.0.0.1", 0), Waiting)

    def process_request(self, *arguments: object) -> None:
        self.taken.release()
        super().process_request(*arguments)

    def connect(self) -> socket.socket:
        connection = socket.create_connection(self.server_address, PATIENCE)
        assert self.taken.acquire(timeout=PATIENCE)
        return connection


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    """A server with one slot."""
    monkeypatch.setattr(exchange, "MAX_EXCHANGES", 1)
    running = Server()
    threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
    yield running
    running.let_go.set()
    running.stop()


def test_who_waits_for_a_slot_is_served_when_one_is_free(server):
    with server.connect(), server.connect():
        assert server.handled.acquire(timeout=PATIENCE)
        assert not server.handled.acquire(blocking=False)
        server.let_go.set()
        assert server.handled.acquire(timeout=PATIENCE)


def test_who_waits_for_a_slot_is_let_go_when_the_server_stops(server):
    with server.connect(), server.connect() as waiting:
        assert server.handled.acquire(timeout=PATIENCE)
        stopping = threading.Thread(target=server.stop, daemon=True)
        stopping.start()
        assert waiting.recv(1) == b""
        assert not server.handled.acquire(blocking=False)
        server.let_go.set()
        stopping.join(PATIENCE)
        assert not stopping.is_alive()


def test_a_connection_that_gets_no_thread_costs_no_slot(server, monkeypatch, capfd):
    def no_more(**_: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(socketserver, "threading", SimpleNamespace(Thread=no_more))
        with server.connect() as lost:
            assert lost.recv(1) == b""
    with server.connect():
        assert server.handled.acquire(timeout=PATIENCE)
    assert capfd.readouterr().err == ""
