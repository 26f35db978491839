"""The wire between two enclaves: TLS, one message each way, and no more work than a stranger may cause.

A message is four bytes of length (big-endian), then JSON. The certificate says nothing: what is signed with
an attested key says which one is right (`secret_release.py`).
"""

from __future__ import annotations

import json
import socketserver
import ssl
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from confidential_spark.agent.launch.json_input import parse_object
from confidential_spark.agent.protocol import sha256_hex

# The longest answer: a list of files, the rights to all of them, as many as a launch file holds, and the
# longest attestation.
MAX_MESSAGE_BYTES = 768 * 1024
LENGTH_BYTES = 4
MAX_EXCHANGES = 32
BACKLOG = 128


class ExchangeServer(socketserver.ThreadingTCPServer):
    """Handles connections in threads of their own, a bounded number at once."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = BACKLOG

    def __init__(self, *arguments: Any) -> None:
        """Listen."""
        self._stopping = threading.Event()
        self._slots = threading.BoundedSemaphore(MAX_EXCHANGES)
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a thread when one is free; what waits for a slot costs a place in the kernel's queue."""
        while not self._slots.acquire(timeout=0.2):
            if self._stopping.is_set():
                self.shutdown_request(request)
                return
        try:
            super().process_request(request, client_address)
        except BaseException:
            # No thread was started that would give the slot back.
            self._slots.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Handle one connection, and let the next one have its thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing: the error may quote a stranger."""

    def stop(self) -> None:
        """Stop listening."""
        self._stopping.set()
        self.shutdown()
        self.server_close()


class Exchange:
    """One message each way, until one deadline for all of it."""

    def __init__(self, channel: ssl.SSLSocket, deadline: float) -> None:
        """Use ``channel`` until ``deadline``, by the monotonic clock."""
        self._channel = channel
        self._deadline = deadline

    def send(self, message: dict[str, Any]) -> None:
        """Write one message.

        :raises OSError: broken, or out of time.
        """
        data = json.dumps(message).encode()
        rest = memoryview(len(data).to_bytes(LENGTH_BYTES, "big") + data)
        while rest:
            rest = rest[self._in_time().send(rest[:16_384]) :]

    def receive(self) -> dict[str, Any]:
        """Read one message.

        :raises ValueError: too long, cut off, or no JSON object.
        :raises OSError: broken, or out of time.
        """
        length = int.from_bytes(self._exactly(LENGTH_BYTES), "big")
        if length > MAX_MESSAGE_BYTES:
            raise ValueError(f"a message of {length} bytes, expected at most {MAX_MESSAGE_BYTES}")
        return parse_object(self._exactly(length))

    def _exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            if not (chunk := self._in_time().recv(min(65_536, size - len(data)))):
                raise ValueError(f"the message ends after {len(data)} of {size} bytes")
            data += chunk
        return bytes(data)

    def _in_time(self) -> ssl.SSLSocket:
        """Return the channel for as long as there is time; a byte now and then does not buy more.

        :raises TimeoutError: there is none left.
        """
        if (left := self._deadline - time.monotonic()) <= 0:
            raise TimeoutError("the exchange took too long")
        self._channel.settimeout(left)
        return self._channel


def tls_server(work_dir: Path) -> tuple[ssl.SSLContext, str]:
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


def tls_client() -> ssl.SSLContext:
    """Return a context that takes any certificate: the driver's signature says which one is right."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
