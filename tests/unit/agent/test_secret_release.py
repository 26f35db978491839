from __future__ import annotations

import json
import socket
import ssl
import threading
from contextlib import contextmanager
from dataclasses import replace

import pytest
from confidential_spark.agent.errors import AgentError
from confidential_spark.agent.peer import PeerAttestation, verify_peer
from confidential_spark.agent.protocol import JobIdentity, b64url, executor_role
from confidential_spark.agent.secret_release import SecretRelease, request_secret

from tests.unit.agent.peers import EXPECTED, JWKS, Enclave

DRIVER_JOB = JobIdentity("nytaxi", "aa" * 32, "bb" * 32)


def verify(peer: PeerAttestation):
    return verify_peer(peer, JWKS, EXPECTED)


@pytest.fixture
def driver() -> Enclave:
    return Enclave(job=DRIVER_JOB)


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def release(driver: Enclave, lines: list[str], tmp_path) -> SecretRelease:
    return SecretRelease(
        ("127.0.0.1", 0),
        own=driver.attest().record(),
        key=driver.key,
        verify=verify,
        work_dir=tmp_path / "work",
        say=lines.append,
    )


def ask(port: int, executor: Enclave, executor_id: str = "1", *, own=None, trusts=verify) -> bytes:
    attestation = executor.attest() if own is None else own
    return request_secret(
        ("127.0.0.1", port),
        executor_id=executor_id,
        own=attestation.record(),
        runtime=attestation.runtime_data,
        key=executor.key,
        verify=trusts,
    )


def test_an_attested_executor_gets_the_secret_and_is_recorded(release: SecretRelease):
    with release.listening() as port:
        first = Enclave().attest()
        executor = Enclave(job=executor_role("2"))
        assert ask(port, executor, "2") == release.secret
        assert len(release.secret) == 32
        assert [record["id"] for record in release.records()] == ["2"]
        assert release.records()[0].keys() == {"id", *first.record()}
    release.raise_for_intruder()


def test_no_key_is_left_on_disk(release: SecretRelease, tmp_path):
    with release.listening():
        assert list((tmp_path / "work").iterdir()) == []


@pytest.mark.parametrize(
    ("executor", "executor_id", "code"),
    [
        pytest.param(Enclave().with_measurement(mrenclave="33" * 32), "1", "peer-measurement", id="image"),
        pytest.param(Enclave().with_measurement(mrsigner="33" * 32), "1", "peer-measurement", id="signer"),
        pytest.param(Enclave(nonce=bytes(32)), "1", "peer-foreign", id="run"),
        pytest.param(Enclave(), "2", "expected executor 2", id="another-id"),
        pytest.param(Enclave(), "x", "executor_id is no number", id="no-id"),
        pytest.param(Enclave(job=DRIVER_JOB), "1", "expected executor 1", id="a-driver"),
    ],
)
def test_who_is_refused_gets_nothing(release: SecretRelease, lines, executor, executor_id: str, code: str):
    with release.listening() as port, pytest.raises(AgentError, match="release-refused") as caught:
        ask(port, executor, executor_id)
    assert code in str(caught.value)
    assert any("got nothing" in line and code in line for line in lines)
    assert release.records() == []


def test_another_program_ends_the_run(release: SecretRelease):
    with release.listening() as port:
        with pytest.raises(AgentError):
            ask(port, Enclave().with_measurement(mrenclave="33" * 32))
        assert ask(port, Enclave()) == release.secret
    with pytest.raises(AgentError, match="peer-measurement"):
        release.raise_for_intruder()


def raw_exchange(port: int, message: bytes) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), 5) as plain, context.wrap_socket(plain) as channel:
        channel.sendall(message)
        channel.settimeout(5)
        answer = b""
        while chunk := channel.recv(65_536):
            answer += chunk
        return answer


@pytest.mark.parametrize(
    "message",
    [
        pytest.param((2**31).to_bytes(4, "big"), id="huge"),
        pytest.param(b"\0\0\0\2[]", id="array"),
        pytest.param(b"\0\0\0\5{\xff\xff\xff}", id="no-utf8"),
        pytest.param(b"\0\0\0\2{}", id="empty"),
        pytest.param(b"\0\0\0\x0f" + b'{"a":1,"a": 2 }', id="key-twice"),
    ],
)
def test_garbage_is_refused_and_is_no_intruder(release: SecretRelease, message: bytes):
    with release.listening() as port:
        answer = raw_exchange(port, message)
        assert "refused" in json.loads(answer[4:])
        assert ask(port, Enclave()) == release.secret
    release.raise_for_intruder()


def test_plain_text_on_the_port_is_noise(release: SecretRelease):
    with release.listening() as port:
        with socket.create_connection(("127.0.0.1", port), 5) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert ask(port, Enclave()) == release.secret


def test_a_replayed_attestation_gets_bytes_that_only_its_owner_can_read(release: SecretRelease):
    genuine, thief = Enclave(), Enclave()
    with release.listening() as port, pytest.raises(AgentError, match="driver-not-attested"):
        ask(port, thief, own=genuine.attest())


@pytest.mark.parametrize(
    "impostor",
    [
        pytest.param(Enclave(job=DRIVER_JOB).with_measurement(mrenclave="33" * 32), id="another-image"),
        pytest.param(Enclave(job=DRIVER_JOB, nonce=bytes(32)), id="another-run"),
    ],
)
def test_an_executor_takes_no_secret_from_another_driver(impostor: Enclave, tmp_path):
    release = SecretRelease(
        ("127.0.0.1", 0),
        own=impostor.attest().record(),
        key=impostor.key,
        verify=verify,
        work_dir=tmp_path,
        say=lambda line: None,
    )
    with release.listening() as port, pytest.raises(AgentError, match="peer-"):
        ask(port, Enclave())


def test_a_stolen_driver_attestation_does_not_help_without_its_key(driver: Enclave, tmp_path):
    release = SecretRelease(
        ("127.0.0.1", 0),
        own=driver.attest().record(),
        key=Enclave().key,
        verify=verify,
        work_dir=tmp_path,
        say=lambda line: None,
    )
    with release.listening() as port, pytest.raises(AgentError, match="driver-not-attested"):
        ask(port, Enclave())


@contextmanager
def man_in_the_middle(port: int, certificate):
    """Terminate TLS with another certificate and pass every byte on to the driver."""
    listener = socket.create_server(("127.0.0.1", 0))
    outward = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    outward.check_hostname = False
    outward.verify_mode = ssl.CERT_NONE

    def relay() -> None:
        plain, _ = listener.accept()
        with (
            certificate.wrap_socket(plain, server_side=True) as inside,
            socket.create_connection(("127.0.0.1", port)) as far,
            outward.wrap_socket(far) as outside,
        ):
            size = inside.recv(4)
            body = b""
            while len(body) < int.from_bytes(size, "big"):
                body += inside.recv(65_536)
            outside.sendall(size + body)
            while chunk := outside.recv(65_536):
                inside.sendall(chunk)

    thread = threading.Thread(target=relay)
    thread.start()
    yield listener.getsockname()[1]
    thread.join(10)
    listener.close()


def test_a_man_in_the_middle_is_noticed_by_his_certificate(release: SecretRelease, tmp_path):
    from confidential_spark.agent import secret_release

    other, _ = secret_release._tls_server(tmp_path / "other")
    with (
        release.listening() as port,
        man_in_the_middle(port, other) as middle,
        pytest.raises(AgentError, match="another certificate"),
    ):
        ask(middle, Enclave())


def test_a_driver_that_is_away_can_be_asked_again():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(AgentError, match="driver-unreachable") as caught:
        ask(port, Enclave())
    assert caught.value.exit_code == 75


def test_a_port_in_use_is_named(release: SecretRelease):
    with socket.create_server(("127.0.0.1", 0)) as other:
        release._address = other.getsockname()
        with pytest.raises(AgentError, match="release-port-unavailable"), release.listening():
            pass


def test_answers_differ_each_time(release: SecretRelease):
    executor = Enclave()
    own = replace(executor.attest())
    with release.listening() as port:
        request = json.dumps({"v": 1, "executor_id": "1", "attestation": own.record()}).encode()
        answers = {raw_exchange(port, len(request).to_bytes(4, "big") + request) for _ in range(2)}
    assert len(answers) == 2
    assert all(b64url(release.secret).encode() not in answer for answer in answers)
