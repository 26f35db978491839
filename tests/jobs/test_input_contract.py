"""The same file through the manifest, the job and the recount: all three read it, and read the same."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from confidential_spark.core.months import Month
from confidential_spark.jobs.input.contract import Kind
from confidential_spark.jobs.input.manifest import read_manifest
from confidential_spark.jobs.nytaxi.recount import recount
from confidential_spark.jobs.nytaxi.summary import MEASURES
from confidential_spark.jobs.nytaxi.trip_schema import TRIP_COLUMNS, TRIPS

from tests.jobs.trip_files import MONTH, TYPES, write_trips

pytestmark = pytest.mark.spark
ARROW = {Kind.STRING: pa.string(), Kind.INTEGER: pa.int32(), Kind.DOUBLE: pa.float64()}
OTHER_TYPES = {name: ARROW[kind] for name, kind in TRIP_COLUMNS.items() if name not in TYPES}
NOTHING_ELSE = dict.fromkeys(OTHER_TYPES)
CAP = 100_000
INT64 = {"use_deprecated_int96_timestamps": False}
UTC = dict.fromkeys(("tpepPickupDateTime", "tpepDropoffDateTime"), pa.timestamp("us", "UTC"))
# Three usual trips: 8:30, 14.65 dollars with 2.35 tip, 2.5 miles, 15 minutes.
EXPECTED = dict(zip(MEASURES, (3, 4395, 3450, 705, 7500, 2700), strict=True))


@pytest.mark.parametrize(
    ("types", "options"),
    [
        pytest.param({}, {}, id="azure"),
        pytest.param({}, INT64, id="int64-local"),
        pytest.param({}, INT64 | {"coerce_timestamps": "ms"}, id="int64-milliseconds"),
        pytest.param(UTC, INT64, id="int64-utc"),
        pytest.param({}, {"compression": "zstd", "version": "1.0"}, id="other-encoding"),
        pytest.param({"airportFee": pa.float64()}, {}, id="extra-column"),
    ],
)
def test_what_the_contract_admits_all_three_read_alike(nytaxi, runs, tmp_path, types, options):
    changes = [NOTHING_ELSE | {"airportFee": 1.25}] * 3
    folder = tmp_path / "puYear=2018" / "puMonth=5"
    write_trips(folder / "a.parquet", changes, OTHER_TYPES | types, **options)
    month = Month.parse(MONTH)
    manifest = read_manifest(tmp_path.as_uri(), month, TRIPS)
    output = runs(nytaxi).run(["--month", MONTH], Path(unquote(urlsplit(manifest.uri).path)))
    found = json.loads((output / "summary.json").read_text())
    counted = recount([folder / file.name for file in manifest.files], month, CAP)
    assert manifest.rows == 3
    assert {name: found["totals"][name] for name in MEASURES} == EXPECTED
    assert counted.totals == EXPECTED
    hours = pq.read_table(output / "by_hour.parquet").to_pylist()
    assert [row["hour"] for row in hours if row["trips"]] == list(counted.by_hour) == [8]
