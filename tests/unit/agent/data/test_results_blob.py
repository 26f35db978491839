"""Uploads to an account in memory; to Azurite in tests/azure."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from confidential_spark.agent.bounded_http import BoundedHttp
from confidential_spark.agent.data import results_blob
from confidential_spark.agent.data.results_blob import ResultsBlob
from confidential_spark.agent.errors import AgentError, ExitCode
from confidential_spark.enclave.archives import unpack_results

from tests.support.azure.blob_account import EXISTS, UploadAccount
from tests.support.fakes.faulty_service import Fault, FaultyService

SAS = "sv=2021-12-02&sp=cw&sig=CANARY%3D"  # as `UploadAccount` takes it
FILES = {"summary.json": b"{}", "part/hour=7/a.parquet": os.urandom(5000), "part/empty.parquet": b""}


@pytest.fixture
def account():
    return UploadAccount()


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "private"
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def upload(folder, monkeypatch):
    limits = replace(results_blob.LIMITS, attempts=2, try_timeout=5.0)
    monkeypatch.setattr(results_blob, "BLOCK_BYTES", 1000)
    monkeypatch.setattr(
        results_blob, "BoundedHttp", lambda url, _: BoundedHttp(url, limits, sleep=lambda _: None)
    )
    return lambda service, **changes: ResultsBlob(
        **{"url": f"{service.url}/account/runs/try.tar", "sas": SAS} | changes
    ).upload(folder)


def test_the_pipeline_unpacks_what_the_enclave_had(account, upload, tmp_path):
    with FaultyService(proper=account) as service:
        upload(service)
    (archive,) = account.blobs.values()
    target = tmp_path / "target"
    target.mkdir()
    assert set(unpack_results([archive], target)) == set(FILES)
    assert {name: (target / name).read_bytes() for name in FILES} == FILES
    assert {len(block) for block in account.blocks.values()} == {1000, len(archive) % 1000}
    assert {request.method for request in service.requests} == {"PUT"}


def test_the_same_files_make_the_same_archive(account, upload, folder):
    with FaultyService(proper=account) as service:
        upload(service)
        os.utime(folder / "summary.json", (1, 1))
        upload(service, url=f"{service.url}/account/runs/another.tar")
    assert len(set(account.blobs.values())) == 1


PASSING = [
    pytest.param(Fault(503), id="busy"),
    pytest.param(Fault(429, headers={"Retry-After": "0"}), id="throttled"),
    pytest.param(Fault(raw=b""), id="hung-up"),
]


@pytest.mark.parametrize("fault", PASSING)
@pytest.mark.parametrize("before", [0, 3])
def test_a_fault_that_passes_is_outlived(account, upload, fault, before):
    with FaultyService(*[None] * before, fault, proper=account) as service:
        upload(service)
    assert len(account.blobs) == 1


def test_a_commit_whose_answer_is_lost_is_done_once(account, upload):
    """The account has the blob, and refuses the second request for it."""

    def forgetful(request, headers):
        answer = account(request, headers)
        lost = "comp=blocklist" in request.target and answer is not EXISTS
        return Fault(raw=b"") if lost else answer

    with FaultyService(proper=forgetful) as service:
        upload(service)
    assert len(account.blobs) == 1


def test_what_is_there_already_is_not_overwritten(account, upload):
    account.blobs["/account/runs/try.tar"] = b"somebody's"
    with FaultyService(proper=account) as service, pytest.raises(AgentError, match="BlobAlreadyExists"):
        upload(service)
    assert account.blobs == {"/account/runs/try.tar": b"somebody's"}


@pytest.mark.parametrize(
    ("changes", "faults", "code", "exit_code"),
    [
        pytest.param(
            {"sas": "sv=1&sig=other"}, [], "results-not-uploaded", ExitCode.RESULTS_INCOMPLETE, id="denied"
        ),
        pytest.param({}, [Fault(404)], "results-not-uploaded", ExitCode.RESULTS_INCOMPLETE, id="missing"),
        pytest.param({}, [Fault(200)], "results-not-uploaded", ExitCode.RESULTS_INCOMPLETE, id="no-storage"),
        pytest.param(
            {},
            [Fault(307, headers={"Location": "https://evil.example"})],
            "results-not-uploaded",
            ExitCode.RESULTS_INCOMPLETE,
            id="redirect",
        ),
        pytest.param(
            {}, [Fault(503)] * 2, "storage-unavailable", ExitCode.SERVICE_UNAVAILABLE, id="unavailable"
        ),
    ],
)
def test_a_fault_that_stays_has_a_name_and_shows_no_credential(
    account, upload, changes, faults, code, exit_code
):
    with FaultyService(*faults, proper=account) as service, pytest.raises(AgentError) as caught:
        upload(service, **changes)
    assert (caught.value.code, caught.value.exit_code) == (code, exit_code)
    assert "CANARY" not in str(caught.value)
    assert account.blobs == {}


def test_results_are_bounded(account, upload, monkeypatch):
    monkeypatch.setattr(results_blob, "MAX_BLOCKS", 3)
    with FaultyService(proper=account) as service, pytest.raises(AgentError, match=r"more than 3000 bytes"):
        upload(service)
    assert account.blobs == {}


@pytest.mark.parametrize(
    "members",
    [
        pytest.param({"url": "https://a.example/c/b", "sas": ""}, id="no-sas"),
        pytest.param({"url": "https://a.example/c/b", "sas": "x y"}, id="no-query"),
        pytest.param({"url": "https://a.example/c/b?sig=x", "sas": SAS}, id="query"),
        pytest.param({"url": "https://a.example/c/", "sas": SAS}, id="no-name"),
        pytest.param({"url": "https://a.example/c/b\nHost: x", "sas": SAS}, id="line-end"),
        pytest.param({"url": 7, "sas": SAS}, id="number"),
        pytest.param({"url": "https://a.example/c/b"}, id="missing"),
        pytest.param({"url": "https://a.example/c/b", "sas": SAS, "more": ""}, id="more"),
    ],
)
def test_what_no_pipeline_asks_for_is_refused(members):
    with pytest.raises((TypeError, ValueError)) as caught:
        ResultsBlob(**members)
    assert "CANARY" not in str(caught.value) + repr(ResultsBlob("https://a.example/c/b", SAS))
