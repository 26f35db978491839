"""Checksum files of Hadoop beside a month's files."""

from __future__ import annotations

import struct
import zlib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from confidential_spark.core.errors import InputError
from confidential_spark.core.months import Month
from confidential_spark.jobs.input.contract import InputContract, Kind
from confidential_spark.jobs.input.manifest import read_manifest
from confidential_spark.jobs.input.sidecar_checksums import require_sidecar_checksums
from confidential_spark.jobs.nytaxi.trip_schema import TRIPS

from tests.support.places import SHARED

MAY = Month(2018, 5)
FARES = InputContract("a file of fares", {"fare": Kind.DOUBLE})
CASE = SHARED / "trouble" / "data" / "stale-crc-sidecar"


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "puYear=2018" / "puMonth=5" / "a.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(pa.table({"fare": [float(n) for n in range(500)]}), path, compression="none")
    return path


def sidecar(path):
    return path.with_name(f".{path.name}.crc")


def checksums(data: bytes, part: int = 512) -> bytes:
    parts = (data[at : at + part] for at in range(0, len(data), part))
    return struct.pack(">4si", b"crc\0", part) + b"".join(
        struct.pack(">I", zlib.crc32(each)) for each in parts
    )


def require(path):
    require_sidecar_checksums(read_manifest(path.parents[2].as_uri(), MAY, FARES))


def test_a_file_without_one_is_taken(path):
    require(path)


@pytest.mark.parametrize("part", [512, 7, 1 << 20])
def test_a_file_with_its_own_is_taken(path, part):
    sidecar(path).write_bytes(checksums(path.read_bytes(), part))
    require(path)


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda data: checksums(data + b"x"), id="older-and-longer-by-a-byte"),
        pytest.param(lambda data: checksums(data[:512]), id="of-the-first-part-only"),
        pytest.param(lambda data: checksums(data) + b"\0\0\0\0", id="one-sum-more"),
        pytest.param(lambda data: checksums(bytes(len(data))), id="of-other-bytes"),
        pytest.param(lambda data: checksums(data)[:-1], id="cut-off"),
    ],
)
def test_one_of_other_bytes_is_named(path, spoil):
    sidecar(path).write_bytes(spoil(path.read_bytes()))
    with pytest.raises(InputError, match="input-checksum") as caught:
        require(path)
    assert caught.value.got == "a.parquet beside .a.parquet.crc"


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"crc", id="short"),
        pytest.param(b"sha\0\0\0\2\0" + bytes(40), id="other-magic"),
        pytest.param(b"crc\0\0\0\0\0" + bytes(40), id="parts-of-nothing"),
        pytest.param(b"crc\0\xff\xff\xff\xff" + bytes(40), id="negative-parts"),
    ],
)
def test_what_is_no_checksum_file_does_not_matter(path, content):
    sidecar(path).write_bytes(content)
    require(path)


def test_a_real_file_beside_the_checksums_of_an_older_one():
    if not CASE.is_dir():
        pytest.skip("real-world cases are not on this machine: ../shared/trouble is absent")
    with pytest.raises(InputError, match="input-checksum") as caught:
        require_sidecar_checksums(read_manifest(CASE.as_uri(), MAY, TRIPS))
    assert caught.value.got == "part-0.parquet beside .part-0.parquet.crc"
