"""The taxi job against its PySpark form of before, by spark-submit; flex fare and versions are newer."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
from confidential_spark.enclave.spark import choose_runtime

from tests.support.pyspark_baseline import submit

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.spark, pytest.mark.shared]
MONTH = ["--month", "2018-12", "--outlier-cap-cents", "20000"]


def test_a_real_month_has_the_same_files_as_before(nytaxi, runs, shared_data, tmp_path):
    folder = (shared_data / "yellow" / "puYear=2018" / "puMonth=12").resolve()
    before = tmp_path / "before"
    before.mkdir()
    runtime = choose_runtime(input_bytes=0, cores=2, memory="1g")
    submit(runtime, [*MONTH, "--input", folder.as_uri(), "--output", str(before)], tmp_path / "work")

    now = runs(nytaxi).run(MONTH, folder)

    assert sorted(file.name for file in now.iterdir()) == sorted(file.name for file in before.iterdir())
    for name in ("by_hour.parquet", "by_pickup_zone.parquet"):
        assert (now / name).read_bytes() == (before / name).read_bytes()
    *payments, flex_fare = rows_of(now / "by_payment_type.parquet")
    assert payments == rows_of(before / "by_payment_type.parquet")
    assert (flex_fare["payment_type"], flex_fare["trips"]) == ("flex_fare", 0)
    was, is_now = (json.loads((output / "summary.json").read_text()) for output in (before, now))
    assert was["rows"]["rejected"] > 0
    is_now["rules"].remove({"name": "payment_flex_fare", "action": "count", "rows": 0})
    assert is_now.pop("input_version") == "azure-open-datasets"
    assert is_now == was | {"duration_ms": is_now["duration_ms"]}


def rows_of(table: Path) -> list[dict[str, Any]]:
    return pq.ParquetFile(table).read().to_pylist()
