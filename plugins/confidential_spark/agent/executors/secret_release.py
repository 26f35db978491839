"""The driver's enclave hands the Spark secret to executors' enclaves, and to nobody else.

An executor connects over TLS and shows its attestation. The driver verifies it, and answers with the secret
and the rights to download the input, encrypted to the executor's attested key, and with the list of the run's
input files. It signs both with its own key, together with the TLS certificate. So

* whoever replays an executor's attestation gets bytes that only that executor can read;
* whoever stands between the two has another certificate than the signed one;
* the executor learns that secret and list come from the attested driver of its own run.

Whoever reaches the port can connect. So what strangers send costs a bounded time and a bounded number of
threads, and none of their words gets into the log.
"""

from __future__ import annotations

import os
import re
import socket
import socketserver
import threading
import time
from base64 import urlsafe_b64decode
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from confidential_spark.agent.data.blobs import BlobSource
from confidential_spark.agent.errors import AgentError, ExitCode
from confidential_spark.agent.executors.exchange import Exchange, ExchangeServer, tls_client, tls_server
from confidential_spark.agent.executors.input_list import parse_input_list
from confidential_spark.agent.executors.peer import PeerAttestation
from confidential_spark.agent.launch.json_input import parse_object
from confidential_spark.agent.protocol import (
    MAX_EXECUTORS,
    RESERVED_JOBS,
    JobIdentity,
    b64url,
    canonical_json,
    executor_role,
    pre_authentication_encoding,
    sha256_hex,
)

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from confidential_spark.agent.executors.input_list import ListedFile

    Verify = Callable[[PeerAttestation], tuple[JobIdentity, ec.EllipticCurvePublicKey]]

EXCHANGE_SECONDS = 20.0
# Longer: an executor may have to wait until others are served.
ASK_SECONDS = 60.0
SECRET_BYTES = 32
IV_BYTES = 12
EXECUTOR_ID = re.compile(r"[0-9]{1,9}")
ANSWER_TYPE = "urn:confidential-spark:secret-release:v1"
# What a driver answers that cannot judge anybody now: no refusal, and worth another try.
KEYS_UNAVAILABLE = "keys-unavailable"
# What a driver may answer to an executor that it refuses.
REFUSALS = frozenset(
    {
        *("peer-malformed", "peer-token-invalid", "peer-foreign", "peer-measurement", "peer-role"),
        *("executors-too-many", "message-malformed", "release-closed"),
    }
)


@dataclass(frozen=True)
class Released:
    """An executor that was given the secret.

    :param id: Spark's number for it.
    """

    id: str
    attestation: PeerAttestation


@dataclass(frozen=True)
class Grant:
    """What an executor gets from the driver's enclave.

    :param inputs: the files that it may read.
    :param source: where to download them, or None: its own host serves them.
    """

    secret: bytes = field(repr=False)
    inputs: list[ListedFile]
    source: BlobSource | None = None


class SecretRelease:
    """The driver's side: listens between ``with`` and its end.

    :param own: the driver's attestation record, shown to executors.
    :param key: the key that ``own`` attests.
    :param inputs: the list of input files, by :func:`.input_list.input_list`.
    :param source: where these are blobs, ``input`` and ``input_files`` of the driver's launch;
        sealed, because they may carry credentials, which the host on the way must not see.
    :param verify: judges an executor's attestation; raises for one that is not of this run.
    :param say: takes one line for the log.
    """

    def __init__(
        self,
        address: tuple[str, int],
        *,
        own: dict[str, str],
        key: ec.EllipticCurvePrivateKey,
        inputs: list[dict[str, Any]],
        source: tuple[str, list[dict[str, Any]]] | None = None,
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
        self._inputs = inputs
        self._source = source
        self._verify = verify
        self._work_dir = work_dir
        self._say = say
        self._lock = threading.Lock()
        self._server: ExchangeServer | None = None
        self._closed = False
        self._refused: Counter[str] = Counter()

    @contextmanager
    def listening(self) -> Iterator[int]:
        """Answer executors in threads of their own; yields the port.

        :raises AgentError: ``release-port-unavailable``.
        """
        context, self._certificate = tls_server(self._work_dir)
        release = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                release._handle(self.request, context)

        try:
            self._server = server = ExchangeServer(self._address, Handler)
        except OSError as error:
            raise AgentError(
                "The executors' port cannot be opened.",
                code="release-port-unavailable",
                got=error.strerror,
                expected=f"{self._address[0]}:{self._address[1]} is free",
                action="choose another release_port",
            ) from error
        threading.Thread(target=server.serve_forever, args=(0.2,), name="release", daemon=True).start()
        try:
            yield server.server_address[1]
        finally:
            self.close()

    def close(self) -> None:
        """Stop listening; from now on nobody gets the secret, whose list is final. Harmless when closed."""
        with self._lock:
            self._closed = True
            server, self._server = self._server, None
        if server is not None:
            server.stop()
            if more := {code: count for code, count in self._refused.items() if count > 1}:
                self._say(f"Refused on the executors' port, in all: {more}")

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
        deadline = time.monotonic() + EXCHANGE_SECONDS
        connection.settimeout(EXCHANGE_SECONDS)
        # A broken connection is the executor's loss: it asks again, or Spark replaces it.
        with suppress(OSError), context.wrap_socket(connection, server_side=True) as channel:
            exchange = Exchange(channel, deadline)
            exchange.send(self._answered(exchange))

    def _answered(self, exchange: Exchange) -> dict[str, Any]:
        try:
            return self._answer(exchange.receive())
        except OSError:
            raise
        except AgentError as error:
            code = error.code if error.code in REFUSALS else KEYS_UNAVAILABLE
            self._refuse(code, error)
            return {"v": 1, "refused": code}
        except Exception:  # whatever a stranger makes of a message, it is a stranger's
            self._refuse("message-malformed", None)
            return {"v": 1, "refused": "message-malformed"}

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        executor = PeerAttestation.from_record(request.get("attestation"))
        executor_id = request.get("executor_id")
        if not isinstance(executor_id, str) or not EXECUTOR_ID.fullmatch(executor_id):
            raise ValueError("executor_id is no number")
        job, executor_key = self._verify(executor)
        if job != executor_role(executor_id):
            raise _refusal("peer-role", "The other enclave is not this executor.", f"executor {executor_id}")
        self._record(Released(executor_id, executor))
        answer = {
            "v": 1,
            "attestation": self._own,
            "certificate_sha256": self._certificate,
            "executor_sha256": sha256_hex(executor.runtime_data),
            "inputs": self._inputs,
            **_sealed(self._confidential(), executor_key, executor.runtime_data),
        }
        return {**answer, "signature": b64url(self._key.sign(_signed(answer), ec.ECDSA(hashes.SHA256())))}

    def _confidential(self) -> bytes:
        return canonical_json({"secret": b64url(self.secret), "source": self._source})

    def _record(self, executor: Released) -> None:
        """List an executor before it is answered, once: who repeats its request is the same enclave."""
        with self._lock:
            if self._closed:
                raise _refusal("release-closed", "The run is over.", "a request during the run")
            runtimes = {released.attestation.runtime_data for released in self.released}
            if executor.attestation.runtime_data in runtimes:
                return
            if len(self.released) >= MAX_EXECUTORS:
                raise _refusal(
                    "executors-too-many", "No verifier takes more executors.", f"at most {MAX_EXECUTORS}"
                )
            self.released.append(executor)
        quote = sha256_hex(executor.attestation.quote)
        self._say(f"Executor {executor.id} attested itself, quote sha256 {quote[:16]}…")

    def _refuse(self, code: str, error: AgentError | None) -> None:
        with self._lock:
            self._refused[code] += 1
            first = self._refused[code] == 1
            # Anything else on the port is noise. This one has the run's nonce, and is another program.
            if code == "peer-measurement":
                self.intruder = self.intruder or error
        if first:
            self._say(f"Somebody was refused and got nothing: {code}; more of the kind are only counted")


def request_secret(
    address: tuple[str, int],
    *,
    executor_id: str,
    own: dict[str, str],
    runtime: bytes,
    key: ec.EllipticCurvePrivateKey,
    verify: Verify,
) -> Grant:
    """Ask the driver's enclave for the secret and the list of input files, from inside an executor's.

    :param own: the executor's attestation record; ``runtime`` is its runtime data, ``key`` the attested key.
    :param verify: judges the driver's attestation.
    :raises AgentError: ``driver-unreachable`` (a retry can help), ``release-refused`` or
        ``driver-not-attested``.
    """
    deadline = time.monotonic() + ASK_SECONDS
    try:
        with (
            socket.create_connection(address, ASK_SECONDS) as connection,
            tls_client().wrap_socket(connection) as channel,
        ):
            certificate = channel.getpeercert(binary_form=True) or b""
            exchange = Exchange(channel, deadline)
            exchange.send({"v": 1, "executor_id": executor_id, "attestation": own})
            answer = exchange.receive()
    except (OSError, ValueError) as error:
        raise _unreachable(address, str(error)) from error
    if answer.get("refused") == KEYS_UNAVAILABLE:
        raise _unreachable(address, "an answer without a judgement: it cannot reach the attestation provider")
    if "refused" in answer:
        raise AgentError(
            "The driver's enclave refused this executor.",
            exit_code=ExitCode.ATTESTATION_REFUSED,
            code="release-refused",
            # Nothing says yet that this is the driver: of its words, only those that we know.
            got=next((code for code in sorted(REFUSALS) if code == answer["refused"]), "no known reason"),
            expected="an attestation of the same image for the same run",
            action="start every pod of the run from the same approved image, by its digest",
        )
    return _accepted(answer, certificate, runtime, key, verify)


def _unreachable(address: tuple[str, int], got: str) -> AgentError:
    return AgentError(
        "The driver does not answer.",
        exit_code=ExitCode.SERVICE_UNAVAILABLE,
        code="driver-unreachable",
        got=got,
        expected=f"the driver's enclave at {address[0]}:{address[1]}",
        action="see whether the driver's pod runs and the network policy lets executors reach it",
    )


def _accepted(
    answer: dict[str, Any],
    certificate: bytes,
    runtime: bytes,
    key: ec.EllipticCurvePrivateKey,
    verify: Verify,
) -> Grant:
    """Return what is in an answer of the attested driver, for us, over this very connection."""
    try:
        signature = _bytes(answer.pop("signature"))
        job, driver_key = verify(PeerAttestation.from_record(answer["attestation"]))
        if job.name in RESERVED_JOBS:
            raise ValueError("another enclave of the run, and not its driver")
        driver_key.verify(signature, _signed(answer), ec.ECDSA(hashes.SHA256()))
        if answer["certificate_sha256"] != sha256_hex(certificate):
            raise ValueError("the connection has another certificate than the driver's enclave")
        if answer["executor_sha256"] != sha256_hex(runtime):
            raise ValueError("the answer is for another executor")
        opened = parse_object(_unsealed(answer, key, runtime))
        source = BlobSource.of(*opened["source"]) if opened["source"] is not None else None
        return Grant(_bytes(opened["secret"]), parse_input_list(answer["inputs"]), source)
    except (KeyError, TypeError, ValueError, InvalidSignature, InvalidTag) as error:
        raise AgentError(
            "The answer is not from this run's driver.",
            exit_code=ExitCode.ATTESTATION_REFUSED,
            code="driver-not-attested",
            got=str(error) or type(error).__name__,
            expected="an answer signed with the driver's attested key",
            action="treat it as an incident: something stands between executor and driver",
        ) from error


def _sealed(content: bytes, reader: ec.EllipticCurvePublicKey, runtime: bytes) -> dict[str, str]:
    ephemeral = ec.generate_private_key(ec.SECP256R1())
    iv = os.urandom(IV_BYTES)
    box = AESGCM(_wrapping_key(ephemeral, reader, runtime))
    return {
        "ephemeral": b64url(_point(ephemeral.public_key())),
        "iv": b64url(iv),
        "sealed": b64url(box.encrypt(iv, content, None)),
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


def _refusal(code: str, message: str, expected: str) -> AgentError:
    return AgentError(message, exit_code=ExitCode.ATTESTATION_REFUSED, code=code, expected=expected)


def _bytes(text: object) -> bytes:
    if not isinstance(text, str):
        raise TypeError("not base64url")
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
