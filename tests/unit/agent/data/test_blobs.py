"""Downloads of blobs from an account in memory; from Azurite, with more faults, in tests/azure."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from urllib.parse import quote

import pytest
from confidential_spark.agent.bounded_http import BoundedHttp
from confidential_spark.agent.data import blobs
from confidential_spark.agent.data.blobs import LIMITS, ListedBlob, listed_blobs
from confidential_spark.agent.errors import AgentError, ExitCode
from hypothesis import given
from hypothesis import strategies as st

from tests.support.azure.blob_account import BlobAccount
from tests.support.fakes.faulty_service import Fault, FaultyService

CONTENT = {"part 1+%é.parquet": bytes(range(256)) * 10, "b.parquet": b"x"}
ETAG = "0x8D4"
SAS = "sv=2021-12-02&sp=r&sig=CANARY%3D"
RANGE = 1000
account = BlobAccount(CONTENT, ETAG, SAS)


@pytest.fixture
def fetch(monkeypatch, tmp_path):
    monkeypatch.setattr(blobs, "RANGE_BYTES", RANGE)

    def fetch(service, **changes):
        listed = [ListedBlob(name, len(content), ETAG, SAS) for name, content in CONTENT.items()]
        limits = replace(LIMITS, attempts=2, try_timeout=2.0, max_answer_bytes=RANGE)
        http = BoundedHttp(f"{service.url}/trips", limits, sleep=lambda _: None)
        return blobs.download(http, [replace(listed[0], **changes), *listed[1:]], tmp_path)

    return fetch


def test_writes_and_hashes_exactly_the_listed_blobs(fetch, tmp_path):
    with FaultyService(proper=account) as service:
        files = fetch(service)
    assert [(file.uri, file.bytes, file.sha256) for file in files] == [
        (f"{service.url}/trips/{quote(name)}", len(content), hashlib.sha256(content).hexdigest())
        for name, content in CONTENT.items()
    ]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == CONTENT
    assert len(service.requests) == 4


@pytest.mark.parametrize(
    ("changes", "faults", "code", "exit_code"),
    [
        pytest.param({"sas": ""}, [], "storage-denied", ExitCode.INPUT_UNUSABLE, id="nobody"),
        pytest.param({"etag": "0x9"}, [], "storage-blob-changed", ExitCode.INPUT_CHANGED, id="replaced"),
        pytest.param(
            {"name": "c.parquet"}, [], "storage-blob-missing", ExitCode.INPUT_UNUSABLE, id="missing"
        ),
        pytest.param({"bytes": 2559}, [], "storage-garbage", ExitCode.INPUT_UNUSABLE, id="longer"),
        pytest.param(
            {}, [Fault(503)] * 2, "storage-unavailable", ExitCode.SERVICE_UNAVAILABLE, id="unavailable"
        ),
        pytest.param(
            {},
            [Fault(206, b"x", announce=9)] * 2,
            "storage-unreachable",
            ExitCode.SERVICE_UNAVAILABLE,
            id="cut",
        ),
        pytest.param({}, [Fault(200, b"x")], "storage-garbage", ExitCode.INPUT_UNUSABLE, id="no-range"),
        pytest.param(
            {},
            [Fault(302, headers={"Location": "/x"})],
            "storage-redirected",
            ExitCode.INPUT_UNUSABLE,
            id="moved",
        ),
    ],
)
def test_a_refusal_has_a_name_and_shows_no_credential(fetch, changes, faults, code, exit_code):
    with FaultyService(*faults, proper=account) as service, pytest.raises(AgentError) as caught:
        fetch(service, **changes)
    assert (caught.value.code, caught.value.exit_code) == (code, exit_code)
    assert "CANARY" not in str(caught.value) + repr(ListedBlob("a.parquet", 1, "x", SAS))


def test_one_fault_is_outlived(fetch):
    with FaultyService(None, Fault(500), proper=account) as service:
        assert [file.bytes for file in fetch(service)] == [2560, 1]


def test_no_room_is_told(fetch, tmp_path):
    (tmp_path / "part 1+%é.parquet").mkdir()
    with FaultyService(proper=account) as service, pytest.raises(AgentError, match=r"\[input-not-read\]"):
        fetch(service)


TEXTS = st.text(max_size=20) | st.sampled_from([*CONTENT, ETAG, SAS])
RECORDS = st.fixed_dictionaries(
    {"name": TEXTS, "bytes": st.integers() | st.booleans(), "etag": TEXTS},
    optional={"sas": TEXTS | st.none()},
)


@given(st.lists(RECORDS | st.integers() | st.none(), max_size=3))
def test_any_list_is_blobs_or_refused(records):
    try:
        listed = listed_blobs(records)
    except (TypeError, ValueError):
        return
    assert len({blob.name for blob in listed}) == len(records)
    assert all("/" not in blob.name and blob.bytes > 0 for blob in listed)
    # What goes into a request is one line, whatever a host lists.
    assert all((blob.etag + blob.sas).isprintable() and " " not in blob.etag + blob.sas for blob in listed)
