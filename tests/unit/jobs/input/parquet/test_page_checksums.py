from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from confidential_spark.core.errors import InputError
from confidential_spark.core.months import Month
from confidential_spark.jobs.input.contract import InputContract, Kind
from confidential_spark.jobs.input.manifest import read_manifest
from confidential_spark.jobs.input.parquet.page_checksums import require_page_checksums
from confidential_spark.jobs.nytaxi.trip_schema import TRIPS

from tests.conftest import SHARED

MAY = Month(2018, 5)
FARES = InputContract("a file of fares", {"fare": Kind.DOUBLE})
CASE = SHARED / "trouble" / "data" / "page-checksum-wrong"


@pytest.fixture
def check(tmp_path):
    """Write fares and tips, with one value of each altered on disk or not, and check the file."""

    def check(altered: str | None, *, checksums: bool) -> None:
        path = tmp_path / "puYear=2018" / "puMonth=5" / "a.parquet"
        path.parent.mkdir(parents=True)
        table = pa.table({"fare": [12.5, 99.25, 7.0], "tip": [1.5, 88.75, 2.0]})
        pq.write_table(
            table,
            path,
            compression="none",
            use_dictionary=False,
            write_statistics=False,
            write_page_checksum=checksums,
        )
        if altered:
            value = {"fare": 99.25, "tip": 88.75}[altered]
            content = path.read_bytes()
            here, there = (pa.array([each]).buffers()[1].to_pybytes() for each in (value, value + 1))
            assert content.count(here) == 1
            path.write_bytes(content.replace(here, there))
        require_page_checksums(read_manifest(str(tmp_path), MAY, FARES))

    return check


def test_an_altered_value_is_refused_by_file_and_column(check):
    with pytest.raises(InputError, match=r"input-checksum.*a\.parquet, column fare"):
        check("fare", checksums=True)


@pytest.mark.parametrize(
    ("altered", "checksums"),
    [
        pytest.param(None, True, id="unaltered"),
        pytest.param("tip", True, id="a-column-that-nobody-reads"),
        pytest.param("fare", False, id="no-checksums"),
    ],
)
def test_what_cannot_be_told_or_does_not_matter_is_accepted(check, altered, checksums):
    check(altered, checksums=checksums)


def fares(path: Path, **options) -> None:
    """Write two row groups of several pages each: repeated fares, nulls, and notes that nobody reads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(
        {"fare": [None if n % 7 == 0 else n / 4 % 50 for n in range(20_000)], "note": ["note"] * 20_000}
    )
    pq.write_table(table, path, row_group_size=10_000, data_page_size=2_000, **options)


def accepted_by_pyarrow(path: Path) -> bool:
    try:
        pq.ParquetFile(path, page_checksum_verification=True).read(["fare"])
    except OSError as error:
        return "CRC checksum" not in str(error)
    return True


@pytest.mark.parametrize("place", [0.02, 0.31, 0.6, 0.98])
@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="snappy"),
        pytest.param({"compression": "zstd"}, id="zstd"),
        pytest.param({"use_dictionary": False}, id="no-dictionary"),
        pytest.param({"data_page_version": "2.0"}, id="pages-of-version-2"),
    ],
)
def test_an_altered_byte_is_refused_as_pyarrow_refuses_it(tmp_path, options, place):
    path = tmp_path / "puYear=2018" / "puMonth=5" / "a.parquet"
    fares(path, write_page_checksum=True, **options)
    require_page_checksums(read_manifest(str(tmp_path), MAY, FARES))
    chunk = pq.read_metadata(path).row_group(1).column(0)
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    content = bytearray(path.read_bytes())
    # Behind the first page's header, which takes fewer than 200 bytes.
    at = start + 200 + int((chunk.total_compressed_size - 200) * place)
    content[at] ^= 1
    path.write_bytes(content)
    assert not accepted_by_pyarrow(path)
    with pytest.raises(InputError, match="input-checksum"):
        require_page_checksums(read_manifest(str(tmp_path), MAY, FARES))


def test_pages_without_checksums_are_not_read(tmp_path):
    path = tmp_path / "puYear=2018" / "puMonth=5" / "a.parquet"
    path.parent.mkdir(parents=True)
    size = 4_000_000
    pq.write_table(pa.table({"fare": [n * 1.1 for n in range(size // 8)]}), path, compression="none")
    manifest = read_manifest(str(tmp_path), MAY, FARES)
    assert manifest.bytes > size
    before = bytes_read()
    require_page_checksums(manifest)
    assert bytes_read() - before < size / 10


def bytes_read() -> int:
    """Return how many bytes this process has read so far."""
    return int(Path("/proc/self/io").read_text().split()[1])


@pytest.mark.shared
def test_the_known_case_is_refused():
    if not CASE.is_dir():
        pytest.skip(f"no cases: {CASE} is absent")
    manifest = read_manifest(str(CASE), MAY, TRIPS)
    with pytest.raises(InputError, match=r"input-checksum.*column totalAmount"):
        require_page_checksums(manifest)
