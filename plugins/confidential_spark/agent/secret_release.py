"""The driver's enclave hands the Spark secret to executors' enclaves, and to nobody else.

An executor connects over TLS and shows its attestation. The driver verifies it, and answers with the secret,
encrypted to the executor's attested key, and signed with its own together with the TLS certificate. So

* whoever replays an executor's attestation gets bytes that only that executor can read;
* whoever stands between the two has another certificate than the signed one;
* the executor learns that the secret comes from the attested driver of its own run.

One exchange is one message each way: four bytes of length (big-endian), then JSON.
"""

from __future__ import annotations

import json
import os
import socket
import socketserver
import ssl
import threading
from base64 import urlsafe_b64decode
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.x509.oid import NameOID

from confidential_spark.agent.errors import AgentError
from confidential_spark.agent.exit_codes import ExitCode
from confidential_spark.agent.json_input import parse_object
from confidential_spark.agent.peer import PeerAttestation
from confidential_spark.agent.protocol import (
    JobIdentity,
    b64url,
    canonical_json,
    executor_role,
    pre_authentication_encoding,
    sha256_hex,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Verify = Callable[[PeerAttestation], tuple[JobIdentity, ec.EllipticCurvePublicKey]]

MAX_MESSAGE_BYTES = 512 * 1024
LENGTH_BYTES = 4
EXCHANGE_SECONDS = 20.0
SECRET_BYTES = 32
IV_BYTES = 12
ANSWER_TYPE = "urn:confidential-spark:secret-release:v1"


@dataclass(frozen=True)
class Released:
    """An executor that was given the secret.

    :param id: Spark's number for it.
    """

    id: str
    attestation: PeerAttestation


class SecretRelease:
    """The driver's side: listens between ``with`` and its end.

    :param own: the driver's attestation record, shown to executors.
    :param key: the key that ``own`` attests.
    :param verify: judges an executor's attestation; raises for one that is not of this run.
    :param say: takes one line for the log.
    """

    def __init__(
        self,
        address: tuple[str, int],
        *,
        own: dict[str, str],
        key: ec.EllipticCurvePrivateKey,
        verify: Verify,
        work_dir: Path,
        say: Callable[[str], None],
    ) -> None:
        """Make the secret; nothing listens yet."""
        self.secret = os.urandom(SECRET_BYTES)
        self.released: list[Released] = []
        self.intruder: AgentError | None = None
        self._address = address
        self._own = own
        self._key = key
        self._verify = verify
        self._work_dir = work_dir
        self._say = say
        self._lock = threading.Lock()

    @contextmanager
    def listening(self) -> Iterator[int]:
        """Answer executors in threads of their own; yields the port.

        :raises AgentError: ``release-port-unavailable``.
        """
        context, self._certificate = _tls_server(self._work_dir)
        release = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                release._handle(self.request, context)

        try:
            server = _Server(self._address, Handler)
        except OSError as error:
            raise AgentError(
                "The executors' port cannot be opened.",
                exit_code=ExitCode.BAD_LAUNCH,
                code="release-port-unavailable",
                got=error.strerror,
                expected=f"{self._address[0]}:{self._address[1]} is free",
                action="choose another release_port",
            ) from error
        threading.Thread(target=server.serve_forever, args=(0.2,), name="release", daemon=True).start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            server.server_close()

    def records(self) -> list[dict[str, Any]]:
        """Return every executor that got the secret, for the evidence, in the order of release."""
        with self._lock:
            return [
                {
                    "id": executor.id,
                    "quote": b64url(executor.attestation.quote),
                    "token": executor.attestation.token,
                    "runtime_data": b64url(executor.attestation.runtime_data),
                }
                for executor in self.released
            ]

    def raise_for_intruder(self) -> None:
        """Fail the run once another program has asked for its secret.

        :raises AgentError: ``peer-measurement``.
        """
        if self.intruder is not None:
            raise self.intruder

    def _handle(self, connection: socket.socket, context: ssl.SSLContext) -> None:
        connection.settimeout(EXCHANGE_SECONDS)
        # A broken connection is the executor's loss: it asks again, or Spark replaces it.
        with suppress(OSError), context.wrap_socket(connection, server_side=True) as channel:
            try:
                answer = self._answer(_receive(channel))
            except (AgentError, ValueError) as error:
                self._refuse(error)
                answer = {"v": 1, "refused": str(error)}
            _send(channel, answer)

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        executor = PeerAttestation.from_record(request.get("attestation"))
        executor_id = request.get("executor_id")
        if not isinstance(executor_id, str) or not executor_id.isdecimal() or len(executor_id) > 9:
            raise ValueError("executor_id is no number")
        job, executor_key = self._verify(executor)
        if job != executor_role(executor_id):
            raise ValueError(f"runtime data of {job.name!r}, expected executor {executor_id}")
        answer = {
            "v": 1,
            "attestation": self._own,
            "certificate_sha256": self._certificate,
            "executor_sha256": sha256_hex(executor.runtime_data),
            **_sealed(self.secret, executor_key, executor.runtime_data),
        }
        with self._lock:
            self.released.append(Released(executor_id, executor))
        self._say(f"Executor {executor_id} attested itself, quote sha256 {sha256_hex(executor.quote)[:16]}…")
        return {**answer, "signature": b64url(self._key.sign(_signed(answer), ec.ECDSA(hashes.SHA256())))}

    def _refuse(self, error: Exception) -> None:
        self._say(f"An executor was refused and got nothing: {error}")
        # Garbage on the port is noise. A valid attestation of another program is somebody's attempt.
        if isinstance(error, AgentError) and error.code == "peer-measurement":
            self.intruder = self.intruder or error


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


def request_secret(
    address: tuple[str, int],
    *,
    executor_id: str,
    own: dict[str, str],
    runtime: bytes,
    key: ec.EllipticCurvePrivateKey,
    verify: Verify,
) -> bytes:
    """Ask the driver's enclave for the secret, from inside an executor's.

    :param own: the executor's attestation record; ``runtime`` is its runtime data, ``key`` the attested key.
    :param verify: judges the driver's attestation.
    :raises AgentError: ``driver-unreachable`` (a retry can help), ``release-refused`` or
        ``driver-not-attested``.
    """
    try:
        with (
            socket.create_connection(address, EXCHANGE_SECONDS) as connection,
            _tls_client().wrap_socket(connection) as channel,
        ):
            certificate = channel.getpeercert(binary_form=True) or b""
            _send(channel, {"v": 1, "executor_id": executor_id, "attestation": own})
            answer = _receive(channel)
    except (OSError, ValueError) as error:
        raise AgentError(
            "The driver does not answer.",
            exit_code=ExitCode.ATTESTATION_UNAVAILABLE,
            code="driver-unreachable",
            got=str(error),
            expected=f"the driver's enclave at {address[0]}:{address[1]}",
            action="see whether the driver's pod runs and the network policy lets executors reach it",
        ) from error
    if "refused" in answer:
        raise AgentError(
            "The driver's enclave refused this executor.",
            exit_code=ExitCode.ATTESTATION_REFUSED,
            code="release-refused",
            got=answer["refused"],
            expected="an attestation of the same image for the same run",
            action="start every pod of the run from the same approved image, by its digest",
        )
    return _accepted(answer, certificate, runtime, key, verify)


def _accepted(
    answer: dict[str, Any],
    certificate: bytes,
    runtime: bytes,
    key: ec.EllipticCurvePrivateKey,
    verify: Verify,
) -> bytes:
    """Return the secret from an answer of the attested driver, for us, over this very connection."""
    try:
        signature = _bytes(answer.pop("signature"))
        _, driver_key = verify(PeerAttestation.from_record(answer["attestation"]))
        driver_key.verify(signature, _signed(answer), ec.ECDSA(hashes.SHA256()))
        if answer["certificate_sha256"] != sha256_hex(certificate):
            raise ValueError("the connection has another certificate than the driver's enclave")
        if answer["executor_sha256"] != sha256_hex(runtime):
            raise ValueError("the answer is for another executor")
        return _unsealed(answer, key, runtime)
    except (KeyError, TypeError, ValueError, InvalidSignature, InvalidTag) as error:
        raise AgentError(
            "The answer is not from this run's driver.",
            exit_code=ExitCode.ATTESTATION_REFUSED,
            code="driver-not-attested",
            got=str(error) or type(error).__name__,
            expected="an answer signed with the driver's attested key",
            action="treat it as an incident: something stands between executor and driver",
        ) from error


def _sealed(secret: bytes, reader: ec.EllipticCurvePublicKey, runtime: bytes) -> dict[str, str]:
    ephemeral = ec.generate_private_key(ec.SECP256R1())
    iv = os.urandom(IV_BYTES)
    box = AESGCM(_wrapping_key(ephemeral, reader, runtime))
    return {
        "ephemeral": b64url(_point(ephemeral.public_key())),
        "iv": b64url(iv),
        "sealed": b64url(box.encrypt(iv, secret, None)),
    }


def _unsealed(answer: dict[str, Any], key: ec.EllipticCurvePrivateKey, runtime: bytes) -> bytes:
    ephemeral = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), _bytes(answer["ephemeral"]))
    box = AESGCM(_wrapping_key(key, ephemeral, runtime))
    return box.decrypt(_bytes(answer["iv"]), _bytes(answer["sealed"]), None)


def _wrapping_key(own: ec.EllipticCurvePrivateKey, other: ec.EllipticCurvePublicKey, runtime: bytes) -> bytes:
    """Derive the AES key; the executor's runtime data, and with it nonce and run, are part of it."""
    info = ANSWER_TYPE.encode() + sha256_hex(runtime).encode()
    return HKDF(hashes.SHA256(), 32, salt=None, info=info).derive(own.exchange(ec.ECDH(), other))


def _point(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)


def _signed(answer: dict[str, Any]) -> bytes:
    return pre_authentication_encoding(ANSWER_TYPE, canonical_json(answer))


def _tls_server(work_dir: Path) -> tuple[ssl.SSLContext, str]:
    """Return a context with a certificate of its own, and that certificate's SHA-256."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "secret release")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=2))
        .sign(key, hashes.SHA256())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    work_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    # OpenSSL takes a key from a file only: this one is not the attested key, and lives for a moment.
    with TemporaryDirectory(prefix="tls-", dir=work_dir) as folder:
        path = Path(folder) / "tls.pem"
        path.touch(mode=0o600)
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context.load_cert_chain(path)
    return context, sha256_hex(certificate.public_bytes(serialization.Encoding.DER))


def _tls_client() -> ssl.SSLContext:
    """Return a context that takes any certificate: the driver's signature says which one is right."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _send(channel: ssl.SSLSocket, message: dict[str, Any]) -> None:
    data = json.dumps(message).encode()
    channel.sendall(len(data).to_bytes(LENGTH_BYTES, "big") + data)


def _receive(channel: ssl.SSLSocket) -> dict[str, Any]:
    """Read one message.

    :raises ValueError: too long, cut off, or no JSON object.
    """
    length = int.from_bytes(_exactly(channel, LENGTH_BYTES), "big")
    if length > MAX_MESSAGE_BYTES:
        raise ValueError(f"a message of {length} bytes, expected at most {MAX_MESSAGE_BYTES}")
    return parse_object(_exactly(channel, length))


def _exactly(channel: ssl.SSLSocket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        if not (chunk := channel.recv(min(65_536, size - len(data)))):
            raise ValueError(f"the message ends after {len(data)} of {size} bytes")
        data += chunk
    return bytes(data)


def _bytes(text: object) -> bytes:
    if not isinstance(text, str):
        raise TypeError("not base64url")
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
