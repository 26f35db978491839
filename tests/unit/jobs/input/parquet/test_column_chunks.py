"""Columns that the runner could not read are named before an enclave is started."""

from __future__ import annotations

from contextlib import suppress

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from confidential_spark.core.errors import InputError
from confidential_spark.core.months import Month
from confidential_spark.jobs.input.contract import InputContract, Kind
from confidential_spark.jobs.input.manifest import read_manifest
from confidential_spark.jobs.input.parquet.encrypted_columns import encrypted_columns
from confidential_spark.jobs.input.parquet.page_checksums import require_page_checksums
from confidential_spark.jobs.nytaxi.trip_schema import TRIPS
from hypothesis import given
from hypothesis import strategies as st

from tests.support.encrypted_parquet import write_encrypted
from tests.support.places import SHARED

MAY = Month(2018, 5)
FARES = InputContract("a file of fares", {"fare": Kind.DOUBLE, "zone": Kind.STRING})
ROWS = pa.table({"fare": [1.5, 2.5], "zone": ["7", None], "note": ["a", "b"], "deep": [[{"x": 1}], None]})
TROUBLE = SHARED / "trouble" / "data"


@pytest.fixture
def path(tmp_path):
    folder = tmp_path / "puYear=2018" / "puMonth=5"
    folder.mkdir(parents=True)
    return folder / "a.parquet"


def read(path):
    return read_manifest(path.parents[2].as_uri(), MAY, FARES)


def footer_of(path) -> bytes:
    data = path.read_bytes()
    return data[-8 - int.from_bytes(data[-8:-4], "little") : -8]


@pytest.mark.parametrize(
    ("columns", "numbers"),
    [
        pytest.param(["fare"], {0}, id="first"),
        pytest.param(["note"], {2}, id="later"),
        pytest.param(["fare", "zone", "note"], {0, 1, 2}, id="several"),
        pytest.param(["deep.list.element.x"], {3}, id="nested"),
    ],
)
def test_encrypted_columns_are_found_without_a_key(path, columns, numbers):
    write_encrypted(path, ROWS, column_keys={"k": columns}, plaintext_footer=True)
    assert encrypted_columns(footer_of(path)) == numbers


@pytest.mark.parametrize("groups", [1, 2])
def test_a_file_in_clear_has_none(path, groups):
    pq.write_table(ROWS, path, row_group_size=2 // groups)
    assert encrypted_columns(footer_of(path)) == set()


@given(st.binary(max_size=200))
def test_any_bytes_are_a_footer_or_refused(data):
    with suppress(ValueError):
        assert encrypted_columns(data) is not None


@given(cut=st.integers(0, 2_000), flip=st.integers(0, 2_000), bit=st.integers(0, 7))
def test_a_garbled_footer_never_crashes_the_reader(tmp_path_factory, cut, flip, bit):
    path = tmp_path_factory.getbasetemp() / "footer.parquet"
    if not path.exists():
        write_encrypted(path, ROWS, column_keys={"k": ["fare"]}, plaintext_footer=True)
    footer = bytearray(footer_of(path))
    footer[flip % len(footer)] ^= 1 << bit
    with suppress(ValueError):
        assert encrypted_columns(bytes(footer[: len(footer) - cut % len(footer)])) is not None


def test_a_structure_of_endless_depth_is_refused():
    with pytest.raises(ValueError, match="too many structures"):
        encrypted_columns(b"\x1c" * 10_000)


@pytest.mark.parametrize(
    ("make", "got"),
    [
        pytest.param(
            lambda path: write_encrypted(path, ROWS, column_keys={"k": ["zone"]}, plaintext_footer=True),
            "a.parquet: encrypted column zone",
            id="encrypted",
        ),
        pytest.param(
            lambda path: pq.write_table(ROWS, path, compression={"fare": "brotli"}),
            "a.parquet: codec BROTLI of column fare",
            id="codec",
        ),
        pytest.param(
            lambda path: pq.write_table(
                ROWS, path, use_dictionary=False, column_encoding={"fare": "BYTE_STREAM_SPLIT"}
            ),
            "a.parquet: encoding BYTE_STREAM_SPLIT of column fare",
            id="encoding",
        ),
    ],
)
def test_a_column_of_the_job_that_cannot_be_read_is_named(path, make, got):
    make(path)
    with pytest.raises(InputError) as caught:
        read(path)
    assert (caught.value.code, caught.value.got) == ("input-unreadable", got)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(
            lambda path: write_encrypted(
                path, ROWS, column_keys={"k": ["note", "deep.list.element.x"]}, plaintext_footer=True
            ),
            id="encrypted",
        ),
        pytest.param(lambda path: pq.write_table(ROWS, path, compression={"note": "brotli"}), id="codec"),
        pytest.param(
            lambda path: pq.write_table(
                ROWS.append_column("share", [[0.5, 0.25]]),
                path,
                use_dictionary=False,
                column_encoding={"share": "BYTE_STREAM_SPLIT"},
            ),
            id="encoding",
        ),
    ],
)
def test_columns_that_no_job_reads_do_not_matter(path, make):
    make(path)
    manifest = read(path)
    assert manifest.rows == 2
    require_page_checksums(manifest)


@pytest.mark.parametrize(
    ("case", "got"),
    [
        pytest.param("encrypted-column-plain-footer", "encrypted column fareAmount", id="encrypted"),
        pytest.param("codec-brotli", "codec BROTLI of column vendorID", id="codec"),
        pytest.param("encoding-byte-stream-split", "encoding BYTE_STREAM_SPLIT of column", id="encoding"),
    ],
)
def test_real_files_of_these_kinds_are_refused_by_name(case, got):
    if not TROUBLE.is_dir():
        pytest.skip("real-world cases are not on this machine: ../shared/trouble is absent")
    with pytest.raises(InputError, match="input-unreadable") as caught:
        read_manifest((TROUBLE / case).as_uri(), MAY, TRIPS)
    assert got in caught.value.got
