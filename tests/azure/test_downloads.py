"""The agent's downloads, with faults between it and Azurite."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace

import pytest
from confidential_spark.agent.bounded_http import BoundedHttp
from confidential_spark.agent.data import blobs
from confidential_spark.agent.data.blobs import LIMITS, ListedBlob
from confidential_spark.agent.errors import AgentError, ExitCode

from tests.support.azure.azurite import ACCOUNT, azurite
from tests.support.azure.blob_faults import refused, relay
from tests.support.fakes.faulty_service import Fault, FaultyService
from tests.support.fakes.kubernetes_api.tls import new_authority

NAMES = ["plain.parquet", "a b+c%20d.parquet", "für 東京.parquet", "x=1&y;z,'~!$@().parquet"]
RANGE = 1000


@pytest.fixture(autouse=True)
def small_ranges(monkeypatch):
    monkeypatch.setattr(blobs, "RANGE_BYTES", RANGE)


@pytest.fixture(scope="module")
def container(storage):
    return storage.client().create_container("downloads")


@pytest.fixture(scope="module")
def uploaded(container):
    """Blobs of different sizes, by name: their content and how they are listed."""
    found = {}
    for number, name in enumerate(NAMES):
        content = os.urandom(RANGE * number + 1)
        etag = container.get_blob_client(f"yellow/{name}").upload_blob(content)["etag"].strip('"')
        found[name] = content, ListedBlob(name, len(content), etag)
    return found


@pytest.fixture
def sas(container):
    from datetime import UTC, datetime, timedelta

    from azure.storage.blob import generate_container_sas

    return generate_container_sas(
        ACCOUNT,
        container.container_name,
        account_key=container.credential.account_key,
        permission="r",
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )


@pytest.fixture
def fetch(storage, uploaded, sas, tmp_path):
    def fetch(service, *names, **changes):
        url = f"{service.url}/{ACCOUNT}/downloads/yellow"
        listed = [replace(uploaded[name][1], **{"sas": sas} | changes) for name in names or NAMES]
        limits = replace(LIMITS, attempts=3, try_timeout=2.0, deadline=10.0, max_answer_bytes=RANGE)
        return blobs.download(BoundedHttp(url, limits, sleep=lambda _: None), listed, tmp_path)

    return fetch


@pytest.fixture
def service(storage):
    def service(*faults):
        return FaultyService(*faults, proper=relay(storage.endpoint))

    return service


def test_downloads_every_byte_whatever_a_blob_is_called(service, fetch, uploaded, tmp_path):
    with service() as running:
        files = fetch(running)
    assert [file.name for file in files] == NAMES
    for file in files:
        content = uploaded[file.name][0]
        assert (tmp_path / file.name).read_bytes() == content
        assert (file.bytes, file.sha256) == (len(content), hashlib.sha256(content).hexdigest())
        assert "sig=" not in file.uri
    assert {headers["if-match"] for headers in running.headers} == {
        f'"{listed.etag}"' for _, listed in uploaded.values()
    }


HALF = Fault(206, b"x" * 500, {"Content-Range": "bytes 0-999/2001"}, announce=1000)
PASSES = [
    pytest.param(refused(429, "TooManyRequests", **{"Retry-After": "0"}), id="throttled"),
    pytest.param(refused(500, "InternalError"), id="error-500"),
    pytest.param(refused(503, "ServerBusy", **{"Retry-After": "1"}), id="busy"),
    pytest.param(HALF, id="reset-in-mid-body"),
    pytest.param(Fault(raw=b""), id="hung-up"),
]


@pytest.mark.parametrize("fault", PASSES)
@pytest.mark.parametrize("before", [pytest.param(0, id="first-range"), pytest.param(2, id="last-range")])
def test_a_fault_that_passes_is_outlived(service, fetch, uploaded, tmp_path, fault, before):
    with service(*[None] * before, fault) as running:
        fetch(running, NAMES[2])
    assert (tmp_path / NAMES[2]).read_bytes() == uploaded[NAMES[2]][0]
    assert len(running.requests) == 4


OTHER_RANGE = {"Content-Range": "bytes 1-1000/2001"}
LONGER = {"Content-Range": "bytes 0-999/2002"}
RIGHT = {"Content-Range": "bytes 0-999/2001"}


@pytest.mark.parametrize(
    ("fault", "code", "tries"),
    [
        pytest.param(refused(401, "NoAuthenticationInformation"), "storage-denied", 1, id="401"),
        pytest.param(refused(403, "AuthenticationFailed"), "storage-denied", 1, id="403"),
        pytest.param(refused(409, "PublicAccessNotPermitted"), "storage-denied", 1, id="409"),
        pytest.param(refused(409, "BlobArchived"), "storage-blob-archived", 1, id="archived"),
        pytest.param(refused(404, "BlobNotFound"), "storage-blob-missing", 1, id="404"),
        pytest.param(refused(412, "ConditionNotMet"), "storage-blob-changed", 1, id="412"),
        pytest.param(refused(416, "InvalidRange"), "storage-blob-changed", 1, id="416"),
        pytest.param(refused(429, "TooManyRequests"), "storage-throttled", 3, id="429"),
        pytest.param(refused(503, "ServerBusy"), "storage-unavailable", 3, id="503"),
        pytest.param(HALF, "storage-unreachable", 3, id="truncated"),
        pytest.param(Fault(206, b"x" * 1000, RIGHT, trickle=0.1), "storage-timeout", 3, id="slow"),
        pytest.param(refused(307, Location="https://evil.example/x"), "storage-redirected", 1, id="redirect"),
        pytest.param(Fault(200, b"x" * 1000), "storage-garbage", 1, id="no-range"),
        pytest.param(Fault(206, b"x" * 1000), "storage-garbage", 1, id="range-unsaid"),
        pytest.param(Fault(206, b"x" * 1000, OTHER_RANGE), "storage-garbage", 1, id="another-range"),
        pytest.param(Fault(206, b"x" * 1000, LONGER), "storage-garbage", 1, id="of-a-longer-blob"),
        pytest.param(Fault(206, b"x" * 999, RIGHT), "storage-garbage", 1, id="wrong-length"),
        pytest.param(Fault(206, b"x" * 1001, RIGHT), "storage-too-large", 1, id="more-than-asked"),
    ],
)
def test_a_fault_that_stays_has_a_name_and_shows_no_credential(service, fetch, sas, fault, code, tries):
    with service(*[fault] * 3) as running, pytest.raises(AgentError) as caught:
        fetch(running, NAMES[2])
    assert caught.value.code == code
    assert len(running.requests) == tries
    assert sas.rpartition("sig=")[2] not in str(caught.value)
    assert sas.rpartition("sig=")[2] in running.requests[0].target
    retryable = caught.value.exit_code is ExitCode.SERVICE_UNAVAILABLE
    assert retryable is (tries == 3)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        pytest.param({"etag": "0x8D0"}, "storage-blob-changed", id="replaced"),
        # Azure itself says 404.
        pytest.param({"name": "missing.parquet"}, "storage-blob-changed", id="missing"),
        pytest.param({"sas": ""}, "storage-denied", id="nobody"),
        pytest.param({"sas": "sv=2021-12-02&sr=c&sp=r&sig=AAAA"}, "storage-denied", id="forged"),
        pytest.param({"bytes": 2000}, "storage-garbage", id="longer-than-listed"),
        pytest.param({"bytes": 9000}, "storage-garbage", id="shorter-than-listed"),
    ],
)
def test_what_azurite_refuses(service, fetch, changes, code):
    with service() as running, pytest.raises(AgentError, match=rf"\[{code}\]"):
        fetch(running, NAMES[2], **changes)


def test_a_blob_that_is_replaced_in_mid_download_is_noticed(service, fetch, container, uploaded, monkeypatch):
    client = container.get_blob_client("yellow/replaced.parquet")
    etag = client.upload_blob(b"x" * RANGE * 3)["etag"].strip('"')
    monkeypatch.setitem(uploaded, "replaced.parquet", (b"", ListedBlob("replaced.parquet", RANGE * 3, etag)))
    with service() as running:
        answer = running.proper

        def replaced_after_the_first(request, headers):
            if len(running.requests) == 2:
                client.upload_blob(b"y" * RANGE * 3, overwrite=True)
            return answer(request, headers)

        running.proper = replaced_after_the_first
        with pytest.raises(AgentError, match=r"\[storage-blob-changed\].*ConditionNotMet") as caught:
            fetch(running, "replaced.parquet")
    assert caught.value.exit_code is ExitCode.INPUT_CHANGED


def test_an_account_that_goes_away_in_mid_download_is_told(tmp_path):
    (folder := tmp_path / "azurite").mkdir()
    with azurite(folder) as storage:
        container = storage.client().create_container("downloads", public_access="blob")
        blob = container.get_blob_client("yellow/a.parquet")
        etag = blob.upload_blob(b"x" * RANGE * 3)["etag"].strip('"')
        answer = relay(storage.endpoint)

        def gone_after_the_first(request, headers):
            if len(service.requests) == 2:
                storage.kill()
            return answer(request, headers)

        with FaultyService(proper=gone_after_the_first) as service:
            http = BoundedHttp(
                f"{service.url}/{ACCOUNT}/downloads/yellow", replace(LIMITS, attempts=2), sleep=print
            )
            with pytest.raises(AgentError, match=r"\[storage-unreachable\]") as caught:
                blobs.download(http, [ListedBlob("a.parquet", RANGE * 3, etag)], tmp_path)
    assert caught.value.exit_code is ExitCode.SERVICE_UNAVAILABLE


def test_no_room_for_a_blob_is_told(service, fetch, tmp_path):
    (tmp_path / NAMES[0]).symlink_to("/dev/full")
    with service() as running, pytest.raises(AgentError, match=r"\[input-not-read\]"):
        fetch(running, NAMES[0])


@pytest.mark.parametrize(
    ("name", "trusted"),
    [
        pytest.param("localhost", True, id="right"),
        pytest.param("other.example", False, id="for-another-host"),
    ],
)
def test_tls_is_verified(tmp_path, monkeypatch, name, trusted):
    (folder := tmp_path / "azurite").mkdir()
    authority = new_authority(tmp_path, name=name)
    (tmp_path / "root.pem").write_bytes(authority.certificate)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "root.pem"))
    certificate = str(tmp_path / "apiserver.pem")
    with azurite(folder, "--cert", certificate, "--key", certificate) as secure:
        container = secure.client().create_container("public", public_access="blob")
        etag = container.get_blob_client("a.parquet").upload_blob(b"1234")["etag"]
        url = secure.endpoint.replace("127.0.0.1", "localhost")
        http = BoundedHttp(f"{url}/public", replace(LIMITS, attempts=1))
        listed = [ListedBlob("a.parquet", 4, etag.strip('"'))]
        if trusted:
            assert [file.bytes for file in blobs.download(http, listed, tmp_path)] == [4]
            return
        with pytest.raises(AgentError, match=r"\[storage-certificate\].*not valid for 'localhost'"):
            blobs.download(http, listed, tmp_path)
