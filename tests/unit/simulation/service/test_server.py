import asyncio
import base64
import hashlib
import json
import re
import socket
import threading
import time
from datetime import UTC, datetime

import dcap_qvl
import pytest
import requests
from confidential_spark.core.errors import ConfigurationError
from confidential_spark.simulation.enclave.software_quote import EnclaveIdentity, SoftwareQuote
from confidential_spark.simulation.hardware.authority import collateral
from confidential_spark.simulation.service import server as attestation_service
from confidential_spark.simulation.service.requests import MAX_REQUEST_BYTES
from confidential_spark.simulation.service.server import LoopbackAttestationService, jwks

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
RUNTIME_DATA = b"runtime data"
REPORT_DATA = hashlib.sha256(RUNTIME_DATA).digest() + bytes(32)
QUOTE = SoftwareQuote(EnclaveIdentity(b"e" * 32, b"s" * 32, 7, 3)).quote(REPORT_DATA)
ATTEST = "/attest/SgxEnclave?api-version=2022-08-01"
DOCUMENT = {
    "quote": base64.b64encode(QUOTE).decode(),
    "runtimeData": {"data": base64.b64encode(RUNTIME_DATA).decode(), "dataType": "Binary"},
}


@pytest.fixture
def service():
    with LoopbackAttestationService(clock=lambda: NOW) as running:
        yield running


def raw_exchange(service: LoopbackAttestationService, data: bytes) -> bytes:
    port = int(service.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_it_issues_tokens_by_its_own_clock(service: LoopbackAttestationService):
    answer = requests.post(service.url + ATTEST, json=DOCUMENT, timeout=10)

    payload = answer.json()["token"].split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    assert (answer.status_code, claims["iat"]) == (200, int(NOW.timestamp()))


def test_it_publishes_its_keys(service: LoopbackAttestationService):
    assert requests.get(f"{service.url}/certs", timeout=10).json() == jwks()


def test_dcap_qvl_gets_its_collateral_there(service: LoopbackAttestationService):
    async def fetch() -> dcap_qvl.QuoteCollateralV3:
        return await dcap_qvl.get_collateral(service.pccs_url, QUOTE)

    fetched = json.loads(asyncio.run(fetch()).to_json())
    del fetched["pck_certificate_chain"]

    assert fetched == collateral(NOW)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/certs", 200),
        ("GET", "/nothing", 404),
        ("PUT", "/certs", 405),
        ("HEAD", "/certs", 405),
        ("DELETE", ATTEST, 405),
        ("POST", ATTEST, 415),
    ],
)
def test_every_answer_has_a_request_id(
    service: LoopbackAttestationService, method: str, path: str, status: int
):
    answer = requests.request(method, service.url + path, timeout=10)

    assert answer.status_code == status
    assert re.fullmatch(r"[0-9a-f-]{36}", answer.headers["x-ms-request-id"])
    assert answer.headers["Content-Type"].startswith("application/json")


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        pytest.param(b"\x16\x03\x01\x02\x00\x01\r\n\r\n", b"400", id="tls"),
        pytest.param(b"BREW /certs HTTP/1.1\r\n\r\n", b"501", id="unknown-method"),
        pytest.param(b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\n\r\n", b"414", id="long-path"),
        pytest.param(b"GET /certs HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n", b"431", id="many-headers"),
        pytest.param(b"POST /certs HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"400", id="negative-length"),
        pytest.param(b"POST /certs HTTP/1.1\r\nContent-Length: 1e3\r\n\r\n", b"400", id="odd-length"),
        pytest.param(
            b"POST /certs HTTP/1.1\r\nContent-Length: " + b"9" * 99 + b"\r\n\r\n", b"400", id="vast"
        ),
        pytest.param(
            b"POST /certs HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"411", id="chunked"
        ),
    ],
)
def test_what_is_hardly_http_gets_a_short_json_error(
    service: LoopbackAttestationService, request_bytes: bytes, status: bytes
):
    answer = raw_exchange(service, request_bytes)

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split()[1] == status
    assert set(json.loads(body)) == {"error"}
    assert b"Traceback" not in answer


def test_an_oversize_request_reads_its_refusal_and_no_reset(service: LoopbackAttestationService):
    body = bytes(MAX_REQUEST_BYTES + 1)

    with socket.create_connection(
        ("127.0.0.1", int(service.url.rpartition(":")[2])), timeout=10
    ) as connection:
        connection.sendall(f"POST {ATTEST} HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n".encode())
        for part in (body[:1], body[1:]):
            time.sleep(0.1)  # a service that hung up would reset the connection now
            connection.sendall(part)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))

    assert answer.split()[1] == b"400"
    assert b"InvalidParameter" in answer


def test_a_body_that_never_ends_times_out(
    service: LoopbackAttestationService, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(attestation_service._Handler, "timeout", 0.05)
    port = int(service.url.rpartition(":")[2])

    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"POST /certs HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))

    assert answer.split()[1] == b"408"


def test_a_failure_of_its_own_is_not_explained_to_the_client(
    service: LoopbackAttestationService, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(attestation_service.attestation_api, "answer", fail)

    answer = requests.get(f"{service.url}/certs", timeout=10)

    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "InternalServerError")
    assert "secret detail" not in answer.text


def test_many_clients_are_served_at_once(service: LoopbackAttestationService):
    statuses: list[int] = []

    def attest() -> None:
        statuses.append(requests.post(service.url + ATTEST, json=DOCUMENT, timeout=30).status_code)

    threads = [threading.Thread(target=attest) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert statuses == [200] * 12


def test_a_port_in_use_is_refused_and_a_freed_one_is_not(service: LoopbackAttestationService):
    port = int(service.url.rpartition(":")[2])

    with pytest.raises(ConfigurationError) as caught, LoopbackAttestationService(port=port):
        pass
    assert (caught.value.code, str(port) in caught.value.got) == ("attestation-port-unavailable", True)

    service.__exit__(None, None, None)
    with LoopbackAttestationService(port=port) as again:
        assert again.url == f"http://127.0.0.1:{port}"


@pytest.mark.parametrize("port", [-1, 65536], ids=str)
def test_an_impossible_port_is_refused(port: int):
    with pytest.raises(ConfigurationError) as caught, LoopbackAttestationService(port=port):
        pass
    assert caught.value.code == "attestation-port-unavailable"


def test_it_has_an_address_only_while_it_runs():
    service = LoopbackAttestationService()
    with pytest.raises(ConfigurationError) as caught:
        _ = service.url
    assert caught.value.code == "attestation-service-stopped"

    with service:
        url = service.url
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{url}/certs", timeout=10)


def test_it_listens_on_loopback_only(service: LoopbackAttestationService):
    assert service._server.server_address[0] == "127.0.0.1"
