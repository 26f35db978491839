"""What an account, or something in its place, does to the pipeline on a bad day: each has a name.

Between client and Azurite stands a proxy with TLS, which spoils requests of one kind. The enclave's own
downloads are in `test_downloads.py`; credentials and names of blobs in `test_preflight.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from confidential_spark.core.errors import ConfidentialSparkError
from confidential_spark.core.failures import failure_named
from confidential_spark.core.months import Month
from confidential_spark.hooks.blob import account
from confidential_spark.hooks.blob.month import BlobMonth
from confidential_spark.hooks.blob.skeleton import READING_THREADS
from confidential_spark.hooks.results.location import result_store
from confidential_spark.jobs.nytaxi import NYTAXI
from confidential_spark.simulation.trips.month import write_month

from tests.azure.results.conftest import MAY, attempt_in, staged
from tests.support.azure.azurite import ACCOUNT, KEY
from tests.support.azure.blob_faults import refused, relay
from tests.support.fakes.faulty_service import Fault, FaultyService
from tests.support.fakes.kubernetes_api.tls import new_authority

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from confidential_spark.hooks.results.store import ResultStore
    from confidential_spark.simulation.service.api import Request

    Spoils = Callable[[Request], bool]

MONTH = Month(2018, 6)
CONTRACT = NYTAXI.rules().input
DAG = "nytaxi_local"
NUMBERS = count(1)
CANARY = "CANARY-of-an-address"


def is_list(request: Request) -> bool:
    return "comp=list" in request.target


def is_read(request: Request) -> bool:
    return request.method == "GET" and "comp=" not in request.target


def is_write(request: Request) -> bool:
    return request.method == "PUT" and "comp=" not in request.target


@dataclass
class Proxy:
    """An account's place, between client and emulator.

    :param endpoint: what the deployment takes for its emulator.
    """

    service: FaultyService
    endpoint: str
    proper: Callable[[Request, Mapping[str, str]], Fault]

    def spoil(self, spoils: Spoils, fault: Fault) -> None:
        """Answer each request of a kind with a fault, from now on."""
        self.service.proper = lambda request, headers: (
            fault if spoils(request) else self.proper(request, headers)
        )


@pytest.fixture
def proxy(storage, connect, deploy, tmp_path, monkeypatch) -> Iterator[Proxy]:
    """A proxy whose certificate is trusted, and a deployment that knows the account by it."""
    monkeypatch.setitem(account.PATIENCE, "initial_backoff", 0)
    monkeypatch.setitem(account.PATIENCE, "increment_base", 0)
    monkeypatch.setitem(account.PATIENCE, "random_jitter_range", 0)
    authority = new_authority(tmp_path)
    (tmp_path / "root.pem").write_bytes(authority.certificate)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "root.pem"))
    passed_on = relay(storage.endpoint)
    with FaultyService(proper=passed_on, tls=authority.context) as service:
        endpoint = f"{service.url}/{ACCOUNT}"
        connect(password=KEY, host=endpoint)
        deploy(blob_emulator=endpoint, blob_conn_id="trips")
        yield Proxy(service, endpoint, passed_on)


@pytest.fixture(scope="module")
def uploaded(upload, tmp_path_factory) -> str:
    """The container of a synthetic month in Azure's layout."""
    root = tmp_path_factory.mktemp("made")
    write_month(MONTH, 1000, root / "yellow", contract=CONTRACT)
    return upload("bad-days", root)


@pytest.fixture
def read(proxy: Proxy, uploaded: str) -> Callable[[], Any]:
    return lambda: BlobMonth(f"{proxy.endpoint}/{uploaded}/yellow").manifest(MONTH, CONTRACT)


@pytest.fixture
def results(proxy: Proxy, storage) -> ResultStore:
    """A store of results behind the proxy."""
    name = f"bad-days-{next(NUMBERS)}"
    storage.client().create_container(name)
    return result_store(f"{proxy.endpoint}/{name}/spark", DAG)


OF_THE_SERVICE = {"x-ms-request-id": "4880b545", "x-ms-version": "2021-12-02"}
XML = {"Content-Type": "application/xml"}
HTML = {"Content-Type": "text/html"}
PAGE = b"<html><body>Sign in to the guest network</body></html>"
CUT = b'<?xml version="1.0"?><EnumerationResults><Blobs><Blob><Name>a'
NAMELESS = b'<?xml version="1.0"?><EnumerationResults><Blobs><Blob></Blob></Blobs></EnumerationResults>'
LOGIN = {"Location": f"https://login.example/?back={CANARY}"}
REDIRECTS = [
    pytest.param(Fault(status, headers=LOGIN), "storage-redirected", id=f"redirect-{status}")
    for status in (301, 302, 303, 307, 308)
]
ODD = [
    *REDIRECTS,
    pytest.param(
        Fault(302, headers={"Location": "/elsewhere"}), "storage-redirected", id="redirect-same-host"
    ),
    pytest.param(Fault(302), "storage-redirected", id="redirect-to-nowhere"),
    pytest.param(Fault(200, PAGE, HTML), "storage-garbage", id="captive-page"),
    pytest.param(Fault(200, PAGE, XML), "storage-garbage", id="captive-page-as-xml"),
    pytest.param(Fault(200), "storage-garbage", id="captive-silence"),
    pytest.param(Fault(204), "storage-garbage", id="no-content"),
    pytest.param(Fault(403, PAGE, HTML), "storage-garbage", id="403-of-a-proxy"),
    pytest.param(Fault(404, PAGE, HTML), "storage-garbage", id="404-of-another-server"),
    pytest.param(Fault(407, PAGE, HTML), "storage-garbage", id="407-of-a-proxy"),
    pytest.param(refused(418, "Teapot"), None, id="unknown-refusal"),
]
PASSING = [
    pytest.param(refused(429, "TooManyRequests"), "busy", id="429"),
    pytest.param(refused(500, "InternalError"), "busy", id="500"),
    pytest.param(refused(503, "ServerBusy"), "busy", id="503"),
    pytest.param(Fault(502, PAGE, HTML), "busy", id="502-of-a-gateway"),
    pytest.param(Fault(raw=b""), "unreachable", id="hung-up"),
    pytest.param(Fault(raw=b"SSH-2.0-OpenSSH_9.6\r\n"), "unreachable", id="another-protocol"),
    pytest.param(
        Fault(206, b"PAR1", OF_THE_SERVICE | {"Content-Range": "bytes 0-899/900"}, announce=900),
        "unreachable",
        id="reset-in-mid-body",
    ),
]
ARCHIVED = refused(409, "BlobArchived", **OF_THE_SERVICE)


def require_named(error: ConfidentialSparkError, code: str, *, retryable: bool = False) -> None:
    """The error has this name, the table has it too, and nothing of an address's query is shown."""
    assert (error.code, error.retryable) == (code, retryable), error
    assert failure_named(code) is not None
    assert not [secret for secret in (KEY, CANARY, "sig=") if secret in str(error)]


@pytest.mark.parametrize("spoils", [is_list, is_read])
@pytest.mark.parametrize(("fault", "code"), ODD)
def test_what_is_no_blob_service_is_told_by_a_month(proxy, read, spoils, fault, code) -> None:
    proxy.spoil(spoils, fault)
    with pytest.raises(ConfidentialSparkError) as caught:
        read()
    require_named(caught.value, code or "storage-garbage")
    assert sum(map(spoils, proxy.service.requests)) <= READING_THREADS, "some were asked again"


@pytest.mark.parametrize(("spoils", "doing"), [(is_read, "look"), (is_list, "stage"), (is_write, "stage")])
@pytest.mark.parametrize(("fault", "code"), ODD)
def test_what_is_no_blob_service_is_told_by_results(proxy, results, spoils, doing, fault, code) -> None:
    proxy.spoil(spoils, fault)
    with pytest.raises(ConfidentialSparkError) as caught:
        results.current(MAY) if doing == "look" else results.stage(MAY, "run.1")
    require_named(caught.value, code or "results-refused")
    assert sum(map(spoils, proxy.service.requests)) == 1


@pytest.mark.parametrize(
    ("spoils", "fault"),
    [
        pytest.param(is_list, Fault(200, PAGE, XML | OF_THE_SERVICE), id="a-page-for-a-list"),
        pytest.param(is_list, Fault(200, PAGE, HTML | OF_THE_SERVICE), id="html-for-a-list"),
        pytest.param(is_list, Fault(200, CUT, XML | OF_THE_SERVICE), id="cut-list"),
        pytest.param(is_list, Fault(200, NAMELESS, XML | OF_THE_SERVICE), id="blob-without-a-name"),
        pytest.param(is_list, Fault(200, b"", XML | OF_THE_SERVICE), id="empty-list-answer"),
        pytest.param(is_read, Fault(206, b"PAR1", OF_THE_SERVICE), id="range-unsaid"),
        pytest.param(
            is_read, Fault(206, b"PAR1", OF_THE_SERVICE | {"Content-Range": "4 of 9"}), id="odd-range"
        ),
        pytest.param(
            is_read, Fault(206, b"P", OF_THE_SERVICE | {"Content-Range": "bytes 0-0/1"}), id="shorter"
        ),
        pytest.param(is_read, Fault(200, b"PAR1" * 9, OF_THE_SERVICE), id="whole-for-a-part"),
    ],
)
def test_an_answer_that_nobody_can_read_is_told(proxy, read, spoils, fault) -> None:
    proxy.spoil(spoils, fault)
    with pytest.raises(ConfidentialSparkError) as caught:
        read()
    require_named(caught.value, "storage-garbage")


@pytest.mark.parametrize("fault", [pytest.param(CUT, id="cut"), pytest.param(PAGE, id="page")])
def test_a_list_that_nobody_can_read_is_no_empty_place_of_results(proxy, results, fault) -> None:
    results.publish(staged(results, "run.1"))
    proxy.spoil(is_list, Fault(200, fault, XML | OF_THE_SERVICE))
    with pytest.raises(ConfidentialSparkError) as caught:
        results.published_months()
    require_named(caught.value, "storage-garbage")


@pytest.mark.parametrize("spoils", [is_list, is_read])
@pytest.mark.parametrize(("fault", "code"), PASSING)
def test_what_may_pass_is_worth_a_retry(proxy, read, spoils, fault, code) -> None:
    proxy.spoil(spoils, fault)
    with pytest.raises(ConfidentialSparkError) as caught:
        read()
    require_named(caught.value, f"storage-{code}", retryable=True)


def test_what_passes_is_not_noticed(proxy, read) -> None:
    proxy.service.faults.extend([None, refused(503, "ServerBusy"), None, Fault(raw=b""), None])
    assert read().rows == 1000


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        pytest.param(ARCHIVED, "storage-blob-archived", id="archived"),
        pytest.param(
            refused(409, "BlobBeingRehydrated", **OF_THE_SERVICE), "storage-blob-archived", id="on-its-way"
        ),
        pytest.param(refused(412, "ConditionNotMet"), "storage-blob-changed", id="412"),
        pytest.param(refused(416, "InvalidRange"), "storage-blob-changed", id="416"),
        pytest.param(refused(404, "BlobNotFound"), "storage-blob-missing", id="404"),
    ],
)
def test_a_blob_that_cannot_be_read_is_told(proxy, read, fault, code) -> None:
    proxy.spoil(is_read, fault)
    with pytest.raises(ConfidentialSparkError) as caught:
        read()
    require_named(caught.value, code)


def test_an_archived_result_is_told(proxy, results) -> None:
    version = results.publish(staged(results, "run.1")).version
    proxy.spoil(is_read, ARCHIVED)
    with pytest.raises(ConfidentialSparkError) as caught:
        version.content("summary.json")
    require_named(caught.value, "storage-blob-archived")


def test_a_redirect_in_mid_publication_publishes_nothing(proxy, results) -> None:
    results.publish(staged(results, "old.1"))
    staging = staged(results, "new.1")
    proxy.spoil(is_write, Fault(307, headers=LOGIN))
    with pytest.raises(ConfidentialSparkError) as caught:
        results.publish(staging)
    require_named(caught.value, "storage-redirected")
    proxy.service.proper = proxy.proper
    assert attempt_in(results.current(MAY)) == "old.1"
    assert attempt_in(results.publish(staging).version) == "new.1"


@pytest.mark.parametrize(
    ("name", "trusted"),
    [
        pytest.param("other.example", True, id="for-another-host"),
        pytest.param("localhost", False, id="of-an-unknown-authority"),
    ],
)
def test_a_certificate_that_is_not_the_accounts_is_told(tmp_path, deploy, monkeypatch, name, trusted) -> None:
    monkeypatch.setitem(account.PATIENCE, "retry_total", 0)
    authority = new_authority(tmp_path, name=name)
    (tmp_path / "root.pem").write_bytes(authority.certificate)
    if trusted:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "root.pem"))
    with FaultyService(tls=authority.context) as service:
        endpoint = f"https://localhost:{service.port}/{ACCOUNT}"
        deploy(blob_emulator=endpoint)
        with pytest.raises(ConfidentialSparkError) as caught:
            BlobMonth(f"{endpoint}/trips/yellow").manifest(MONTH, CONTRACT)
    require_named(caught.value, "storage-certificate")
    assert service.requests == []
