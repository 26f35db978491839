"""More blobs than the service sends in one answer, which is 5,000; Azurite takes minutes to get as many."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit
from xml.sax.saxutils import escape

import pytest
from confidential_spark.core.errors import InputError
from confidential_spark.hooks.blob import listing
from confidential_spark.hooks.blob.listing import BlobListing
from confidential_spark.hooks.blob.month import BlobMonth
from confidential_spark.hooks.results.location import blob_folder_at

from tests.support.fakes.faulty_service import Fault, FaultyService

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = 5000
FOLDER = "yellow/puYear=2018/puMonth=6"
NAMES = [f"{number:05d} a+b%20&é.parquet" for number in range(PAGE + 3)]
BLOB = (
    "<Blob><Name>{}</Name><Properties><Last-Modified>Sun, 29 Nov 2026 10:00:00 GMT</Last-Modified>"
    "<Etag>0x8D0</Etag><Content-Length>1</Content-Length><BlobType>BlockBlob</BlobType></Properties></Blob>"
)
HEADERS = {"Content-Type": "application/xml", "x-ms-request-id": "4880b545", "x-ms-version": "2021-12-02"}


def pages(request, headers) -> Fault:
    start = int(parse_qs(urlsplit(request.target).query).get("marker", ["0"])[0])
    blobs = "".join(BLOB.format(escape(f"{FOLDER}/{name}")) for name in NAMES[start : start + PAGE])
    following = str(start + PAGE) if start + PAGE < len(NAMES) else ""
    text = (
        f"<EnumerationResults><Blobs>{blobs}</Blobs><NextMarker>{following}</NextMarker></EnumerationResults>"
    )
    return Fault(200, f'<?xml version="1.0" encoding="utf-8"?>{text}'.encode(), HEADERS)


@pytest.fixture
def service() -> Iterator[FaultyService]:
    with FaultyService(proper=pages) as service:
        yield service


@pytest.fixture
def url(service, deploy) -> str:
    endpoint = f"{service.url}/devstoreaccount1"
    deploy(blob_emulator=endpoint)
    return f"{endpoint}/trips/yellow"


def last_names(paths) -> list[str]:
    return [path.rpartition("/")[2] for path in paths]


def test_every_blob_of_an_input_is_listed(service, url):
    found = BlobListing(BlobMonth(url).account).folder(FOLDER)
    assert last_names(blob.path for blob in found) == NAMES
    assert len(service.requests) == 2


def test_a_folder_of_too_many_blobs_is_told(url, monkeypatch):
    monkeypatch.setattr(listing, "MOST_BLOBS", PAGE)
    with pytest.raises(InputError, match=r"input-too-many-files\].*more than 5000"):
        BlobListing(BlobMonth(url).account).folder(FOLDER)


def test_every_blob_below_results_is_listed(service, url):
    folder = blob_folder_at(url)
    assert last_names(entry.name for entry in folder.entries("puYear=2018/puMonth=6/")) == NAMES
    assert len(service.requests) == 2


def test_a_second_page_that_nobody_can_read_is_no_shorter_list(service, url):
    service.faults.extend([None, Fault(200, b"<html/>", HEADERS)])
    with pytest.raises(InputError, match="storage-garbage"):
        BlobListing(BlobMonth(url).account).folder(FOLDER)
