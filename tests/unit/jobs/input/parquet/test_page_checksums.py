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


@pytest.mark.shared
def test_the_known_case_is_refused():
    if not CASE.is_dir():
        pytest.skip(f"no cases: {CASE} is absent")
    manifest = read_manifest(str(CASE), MAY, TRIPS)
    with pytest.raises(InputError, match=r"input-checksum.*column totalAmount"):
        require_page_checksums(manifest)
