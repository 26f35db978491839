import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from confidential_spark.jobs.input.contract import SYNTHETIC_KEY, carries_synthetic_mark
from confidential_spark.jobs.nytaxi.trip_schema import TRIP_COLUMNS

from tests.support.places import ROOT

RESULTS_PAGE = ROOT / "docs" / "results.md"


def test_the_page_that_refusals_point_to_lists_every_column():
    section = RESULTS_PAGE.read_text(encoding="utf-8").split("### Input\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| (string|timestamp|int32|double) \|", section, re.MULTILINE)
    documented = {name: kind for names, kind in rows for name in re.findall(r"\w+", names)}
    assert documented == TRIP_COLUMNS


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
