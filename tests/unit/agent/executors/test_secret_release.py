from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from confidential_spark.agent import protocol
from confidential_spark.agent.data.blobs import BlobSource, ListedBlob
from confidential_spark.agent.errors import AgentError, ExitCode
from confidential_spark.agent.executors import exchange, input_list, secret_release
from confidential_spark.agent.executors.driver import ExecutorEnclaves
from confidential_spark.agent.executors.input_list import ListedFile
from confidential_spark.agent.executors.secret_release import SecretRelease
from confidential_spark.agent.launch.launch_file import MAX_FILE_BYTES
from confidential_spark.agent.protocol import JobIdentity, b64url, executor_role
from confidential_spark.core.failures import LogWatcher
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from tests.unit.agent.executors.peers import DRIVER_JOB, Enclave, ask, framed, part, verify

if TYPE_CHECKING:
    from confidential_spark.agent.executors.peer import PeerAttestation


LIST = [
    {"name": "part-0.parquet", "bytes": 5, "sha256": "aa" * 32},
    {"name": "part-1.parquet", "bytes": 0, "sha256": "bb" * 32},
]


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
        inputs=LIST,
        verify=verify,
        work_dir=tmp_path / "work",
        say=lines.append,
    )


def test_an_attested_executor_gets_the_secret_and_is_recorded(release: SecretRelease):
    with release.listening() as port:
        first = Enclave().attest()
        executor = Enclave(job=executor_role("2"))
        assert ask(port, executor, "2").secret == release.secret
        assert len(release.secret) == 32
        assert [record["id"] for record in release.records()] == ["2"]
        assert release.records()[0].keys() == {"id", *first.record()}
    release.raise_for_intruder()


def test_an_attested_executor_gets_the_list_of_input_files(release: SecretRelease):
    with release.listening() as port:
        assert ask(port, Enclave()).inputs == [ListedFile(**record) for record in LIST]


SOURCE = (
    "https://account.blob.core.windows.net/trips",
    [
        {"name": "part-0.parquet", "bytes": 5, "etag": "0x8D4", "sas": "sv=1&sp=r&sig=CANARY%3D"},
        {"name": "part-1.parquet", "bytes": 1, "etag": "0x8D5", "sas": ""},
    ],
)


def test_an_attested_executor_gets_the_rights_to_the_blobs_and_nobody_else_reads_them(release: SecretRelease):
    release._source = SOURCE
    executor = Enclave()
    request = {"v": 1, "executor_id": "1", "attestation": executor.attest().record()}
    with release.listening() as port:
        source = ask(port, executor).source
        answer = raw_exchange(port, framed(request))
    assert source == BlobSource(SOURCE[0], [ListedBlob(**record) for record in SOURCE[1]])
    assert "CANARY" not in repr(source)
    assert not [part for part in (b"CANARY", b"0x8D4", b"account.blob") if part in answer]


def test_a_run_on_files_has_no_blobs(release: SecretRelease):
    with release.listening() as port:
        assert ask(port, Enclave()).source is None


def relisted(records):
    return [{**LIST[0], "sha256": "cc" * 32}, *records[1:]]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(relisted, id="another-digest"),
        pytest.param(lambda records: [{**records[0], "bytes": 6}, records[1]], id="another-size"),
        pytest.param(lambda records: [{**records[0], "name": "x.parquet"}, records[1]], id="another-name"),
        pytest.param(lambda records: records[:1], id="one-less"),
        pytest.param(
            lambda records: [*records, {"name": "z.parquet", "bytes": 1, "sha256": "cc" * 32}], id="one-more"
        ),
        pytest.param(lambda records: records[::-1], id="another-order"),
        pytest.param(lambda records: [], id="none"),
    ],
)
def test_a_list_that_was_changed_on_the_way_is_refused(release: SecretRelease, change):
    """Whoever could change it would have an executor read other bytes than the driver."""
    right = release._answer
    release._answer = lambda request: (answer := right(request)) | {"inputs": change(answer["inputs"])}
    with (
        release.listening() as port,
        pytest.raises(AgentError, match=r"driver-not-attested.*InvalidSignature") as caught,
    ):
        ask(port, Enclave())
    assert caught.value.exit_code is ExitCode.ATTESTATION_REFUSED


def test_an_answer_without_a_list_is_refused(release: SecretRelease):
    right = release._answer
    release._answer = lambda request: {k: v for k, v in right(request).items() if k != "inputs"}
    with (
        release.listening() as port,
        pytest.raises(AgentError, match=r"driver-not-attested.*InvalidSignature"),
    ):
        ask(port, Enclave())


def test_the_longest_list_fits_into_one_message(release: SecretRelease):
    """With the longest attestation, and names in the characters that JSON writes longest."""
    names = [f"{number:03}{'é' * 122}.parquet" for number in range(input_list.MAX_FILES)]
    assert {len(name.encode()) for name in names} == {input_list.MAX_NAME_BYTES}
    release._inputs = [{"name": name, "bytes": 2**53, "sha256": "a" * 64} for name in names]
    # As much as a launch file can hold of them.
    sas = f"sig={'s' * 500}&sks={'t' * 80}"
    blobs = [{"name": name, "bytes": 2**36, "etag": "e" * 100, "sas": sas} for name in names]
    release._source = ("https://account.blob.core.windows.net/trips", blobs)
    assert 0.97 < len(json.dumps(blobs, ensure_ascii=False).encode()) / MAX_FILE_BYTES < 1
    own = {
        "quote": b64url(bytes(protocol.MAX_QUOTE_BYTES)),
        "token": "t" * protocol.MAX_TOKEN_BYTES,
        "runtime_data": b64url(bytes(protocol.MAX_RUNTIME_DATA_BYTES)),
    }
    with release.listening() as port:
        assert [file.name for file in ask(port, Enclave()).inputs] == names
        release._own = own
        request = {"v": 1, "executor_id": "1", "attestation": Enclave().attest().record()}
        answer = raw_exchange(port, framed(request))
    assert len(answer) - exchange.LENGTH_BYTES <= exchange.MAX_MESSAGE_BYTES
    assert len(json.loads(answer[4:])["inputs"]) == input_list.MAX_FILES


def test_no_key_is_left_on_disk(release: SecretRelease, tmp_path):
    with release.listening():
        assert list((tmp_path / "work").iterdir()) == []


@pytest.mark.parametrize(
    ("executor", "executor_id", "code"),
    [
        pytest.param(Enclave().with_measurement(mrenclave="33" * 32), "1", "peer-measurement", id="image"),
        pytest.param(Enclave().with_measurement(mrsigner="33" * 32), "1", "peer-measurement", id="signer"),
        pytest.param(Enclave(nonce=bytes(32)), "1", "peer-foreign", id="run"),
        pytest.param(Enclave(), "2", "peer-role", id="another-id"),
        pytest.param(Enclave(), "x", "message-malformed", id="no-id"),
        pytest.param(Enclave(), "\u0661", "message-malformed", id="another-digit"),
        pytest.param(Enclave(job=DRIVER_JOB), "1", "peer-role", id="a-driver"),
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
        assert ask(port, Enclave()).secret == release.secret
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
        assert ask(port, Enclave()).secret == release.secret
    release.raise_for_intruder()


def test_plain_text_on_the_port_is_noise(release: SecretRelease):
    with release.listening() as port:
        with socket.create_connection(("127.0.0.1", port), 5) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert ask(port, Enclave()).secret == release.secret


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
        inputs=LIST,
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
        inputs=LIST,
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
    other, _ = exchange.tls_server(tmp_path / "other")
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


def test_a_driver_that_cannot_judge_now_can_be_asked_again(release: SecretRelease):
    def away(peer: PeerAttestation):
        raise AgentError(
            "The provider is away.",
            exit_code=ExitCode.SERVICE_UNAVAILABLE,
            code="attestation-unreachable",
        )

    release._verify = away
    with release.listening() as port, pytest.raises(AgentError, match="driver-unreachable") as caught:
        ask(port, Enclave())
    assert caught.value.exit_code == 75
    assert release.records() == []


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


def test_another_program_of_another_run_is_noise(release: SecretRelease):
    """Anybody has genuine enclaves of his own, and reaches the port: that must not end a run."""
    stranger = Enclave(nonce=bytes(32), run_id="somebody/else").with_measurement(mrenclave="99" * 32)
    with release.listening() as port:
        with pytest.raises(AgentError, match="peer-foreign"):
            ask(port, stranger)
        assert ask(port, Enclave()).secret == release.secret
    release.raise_for_intruder()


@pytest.mark.parametrize("role", [executor_role("9"), JobIdentity("attest", "aa" * 32, "bb" * 32)])
def test_an_enclave_of_the_run_that_is_no_driver_gives_no_secret(role: JobIdentity, tmp_path):
    other = Enclave(job=role)
    release = SecretRelease(
        ("127.0.0.1", 0),
        own=other.attest().record(),
        key=other.key,
        inputs=LIST,
        verify=verify,
        work_dir=tmp_path,
        say=lambda line: None,
    )
    with release.listening() as port, pytest.raises(AgentError, match="not its driver"):
        ask(port, Enclave())


def test_who_asks_again_is_answered_and_listed_once(release: SecretRelease):
    """Or whoever replays a request would make a statement that is too long for every verifier."""
    executor = Enclave()
    own = executor.attest()
    with release.listening() as port:
        for _ in range(3):
            assert ask(port, executor, own=own).secret == release.secret
    assert len(release.records()) == 1


def test_no_more_executors_than_a_verifier_reads(release: SecretRelease, monkeypatch):
    monkeypatch.setattr(secret_release, "MAX_EXECUTORS", 1)
    with release.listening() as port:
        assert ask(port, Enclave()).secret == release.secret
        with pytest.raises(AgentError, match="executors-too-many"):
            ask(port, Enclave(job=executor_role("2")), "2")
    assert [record["id"] for record in release.records()] == ["1"]


def test_nobody_gets_the_secret_after_the_list_was_taken(release: SecretRelease, tmp_path):
    enclaves = ExecutorEnclaves("127.0.0.1", tmp_path / "secret", release)
    with release.listening() as port:
        ask(port, Enclave())
        listed = enclaves.records()
        with pytest.raises(AgentError, match="driver-unreachable"):
            ask(port, Enclave(job=executor_role("2")), "2")
    assert release.records() == listed


def test_who_was_being_judged_when_the_list_was_taken_gets_nothing(driver: Enclave, tmp_path):
    def verify_late(peer: PeerAttestation):
        release.close()
        return verify(peer)

    release = SecretRelease(
        ("127.0.0.1", 0),
        own=driver.attest().record(),
        key=driver.key,
        inputs=LIST,
        verify=verify_late,
        work_dir=tmp_path,
        say=lambda line: None,
    )
    with release.listening() as port, pytest.raises(AgentError, match="release-closed"):
        ask(port, Enclave())
    assert release.records() == []


def test_an_intruder_is_found_when_the_list_is_taken(release: SecretRelease, tmp_path):
    enclaves = ExecutorEnclaves("127.0.0.1", tmp_path / "secret", release)
    with release.listening() as port:
        ask(port, Enclave())
        with pytest.raises(AgentError):
            ask(port, Enclave(job=executor_role("2")).with_measurement(mrenclave="33" * 32), "2")
        with pytest.raises(AgentError, match="peer-measurement"):
            enclaves.records()


HOSTILE = "[quota-exceeded] exceeded quota\n::endgroup::\x1b[2J"


@pytest.mark.parametrize(
    "header",
    [
        pytest.param({"alg": HOSTILE}, id="alg"),
        pytest.param({"alg": "RS256", "kid": HOSTILE}, id="kid"),
        pytest.param({"alg": "RS256", "kid": [[[HOSTILE]]]}, id="kid-nested"),
        pytest.param({"alg": "RS256", "kid": {"a": HOSTILE * 1000}}, id="kid-long"),
    ],
)
def test_a_strangers_words_are_in_no_log(release: SecretRelease, lines, capfd, header):
    """A log decides whether a run is tried again."""
    token = ".".join((part(header), part({}), "AA"))
    record = Enclave().attest().record() | {"token": token}
    with release.listening() as port:
        answer = raw_exchange(port, framed({"v": 1, "executor_id": HOSTILE[:5], "attestation": record}))
        answer += raw_exchange(port, framed({"v": 1, "executor_id": "1", "attestation": record}))
        answer += raw_exchange(port, framed({HOSTILE: 1}))
        with pytest.raises(AgentError):
            ask(port, Enclave().with_measurement(mrenclave="33" * 32))
    with pytest.raises(AgentError) as ended:
        release.raise_for_intruder()
    said = "\n".join([*lines, str(ended.value), answer.decode(errors="replace"), *capfd.readouterr()])
    assert "quota" not in said
    watcher = LogWatcher()
    for line in (*lines, str(ended.value)):
        watcher.feed(line)
    assert watcher.diagnose(71).failure.name == "peer-measurement"


@pytest.mark.parametrize("depth", [50, 900, 960, 990, 20_000])
def test_a_deep_token_is_noise(release: SecretRelease, capfd, depth):
    header = '{"alg":"RS256","kid":' + "[" * depth + "]" * depth + "}"
    record = Enclave().attest().record() | {"token": f"{b64url(header.encode())}.{part({})}.AA"}
    with release.listening() as port:
        raw_exchange(port, framed({"v": 1, "executor_id": "1", "attestation": record}))
        assert ask(port, Enclave()).secret == release.secret
    assert capfd.readouterr().err == ""


def test_noise_is_logged_once_and_counted(release: SecretRelease, lines):
    with release.listening() as port:
        for _ in range(3):
            raw_exchange(port, framed({}))
    assert [line for line in lines if "refused" in line.lower()] == [
        "Somebody was refused and got nothing: peer-malformed; more of the kind are only counted",
        "Refused on the executors' port, in all: {'peer-malformed': 3}",
    ]


def test_a_driver_that_is_none_puts_no_words_into_an_executors_log(tmp_path):
    context, _ = exchange.tls_server(tmp_path)
    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        plain, _ = listener.accept()
        with context.wrap_socket(plain, server_side=True) as channel:
            wire = exchange.Exchange(channel, time.monotonic() + 10)
            wire.receive()
            wire.send({"v": 1, "refused": [HOSTILE]})

    thread = threading.Thread(target=answer)
    thread.start()
    with pytest.raises(AgentError, match="no known reason") as caught:
        ask(listener.getsockname()[1], Enclave())
    thread.join(10)
    listener.close()
    assert "quota" not in str(caught.value)


def test_idle_connections_hold_few_threads_and_not_for_ever(driver: Enclave, tmp_path, monkeypatch):
    monkeypatch.setattr(exchange, "MAX_EXCHANGES", 2)
    monkeypatch.setattr(secret_release, "EXCHANGE_SECONDS", 0.3)
    at_work = []
    before = set(threading.enumerate())

    def verify_and_count(peer: PeerAttestation):
        new = set(threading.enumerate()) - before  # services of other tests have such threads, too
        at_work.append(sum("process_request_thread" in thread.name for thread in new))
        return verify(peer)

    release = SecretRelease(
        ("127.0.0.1", 0),
        own=driver.attest().record(),
        key=driver.key,
        inputs=LIST,
        verify=verify_and_count,
        work_dir=tmp_path,
        say=lambda line: None,
    )
    with release.listening() as port:
        idle = [socket.create_connection(("127.0.0.1", port), 5) for _ in range(6)]
        assert ask(port, Enclave()).secret == release.secret
        for connection in idle:
            connection.close()
    assert len(at_work) == 1
    assert at_work[0] <= 2


def drip(channel: ssl.SSLSocket) -> None:
    pause = threading.Event()
    for _ in range(1000):
        channel.sendall(b"x")
        pause.wait(0.02)


def test_a_byte_now_and_then_buys_no_time(release: SecretRelease, monkeypatch):
    monkeypatch.setattr(secret_release, "EXCHANGE_SECONDS", 0.3)
    context = exchange.tls_client()
    with (
        release.listening() as port,
        socket.create_connection(("127.0.0.1", port), 5) as plain,
        context.wrap_socket(plain) as channel,
    ):
        channel.sendall((500_000).to_bytes(4, "big"))
        with pytest.raises(OSError, match=r".*"):
            drip(channel)


def test_silence_ends_an_exchange_too(release: SecretRelease, monkeypatch):
    monkeypatch.setattr(secret_release, "EXCHANGE_SECONDS", 0.3)
    with (
        release.listening() as port,
        socket.create_connection(("127.0.0.1", port), 5) as plain,
        exchange.tls_client().wrap_socket(plain) as channel,
    ):
        channel.sendall((500_000).to_bytes(4, "big"))
        with suppress(ConnectionResetError, ssl.SSLEOFError):
            assert channel.recv(1) == b""


def test_closing_does_not_wait_for_idle_connections(release: SecretRelease, monkeypatch):
    monkeypatch.setattr(exchange, "MAX_EXCHANGES", 1)
    with release.listening() as port:
        idle = [socket.create_connection(("127.0.0.1", port), 5) for _ in range(3)]
    for connection in idle:
        connection.close()


@pytest.mark.parametrize(
    ("changes", "got"),
    [
        pytest.param({"executor_sha256": "00" * 32}, "for another executor", id="another-executor"),
        pytest.param({"sealed": b64url(bytes(48))}, "InvalidTag", id="sealed-otherwise"),
        pytest.param({"sealed": 7}, "not base64url", id="sealed-is-a-number"),
        pytest.param({"ephemeral": b64url(bytes(65))}, "driver-not-attested", id="no-point"),
        pytest.param({"attestation": {}}, "peer-malformed", id="no-attestation"),
        pytest.param({"inputs": None}, "no list", id="no-list"),
        pytest.param({"inputs": [LIST[0], LIST[0]]}, "listed twice", id="a-file-twice"),
        pytest.param({"inputs": [{**LIST[0], "name": "../a.parquet"}]}, "no name", id="a-name-with-a-slash"),
    ],
)
def test_each_part_of_a_signed_answer_is_judged(release: SecretRelease, changes, got: str):
    """The attested key signs all of them, so its signature alone makes no answer good."""
    right = release._answer

    def signed_all_the_same(request):
        answer = {key: value for key, value in right(request).items() if key != "signature"} | changes
        signature = release._key.sign(secret_release._signed(answer), ec.ECDSA(hashes.SHA256()))
        return {**answer, "signature": b64url(signature)}

    release._answer = signed_all_the_same
    with release.listening() as port, pytest.raises(AgentError, match=got) as caught:
        ask(port, Enclave())
    assert caught.value.exit_code is ExitCode.ATTESTATION_REFUSED
