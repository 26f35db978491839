"""Between pods: a stranger, on either end of a connection, gets no answer but the authentication's."""

from __future__ import annotations

import socket
import struct
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from confidential_spark.agent.launch.allowed_settings import FIXED_SETTINGS
from confidential_spark.enclave.java import find_java
from confidential_spark.enclave.spark import OPENED_PACKAGES
from py4j.java_gateway import GatewayParameters, JavaGateway, launch_gateway
from py4j.protocol import Py4JJavaError

from tests.support.runner_jvm import SPARK_JARS

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.spark
APP, SECRET = "app", "s3cret"
PATIENCE_SECONDS = 20
# `Message.Type` of Spark's protocol; the bodies are what its decoder expects.
TEXT = struct.pack(">i", 3) + b"1_0"
RPC = struct.pack(">qi", 7, 2) + b"hi"
REQUESTS = {
    "chunk": (0, struct.pack(">qi", 1, 0)),
    "rpc": (3, RPC),
    "stream": (6, TEXT),
    "one-way": (9, struct.pack(">i", 2) + b"hi"),
    "upload": (10, struct.pack(">qi", 7, 2) + b"hi" + struct.pack(">q", 2) + b"hi"),
    "merged-block": (11, struct.pack(">qiii", 7, 0, 0, 0) + TEXT),
}
RESPONSES = {"chunk-success": 1, "rpc-response": 4, "rpc-failure": 5, "stream-success": 7}
STREAM = REQUESTS["stream"]


def frame(kind: int, body: bytes) -> bytes:
    return struct.pack(">qb", 9 + len(body), kind) + body


@dataclass(frozen=True)
class Network:
    """A server and clients of Spark's transport that ask for authentication."""

    java: Any
    context: Any
    conf: Any
    secrets: Any
    port: int

    def client(self, port: int) -> Any:
        """Return an authenticated client, or raise."""
        bootstraps = self.java.java.util.ArrayList()
        bootstrap = self.java.org.apache.spark.network.crypto.AuthClientBootstrap
        bootstraps.add(bootstrap(self.conf, APP, self.secrets))
        return self.context.createClientFactory(bootstraps).createClient("127.0.0.1", port)


@contextmanager
def impostor(victim: Network) -> Iterator[tuple[socket.socket, bytes]]:
    """Yield the connection that a client has opened to the wrong server, and its challenge."""
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        listener.settimeout(PATIENCE_SECONDS)
        connected = pool.submit(victim.client, listener.getsockname()[1])
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(PATIENCE_SECONDS)
            yield connection, received_frame(connection)
        assert isinstance(connected.exception(PATIENCE_SECONDS), Py4JJavaError)


def received_frame(connection: socket.socket) -> bytes:
    head = received(connection, 8)
    return head + received(connection, struct.unpack(">q", head)[0] - 8)


def received(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        assert part, "the other end hung up"
        data += part
    return data


def network(java: Any, gated: bool) -> Network:
    packages = java.org.apache.spark.network
    settings = java.java.util.HashMap()
    for name, value in (FIXED_SETTINGS | {"spark.network.crypto.saslFallback": "false"}).items():
        settings.put(name, value)
    conf = packages.util.TransportConf("rpc", packages.util.MapConfigProvider(settings))
    context = packages.TransportContext(conf, packages.server.NoOpRpcHandler())
    assert ("gate.jar" in str(context.getClass().getProtectionDomain().getCodeSource())) is gated
    secrets = packages.sasl.ShuffleSecretManager()
    secrets.registerApp(APP, SECRET)
    bootstraps = java.java.util.ArrayList()
    bootstraps.add(packages.crypto.AuthServerBootstrap(conf, secrets))
    server = context.createServer("127.0.0.1", 0, bootstraps)
    return Network(java, context, conf, secrets, server.getPort())


@pytest.fixture(scope="module")
def gated(runner_calls) -> Network:
    return network(runner_calls.java, gated=True)


@pytest.fixture(scope="module")
def sparks_own() -> Iterator[Network]:
    port, token = launch_gateway(
        classpath=":".join(map(str, SPARK_JARS)),
        javaopts=[
            *("-Xmx200m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"),
            *(f"--add-opens={package}=ALL-UNNAMED" for package in OPENED_PACKAGES),
        ],
        java_path=str(find_java().path),
        die_on_exit=True,
        enable_auth=True,
    )
    gateway = JavaGateway(
        gateway_parameters=GatewayParameters(port=port, auth_token=token, auto_convert=True)
    )
    yield network(gateway.jvm, gated=False)
    gateway.shutdown()


def said(port: int, *parts: bytes) -> bytes:
    """Return all that the other end says to a stranger before it hangs up."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS) as stranger:
        return answered(stranger, *parts)


def answered(connection: socket.socket, *parts: bytes) -> bytes:
    try:
        for part in parts:
            connection.sendall(part)
        return b"".join(iter(lambda: connection.recv(4096), b""))
    except (BrokenPipeError, ConnectionResetError):
        return b""


STRANGE = {
    **{name: [frame(*message)] for name, message in REQUESTS.items() if name != "rpc"},
    **{name: [frame(kind, RPC)] for name, kind in RESPONSES.items()},
    "unknown-type": [frame(77, b"")],
    "negative-type": [frame(-1, b"")],
    "byte-by-byte": [bytes([byte]) for byte in frame(*STREAM)],
    "endless-frame": [struct.pack(">qb", 2**40, 3)],
    "negative-length": [struct.pack(">qb", -1, 3)],
    "short-length": [struct.pack(">qb", 8, 3)],
    "two-requests": [frame(3, RPC) + frame(*STREAM)],
    "http": [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"],
    "much": [b"\0" * 7 + b"\1" * 100_000],
}


@pytest.mark.parametrize("parts", [pytest.param(parts, id=name) for name, parts in STRANGE.items()])
def test_a_stranger_gets_no_answer(gated, parts):
    assert said(gated.port, *parts) == b""


@pytest.mark.parametrize("name", ["rpc", "block-manager"])
def test_the_ports_of_a_driver_are_gated(runner_calls, name):
    spark = runner_calls.java.org.apache.spark
    conf = runner_calls.spark.sparkContext().conf()
    ports = {
        "rpc": int(conf.get("spark.driver.port")),
        "block-manager": spark.SparkEnv.get().blockManager().blockManagerId().port(),
    }
    assert said(ports[name], frame(*STREAM)) == b""
    assert said(ports[name], frame(*REQUESTS["chunk"])) == b""


def test_an_rpc_without_the_secret_gets_the_authentications_refusal_at_most(gated):
    answer = said(gated.port, frame(3, RPC))

    assert b"No-op" not in answer
    assert answer[8:9] in (b"", bytes([5]))


def test_whoever_has_the_secret_is_served(gated):
    client = gated.client(gated.port)
    message = gated.java.java.nio.ByteBuffer.wrap(b"hello")
    with pytest.raises(Py4JJavaError, match="UnsupportedOperationException: Cannot handle messages"):
        client.sendRpcSync(message, 1000 * PATIENCE_SECONDS)


@pytest.mark.parametrize("parts", [pytest.param(parts, id=name) for name, parts in STRANGE.items()])
def test_a_client_serves_no_stranger_that_poses_as_its_server(gated, parts):
    # Only the first of a server's messages may be a response, and only to the client's challenge.
    parts = [part for part in parts if part[8:9] not in (b"\4", b"\5")] or [frame(*STREAM)]
    with impostor(gated) as (client, _):
        assert answered(client, *parts) == b""


def test_a_replayed_challenge_opens_no_door(gated):
    with impostor(gated) as (_, challenge):
        pass
    with socket.create_connection(("127.0.0.1", gated.port), PATIENCE_SECONDS) as stranger:
        stranger.sendall(challenge)
        assert received_frame(stranger)[8] == 4
        assert answered(stranger, frame(*STREAM) * 4096) == b""


def test_a_message_behind_a_replayed_challenge_is_not_taken_for_the_peers(gated):
    with impostor(gated) as (_, challenge):
        pass
    assert said(gated.port, challenge + frame(*STREAM)) == b""


def test_sparks_own_transport_answers_a_stranger(sparks_own):
    """So the tests above would fail without the gate; here, and in the next two."""
    with socket.create_connection(("127.0.0.1", sparks_own.port), PATIENCE_SECONDS) as stranger:
        stranger.sendall(frame(*STREAM))
        assert received_frame(stranger)[8] == 8


def test_sparks_own_client_serves_an_impostor(sparks_own):
    with impostor(sparks_own) as (client, _):
        client.sendall(frame(*STREAM))
        assert received_frame(client)[8] == 8


def test_sparks_own_transport_takes_a_message_behind_a_replayed_challenge(sparks_own):
    with impostor(sparks_own) as (_, challenge):
        pass
    with socket.create_connection(("127.0.0.1", sparks_own.port), PATIENCE_SECONDS) as stranger:
        stranger.sendall(challenge + frame(*STREAM))
        assert received_frame(stranger)[8] == 4
        assert stranger.recv(1)


def test_silence_ends_a_connection(runner_calls):
    java = runner_calls.java
    handlers = runner_calls.gateway.new_array(java.io.netty.channel.ChannelHandler, 1)
    handlers[0] = runner_calls.runner.AuthenticationGate(True)
    channel = java.io.netty.channel.embedded.EmbeddedChannel(handlers)
    channel.freezeTime()
    channel.advanceTimeBy(29, java.java.util.concurrent.TimeUnit.SECONDS)
    channel.runScheduledPendingTasks()
    assert channel.isOpen()
    channel.advanceTimeBy(2, java.java.util.concurrent.TimeUnit.SECONDS)
    channel.runScheduledPendingTasks()
    assert not channel.isOpen()
