"""A program's websocket, frame by frame, and connections that do not come about."""

from __future__ import annotations

import json
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
from confidential_spark.core.errors import EnclaveError
from confidential_spark.platforms.kubernetes.client import pod_exec
from confidential_spark.platforms.kubernetes.client.pod_exec import PodCommand, PodCommandError, pod_command
from kubernetes.client import ApiClient, Configuration, CoreV1Api
from websocket import ABNF, WebSocketConnectionClosedException, WebSocketTimeoutException

if TYPE_CHECKING:
    from collections.abc import Iterator

CLOSED = ABNF(opcode=ABNF.OPCODE_CLOSE)
PING = ABNF(opcode=ABNF.OPCODE_PING, data=b"x")
NO_ROOM = b"tar: part-0.parquet: No space left on device"


def frame(channel: int, data: bytes) -> ABNF:
    return ABNF(opcode=ABNF.OPCODE_BINARY, data=bytes([channel]) + data)


def ended(code: int | None = 0) -> ABNF:
    causes = [{"reason": "ExitCode", "message": str(code)}] if code else []
    status = {"status": "Failure" if code != 0 else "Success", "message": "words"}
    return frame(3, json.dumps({**status, "details": {"causes": causes}}).encode())


class Socket:
    """Gives the frames it was given; an exception is raised.

    :param room: how many frames can be sent before the connection breaks.
    """

    def __init__(self, *frames: Any, room: int = 10**6) -> None:
        self.frames, self.room = list(frames), room
        self.sent: list[bytes] = []

    def settimeout(self, seconds: float) -> None:
        assert seconds > 0

    def recv_data_frame(self, *, control_frame: bool) -> tuple[int, ABNF]:
        assert control_frame
        given = self.frames.pop(0)
        if isinstance(given, Exception):
            raise given
        return given.opcode, given

    def send(self, data: bytes, opcode: int) -> None:
        if len(self.sent) == self.room:
            raise BrokenPipeError(32, "Broken pipe")
        assert opcode == ABNF.OPCODE_BINARY
        self.sent.append(data)


def program(*frames: Any, **keywords: Any) -> PodCommand:
    return PodCommand(Socket(*frames, **keywords))  # type: ignore[arg-type]


def test_what_a_program_prints_is_passed_on_and_not_kept() -> None:
    frames = [frame(1, b""), frame(1, b"one"), PING, frame(2, b"a warning"), frame(255, b"\x01")]
    command = program(*frames, frame(1, b"two"), ended(), CLOSED)
    assert list(command.read()) == [b"one", b"two"]
    assert b"one" not in str(vars(command)).encode()


def test_a_connection_without_a_farewell_is_enough_once_the_end_is_known() -> None:
    assert list(program(ended(), WebSocketConnectionClosedException("x")).read()) == []


@pytest.mark.parametrize(
    "broken",
    [CLOSED, WebSocketConnectionClosedException("x"), ConnectionResetError(), WebSocketTimeoutException("x")],
)
def test_a_connection_that_ends_before_the_program_is_the_api_s(broken) -> None:
    with pytest.raises(EnclaveError) as failed:
        list(program(frame(1, b"one"), broken).read())
    assert (failed.value.code, failed.value.retryable) == ("kubernetes-unreachable", True)


@pytest.mark.parametrize(("code", "killed"), [(2, False), (127, False), (137, True), (None, True)])
def test_a_failing_program_says_why(code, killed) -> None:
    with pytest.raises(PodCommandError) as failed:
        list(program(frame(2, NO_ROOM), ended(code), CLOSED).read())
    assert failed.value.got == NO_ROOM.decode()
    assert (failed.value.exit_code, failed.value.killed) == (code, killed)


def test_input_goes_out_in_frames() -> None:
    command = program(ended(), CLOSED)
    command.write([b"x" * (pod_exec.FRAME_BYTES + 1), b"y"])
    assert list(command.read()) == []
    assert [len(data) for data in command._socket.sent] == [pod_exec.FRAME_BYTES + 1, 2, 2]  # type: ignore[attr-defined]


@pytest.mark.parametrize("farewell", [CLOSED, ConnectionResetError()])
def test_a_program_that_ends_before_it_has_read_all_says_why(farewell) -> None:
    command = program(frame(2, NO_ROOM), ended(2), farewell, room=1)
    with pytest.raises(PodCommandError) as failed:
        command.write([b"a", b"b", b"c"])
    assert failed.value.got == NO_ROOM.decode()


def test_a_broken_connection_without_an_end_stays_one() -> None:
    command = program(frame(2, NO_ROOM), ConnectionResetError(), room=1)
    with pytest.raises(EnclaveError) as failed:
        command.write([b"a", b"b"])
    assert failed.value.code == "kubernetes-unreachable"
    assert "Broken pipe" in str(failed.value)


def client_of(url: str) -> CoreV1Api:
    configuration = Configuration()
    configuration.host, configuration.verify_ssl = url, False
    return CoreV1Api(ApiClient(configuration))


def open_command(client: CoreV1Api) -> EnclaveError:
    with (
        pytest.raises(EnclaveError) as failed,
        pod_command(client, "namespace", "p", "c", ["true"], stdin=False),
    ):
        pass
    return failed.value


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_server_that_takes_the_connection_and_says_nothing(listener, monkeypatch, scheme) -> None:
    monkeypatch.setattr(pod_exec, "CONNECT_SECONDS", 0.2)
    error = open_command(client_of(f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"))
    assert error.code == "kubernetes-unreachable"


def test_a_refused_handshake_is_told_in_the_api_s_words(listener) -> None:
    body = json.dumps({"message": 'pods "p" not found', "reason": "NotFound"}).encode()

    def refuse() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65_536)
            head = f"HTTP/1.1 404 Not Found\r\nContent-Length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body)

    server = threading.Thread(target=refuse)
    server.start()
    error = open_command(client_of(f"http://127.0.0.1:{listener.getsockname()[1]}"))
    server.join()
    assert (error.code, error.got) == ("kubernetes-refused", 'pods "p" not found')
