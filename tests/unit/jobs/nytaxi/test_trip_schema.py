import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from confidential_spark.jobs.input.contract import SYNTHETIC_KEY, carries_synthetic_mark
from confidential_spark.jobs.nytaxi.trip_schema import TRIPS
from confidential_spark.jobs.trips.schema_versions import AMOUNT, COUNT, ID, TIME, TRIP_TYPES

from tests.support.places import ROOT

RESULTS_PAGE = ROOT / "docs" / "results.md"


def tables_of_the_page() -> list[list[list[str]]]:
    """Return the rows of each table of the section, without those below the header."""
    section = RESULTS_PAGE.read_text(encoding="utf-8").split("### Input\n")[1].split("\n## ")[0]
    tables = [block.splitlines() for block in section.split("\n\n") if block.startswith("|")]
    return [[[cell.strip(" `") for cell in row.strip("|").split(" | ")] for row in rows] for rows in tables]


def test_the_page_that_refusals_point_to_lists_every_version():
    versions = {row[0]: row[-1].strip("| `") for row in tables_of_the_page()[0][2:]}
    assert versions == {version.name: " or ".join(version.one_of) for version in TRIPS.versions}
    assert list(versions) == [version.name for version in TRIPS.versions]


def test_the_page_says_where_each_version_has_each_column():
    header, _, *rows = tables_of_the_page()[1]
    assert [row[0] for row in rows] == list(TRIP_TYPES)
    types = {"id": ID, "count": COUNT, "amount": AMOUNT, "time": TIME}
    for version in TRIPS.versions:
        of_today = version.name in ("tlc-2011", "tlc-2019", "tlc-2021", "tlc-2025")
        place = header.index("tlc-2011` to `tlc-2025" if of_today else version.name)
        documented = {row[0]: (None if row[place] == "–" else row[place], types[row[1]]) for row in rows}
        assert documented == {name: (c.source, c.types) for name, c in version.columns.items()}


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        pytest.param({SYNTHETIC_KEY: b"{}"}, True, id="marked"),
        pytest.param({b"other": b"{}"}, False, id="other-metadata"),
        pytest.param(None, False, id="no-metadata"),
    ],
)
def test_only_marked_files_are_synthetic(tmp_path, metadata, expected):
    table = pa.table({"a": [1]}).replace_schema_metadata(metadata)
    pq.write_table(table, tmp_path / "a.parquet", store_schema=metadata is not None)
    assert carries_synthetic_mark(pq.read_metadata(tmp_path / "a.parquet")) is expected
