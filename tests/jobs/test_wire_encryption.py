"""Spark's classes with the agent's settings: what pods send to each other cannot be changed on the way."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyspark
import pytest
from confidential_spark.agent.launch.allowed_settings import FIXED_SETTINGS
from confidential_spark.enclave.java import find_java
from py4j.java_gateway import GatewayParameters, JavaGateway, launch_gateway
from py4j.protocol import Py4JJavaError

if TYPE_CHECKING:
    from collections.abc import Iterator

JARS = sorted(Path(pyspark.__file__).parent.glob("jars/*.jar"))
OPENED = ("java.lang", "java.lang.reflect", "java.util", "java.nio", "sun.nio.ch")
MESSAGE = b"revenue_cents=0000100"
DEFAULTS = {"spark.network.crypto.enabled": "true"}


@pytest.fixture(scope="module")
def gateway() -> Iterator[JavaGateway]:
    port, token = launch_gateway(
        classpath=":".join(map(str, JARS)),
        javaopts=[
            *("-Xmx200m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"),
            *(f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in OPENED),
        ],
        java_path=str(find_java().path),
        die_on_exit=True,
        enable_auth=True,
    )
    started = JavaGateway(
        gateway_parameters=GatewayParameters(port=port, auth_token=token, auto_convert=True)
    )
    yield started
    started.shutdown()


class Wire:
    """Two ends that agreed on a key by Spark's own handshake, and the bytes between them."""

    def __init__(self, gateway: JavaGateway, settings: dict[str, str], module: str) -> None:
        self.gateway, self.java = gateway, gateway.jvm
        values = self.java.java.util.HashMap()
        for name, value in settings.items():
            values.put(name, value)
        network = self.java.org.apache.spark.network
        self.conf = network.util.TransportConf(module, network.util.MapConfigProvider(values))
        self.ends = self._agreed()

    def _agreed(self) -> list[Any]:
        engines = self.java.java.lang.Class.forName("org.apache.spark.network.crypto.AuthEngine")
        constructor = engines.getDeclaredConstructors()[0]
        constructor.setAccessible(True)
        client, server = (
            constructor.newInstance(self.array("java.lang.Object", "app", "s3cret", self.conf)) for _ in "cs"
        )
        challenge = self._call(engines, client, "challenge")
        response = self._call(engines, server, "response", challenge)
        self._call(engines, client, "deriveSessionCipher", challenge, response)
        return [self._channel(self._call(engines, end, "sessionCipher")) for end in (client, server)]

    def _call(self, kind: Any, target: Any, name: str, *arguments: Any) -> Any:
        (method,) = (
            m
            for m in kind.getDeclaredMethods()
            if m.getName() == name and m.getParameterCount() == len(arguments)
        )
        method.setAccessible(True)
        return method.invoke(target, self.array("java.lang.Object", *arguments))

    def array(self, kind: str, *items: Any) -> Any:
        array = self.gateway.new_array(getattr(self.java, kind), len(items))
        for index, item in enumerate(items):
            array[index] = item
        return array

    def _channel(self, cipher: Any) -> Any:
        handlers = self.gateway.new_array(self.java.io.netty.channel.ChannelHandler, 0)
        channel = self.java.io.netty.channel.embedded.EmbeddedChannel(handlers)
        cipher.addToChannel(channel)
        return channel

    def send(self, message: bytes) -> bytearray:
        """Return what an eavesdropper sees."""
        self.ends[0].writeOutbound(self.array("java.lang.Object", self._buffer(message)))
        seen = self.java.java.io.ByteArrayOutputStream()
        channel = self.java.java.nio.channels.Channels.newChannel(seen)
        while (part := self.ends[0].readOutbound()) is not None:
            if "Buf" in part.getClass().getSimpleName():
                seen.write(self.java.io.netty.buffer.ByteBufUtil.getBytes(part))
            else:
                while part.transferred() < part.count():
                    part.transferTo(channel, part.transferred())
        return bytearray(seen.toByteArray())

    def receive(self, seen: bytes) -> bytes:
        self.ends[1].writeInbound(self.array("java.lang.Object", self._buffer(seen)))
        return bytes(self.java.io.netty.buffer.ByteBufUtil.getBytes(self.ends[1].readInbound()))

    def _buffer(self, data: bytes) -> Any:
        return self.java.io.netty.buffer.Unpooled.wrappedBuffer(bytes(data))


def changed(seen: bytearray) -> bytes:
    """Flip bits of one ciphertext byte: in AES/CTR, 100 becomes 900."""
    at = len(seen) - len(MESSAGE) + MESSAGE.index(b"0000100")
    return bytes(seen[:at]) + bytes([seen[at] ^ ord("0") ^ ord("9")]) + bytes(seen[at + 1 :])


# "rpc" carries tasks and their results, "shuffle" the blocks between executors.
@pytest.mark.spark
@pytest.mark.parametrize("module", ["rpc", "shuffle"])
def test_a_changed_message_is_refused(gateway, module):
    wire = Wire(gateway, FIXED_SETTINGS, module)

    assert wire.conf.authEngineVersion() == 2
    assert wire.receive(wire.send(MESSAGE)) == MESSAGE
    with pytest.raises(Py4JJavaError, match="AEADBadTagException"):
        wire.receive(changed(wire.send(MESSAGE)))


@pytest.mark.spark
def test_sparks_own_default_would_take_it(gateway):
    """So the test above would fail without the two settings."""
    wire = Wire(gateway, DEFAULTS, "rpc")
    tail = changed(wire.send(MESSAGE))

    assert wire.receive(tail) == b"revenue_cents=9000100"
