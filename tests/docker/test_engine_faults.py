"""What only an engine of one's own shows: it dies, its disk is full, it trusts nobody."""

from __future__ import annotations

import os
import socket
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any

import pytest
from confidential_spark.core.errors import EnclaveError
from confidential_spark.core.failures import LogWatcher
from confidential_spark.platforms.docker.check.task import reach
from confidential_spark.platforms.docker.engine import EngineAddress
from confidential_spark.platforms.docker.failures import container_diagnosis, docker_failures
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.docker.own_engine import copy_image, own_engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.docker


def code_of(action: Callable[[], object]) -> tuple[str, bool]:
    with pytest.raises(EnclaveError) as caught, docker_failures():
        action()
    return caught.value.code, caught.value.retryable


def test_an_engine_that_dies_and_comes_back_with_a_full_disk(engine, base_image):
    """One test, because the image is copied once."""
    with own_engine() as own:
        client = own.start()
        image = copy_image(base_image, engine, client)
        running = client.containers.create(image, ["sleep", "600"], network_mode="none", init=True)
        running.start()

        ends: list[Any] = []

        def wait() -> None:
            try:
                ends.append(running.wait())
            except Exception as error:
                ends.append(error)

        waiting = threading.Thread(target=wait)
        waiting.start()
        own.kill()
        waiting.join(30)
        assert code_of(lambda: raise_(ends[0])) == ("docker-unreachable", True)
        assert code_of(running.reload) == ("docker-unreachable", True)
        assert code_of(lambda: reach(EngineAddress(own.url))) == ("docker-unreachable", True)

        client = own.start()
        survivor = client.containers.get(running.id)
        diagnosis = container_diagnosis(survivor.attrs["State"], LogWatcher())
        assert diagnosis is not None
        # Without live-restore an engine that starts stops what it finds running.
        assert (diagnosis.failure.name, diagnosis.failure.retryable) == ("terminated", True)

        fill = ["sh", "-c", "cat /dev/zero > /full; sleep 600"]
        client.containers.run(image, fill, network_mode="none", init=True, detach=True)
        wait_until_full(own.folder / "data")
        assert code_of(lambda: client.containers.create(image, ["true"])) == ("disk-full", False)


def raise_(error: BaseException) -> None:
    raise error


def wait_until_full(folder: Path) -> None:
    deadline = time.monotonic() + 60
    while os.statvfs(folder).f_bavail:
        assert time.monotonic() < deadline, "the disk does not become full"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory) -> Path:
    """A CA with certificates of an engine and of a client, and another CA with a client of its own."""
    folder = tmp_path_factory.mktemp("tls")
    for authority, holders in (("ca", ("engine", "client")), ("other-ca", ("other-client",))):
        key, certificate = issue(authority)
        write(folder, authority, key, certificate)
        for holder in holders:
            write(folder, holder, *issue(holder, key, certificate))
    return folder


def issue(
    name: str, issuer_key: ec.EllipticCurvePrivateKey | None = None, issuer: x509.Certificate | None = None
) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False
        )
    )
    return key, builder.sign(issuer_key or key, hashes.SHA256())


def write(folder: Path, name: str, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / f"{name}.key").write_bytes(secret)
    (folder / f"{name}.pem").write_bytes(certificate.public_bytes(Encoding.PEM))


@pytest.fixture(scope="module")
def tls_engine(certificates) -> Iterator[EngineAddress]:
    """The address, with which it answers, of an engine that listens with TLS."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    options = ["--host", f"tcp://{address}", "--tlsverify"]
    for option, file in (("tlscacert", "ca.pem"), ("tlscert", "engine.pem"), ("tlskey", "engine.key")):
        options += [f"--{option}", str(certificates / file)]
    with own_engine(*options, disk="32m") as own:
        own.start()
        yield EngineAddress(
            f"tcp://{address}",
            ca_cert=str(certificates / "ca.pem"),
            client_cert=str(certificates / "client.pem"),
            client_key=str(certificates / "client.key"),
        )


@pytest.fixture
def no_bundles(monkeypatch) -> None:
    # requests prefers these to the CA that the caller names.
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("no_bundles")
def test_an_engine_with_tls_answers_and_is_private(tls_engine):
    facts = reach(tls_engine).engine()

    assert facts.is_private
    assert facts.address == tls_engine.url


@pytest.mark.usefixtures("no_bundles")
@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"ca_cert": "other-ca.pem"}, id="engine-of-another-ca"),
        pytest.param(
            {"client_cert": "other-client.pem", "client_key": "other-client.key"}, id="client-of-another-ca"
        ),
        pytest.param({"url": "localhost"}, id="another-name"),
        pytest.param({"ca_cert": None, "client_cert": None, "client_key": None}, id="no-tls"),
        pytest.param({"client_cert": "absent.pem"}, id="no-such-file"),
    ],
)
def test_who_is_not_trusted_is_told_so(tls_engine, certificates, change):
    files = {
        name: str(certificates / file) if file else None for name, file in change.items() if name != "url"
    }
    url = tls_engine.url.replace("127.0.0.1", change.get("url", "127.0.0.1"))
    assert code_of(lambda: reach(replace(tls_engine, **files, url=url)))[0] == "docker-tls"
