from __future__ import annotations

import json
import socketserver
import ssl
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import formatdate

import pytest
from confidential_spark.agent.attestation.provider import LIMITS, request_token
from confidential_spark.agent.bounded_http import BoundedHttp
from confidential_spark.agent.errors import AgentError, ExitCode
from confidential_spark.agent.protocol import MAX_TOKEN_BYTES
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.support.fakes.faulty_service import Fault, FaultyService

TOKEN = "header.payload.signature"
ANSWER = Fault(body=json.dumps({"token": TOKEN}).encode(), headers={"Content-Type": "application/json"})
CLOSED_PORT = "http://127.0.0.1:9"


class Clock:
    def __init__(self):
        self.pauses = []

    def sleep(self, seconds):
        self.pauses.append(seconds)


@pytest.fixture
def clock():
    return Clock()


class SelfSignedService(socketserver.ThreadingTCPServer):
    """Presents a certificate that nobody trusts, and counts who came."""

    def __init__(self, folder):
        super().__init__(("127.0.0.1", 0), socketserver.BaseRequestHandler)
        self.connections = 0
        self.url = f"https://127.0.0.1:{self.server_address[1]}"
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
        certificate = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (folder / "service.pem").write_bytes(certificate + private)
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(folder / "service.pem")

    def get_request(self):
        connection, address = super().get_request()
        self.connections += 1
        return self.tls.wrap_socket(connection, server_side=True), address

    def handle_error(self, request, client_address):
        pass


@pytest.fixture
def tls_service(tmp_path):
    with SelfSignedService(tmp_path) as service:
        threading.Thread(target=service.serve_forever, args=(0.01,), daemon=True).start()
        yield service
        service.shutdown()


@pytest.fixture
def ask(clock):
    def ask(url, **limits):
        given = replace(LIMITS, **{"attempts": 3, "try_timeout": 20.0} | limits)
        client = BoundedHttp(url, given, sleep=clock.sleep)
        return request_token(url, "2022-08-01", b"\xff\xfequote", b"runtime", client)

    return ask


def test_posts_quote_and_runtime_data_and_returns_the_token(ask):
    with FaultyService(ANSWER) as service:
        assert ask(service.url + "/") == TOKEN
    (request,) = service.requests
    assert (request.method, request.target) == ("POST", "/attest/SgxEnclave?api-version=2022-08-01")
    assert json.loads(request.body) == {
        "quote": "__5xdW90ZQ",
        "runtimeData": {"data": "cnVudGltZQ", "dataType": "Binary"},
    }


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault(status=429), id="throttled"),
        pytest.param(Fault(status=500, body=b"oops"), id="error-500"),
        pytest.param(Fault(status=503), id="unavailable"),
        pytest.param(Fault(status=501), id="error-501"),
        pytest.param(Fault(status=599), id="error-599"),
        pytest.param(Fault(raw=b""), id="hung-up"),
        pytest.param(Fault(raw=b"\0\0\0 no http\r\n\r\n"), id="no-http"),
        pytest.param(Fault(body=b"{}", announce=100), id="cut-short"),
        pytest.param(Fault(status=500, body=b"{}", announce=100), id="error-500-cut-short"),
    ],
)
def test_tries_again(ask, clock, fault):
    with FaultyService(fault, fault, ANSWER) as service:
        assert ask(service.url) == TOKEN
    assert len(service.requests) == 3
    assert 0.5 <= clock.pauses[0] <= 1 <= clock.pauses[1] <= 2


def test_a_slow_answer_is_tried_again(ask):
    with FaultyService(Fault(delay=60.0), ANSWER) as service:
        assert ask(service.url, try_timeout=1.0) == TOKEN


def test_a_dripping_answer_is_tried_again(ask):
    with FaultyService(Fault(body=b"x" * 1000, trickle=0.05), ANSWER) as service:
        assert ask(service.url, try_timeout=1.0) == TOKEN


@pytest.mark.parametrize(
    ("header", "low", "high"),
    [
        pytest.param("7", 7, 7, id="seconds"),
        pytest.param("9999", 30, 30, id="capped"),
        pytest.param(formatdate(4102444800, usegmt=True), 30, 30, id="far-date"),
        pytest.param("0", 0.5, 1, id="zero-seconds"),
        pytest.param(formatdate(0, usegmt=True), 0.5, 1, id="past-date"),
        pytest.param("soon", 0.5, 1, id="nonsense"),
        pytest.param("٣", 0.5, 1, id="not-ascii"),
    ],
)
def test_honours_retry_after(ask, clock, header, low, high):
    fault = Fault(status=429, headers={"Retry-After": header} if header.isascii() else {})
    with FaultyService(fault, ANSWER) as service:
        ask(service.url)
    assert low <= clock.pauses[0] <= high


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        pytest.param(Fault(status=429), "attestation-throttled", id="throttled"),
        pytest.param(Fault(status=502), "attestation-unreachable", id="bad-gateway"),
        pytest.param(Fault(delay=60.0), "attestation-timeout", id="slow"),
    ],
)
def test_gives_up_with_the_retryable_code(ask, fault, code):
    with FaultyService(fault, fault, fault) as service:
        with pytest.raises(AgentError) as caught:
            ask(service.url, try_timeout=1.0 if fault.delay else 20.0)
        assert service.wait_for(3) == 3
    assert (caught.value.exit_code, caught.value.code) == (ExitCode.SERVICE_UNAVAILABLE, code)


def test_nobody_listening_is_retryable(ask, clock):
    with pytest.raises(AgentError, match="unreachable") as caught:
        ask(CLOSED_PORT)
    assert caught.value.exit_code is ExitCode.SERVICE_UNAVAILABLE
    assert len(clock.pauses) == 2


REFUSAL = json.dumps({"error": {"code": "PolicyEvaluationError", "message": "debug enclave"}}).encode()


@pytest.mark.parametrize(
    ("fault", "code", "text"),
    [
        pytest.param(
            Fault(status=400, body=REFUSAL, headers={"x-ms-request-id": "id-42"}),
            "attestation-refused",
            "(x-ms-request-id id-42) PolicyEvaluationError: debug enclave",
            id="refused-with-reason",
        ),
        pytest.param(Fault(status=401, body=b"["), "attestation-refused", "HTTP 401", id="no-reason"),
        pytest.param(
            Fault(status=307, headers={"Location": "http://127.0.0.1:1/steal"}),
            "attestation-redirected",
            "to 127.0.0.1",
            id="redirect",
        ),
        pytest.param(
            Fault(status=302, headers={"Location": "http://[x"}),
            "attestation-redirected",
            "to a malformed address",
            id="redirect-to-no-address",
        ),
        pytest.param(
            Fault(status=301),
            "attestation-redirected",
            "to another path of the same host",
            id="redirect-to-nowhere",
        ),
        pytest.param(Fault(body=b"x" * 1_100_000), "attestation-too-large", "over 1", id="too-large"),
        pytest.param(
            Fault(body=b'{"token": "a.b.' + b"c" * MAX_TOKEN_BYTES + b'"}'),
            "attestation-garbage",
            "without a token",
            id="token-no-verifier-reads",
        ),
        pytest.param(
            Fault(status=400, body=b"x" * 1_100_000), "attestation-too-large", "", id="large-refusal"
        ),
        pytest.param(Fault(body=b"<html>"), "attestation-garbage", "without a token", id="html"),
        pytest.param(Fault(body=b"[" * 100_000), "attestation-garbage", "", id="deep-nesting"),
        pytest.param(Fault(body=b"\xff"), "attestation-garbage", "", id="not-utf-8"),
        pytest.param(Fault(body=b'{"token": 1}'), "attestation-garbage", "", id="token-is-a-number"),
        pytest.param(Fault(body=b'{"token": "a.b"}'), "attestation-garbage", "", id="two-parts"),
        pytest.param(Fault(body=b'["token"]'), "attestation-garbage", "", id="a-list"),
    ],
)
def test_refusals_are_final(ask, clock, fault, code, text):
    with FaultyService(fault) as service, pytest.raises(AgentError) as caught:
        ask(service.url)
    assert (caught.value.exit_code, caught.value.code) == (ExitCode.ATTESTATION_REFUSED, code)
    assert text in str(caught.value)
    assert len(service.requests) == 1
    assert clock.pauses == []


def test_an_answer_may_say_more(ask):
    with FaultyService(Fault(body=b'{"token": "a.b.c", "unknown": {"token": "d.e.f"}}')) as service:
        assert ask(service.url) == "a.b.c"


def test_a_wrong_certificate_is_final(ask, clock, tls_service):
    with pytest.raises(AgentError, match="certificate verify failed") as caught:
        ask(tls_service.url)
    assert (caught.value.exit_code, caught.value.code) == (
        ExitCode.ATTESTATION_REFUSED,
        "attestation-certificate",
    )
    assert (tls_service.connections, clock.pauses) == (1, [])


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(ask, status):
    with FaultyService(ANSWER) as elsewhere:
        redirect = Fault(status=status, headers={"Location": elsewhere.url + "/token"})
        with FaultyService(redirect) as service, pytest.raises(AgentError, match="attestation-redirected"):
            ask(service.url)
    assert elsewhere.requests == []


def test_loopback_never_goes_through_a_proxy(ask, monkeypatch):
    monkeypatch.setenv("http_proxy", CLOSED_PORT)
    monkeypatch.delenv("no_proxy", raising=False)
    with FaultyService(ANSWER) as service:
        assert ask(service.url) == TOKEN
