"""The taxi job against its PySpark form of before, which runs by spark-submit: the same files."""

from __future__ import annotations

import json

import pytest
from confidential_spark.enclave.spark import choose_runtime

from tests.support.pyspark_baseline import submit

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
    for file in now.glob("*.parquet"):
        assert file.read_bytes() == (before / file.name).read_bytes()
    was, is_now = (json.loads((output / "summary.json").read_text()) for output in (before, now))
    assert was["rows"]["rejected"] > 0
    assert is_now == was | {"duration_ms": is_now["duration_ms"]}
