from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from confidential_spark.core.errors import ResultError
from confidential_spark.core.months import Month
from confidential_spark.jobs.nytaxi.recount import recount as recount_nytaxi
from confidential_spark.jobs.nytaxi_demand.recount import recount
from confidential_spark.simulation.trips.month import write_month
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.jobs.trip_files import TYPES, at, write_trips
from tests.unit.jobs.nytaxi.test_recount import ROWS, USUAL

MAY = Month(2018, 5)
CAP = 100_000


def count(folder: Path, rows: list[dict]) -> dict[tuple[int, int], int]:
    path = folder / "trips.parquet"
    pq.write_table(pa.Table.from_pylist([USUAL | row for row in rows], pa.schema(list(TYPES.items()))), path)
    return recount([path], MAY, CAP)


@pytest.mark.parametrize(
    ("pickup", "day"),
    [
        pytest.param("2018-05-01T00:00:00", 1, id="first-second"),
        pytest.param("2018-05-09T23:59:59.999999", 9, id="end-of-a-day"),
        pytest.param("2018-05-10T00:00:00", 10, id="start-of-a-day"),
        pytest.param("2018-05-31T23:59:59.999999", 31, id="last-second"),
    ],
)
def test_a_trip_belongs_to_the_day_of_its_pickup(tmp_path, pickup, day):
    row = {"tpepPickupDateTime": at(pickup), "tpepDropoffDateTime": at(pickup)}
    assert count(tmp_path, [row]) == {(day, 237): 1}


def zones(counted: dict[tuple[int, int], int]) -> Counter[int]:
    sums = Counter[int]()
    for (_, zone), trips in counted.items():
        sums[zone] += trips
    return sums


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ROWS, min_size=1, max_size=30))
def test_counts_the_trips_that_nytaxi_accepts(tmp_path, rows):
    counted = count(tmp_path, rows)
    other = recount_nytaxi([tmp_path / "trips.parquet"], MAY, CAP)
    assert zones(counted) == {zone: sums["trips"] for zone, sums in other.by_pickup_zone.items()}


@pytest.mark.parametrize("text", ["2009-03", "2018-02", "2020-02"])
def test_every_day_of_a_month_is_counted(tmp_path, text):
    month = Month.parse(text)
    files = sorted(write_month(month, 3_000, tmp_path).iterdir())
    days = {day for day, _ in recount(files, month, CAP)}
    assert days == set(range(1, month.days + 1))


def test_an_unreadable_input_is_a_clear_error(tmp_path):
    folder = write_trips(tmp_path / "month" / "a.parquet", [{}])
    (folder / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(ResultError, match="recount-failed"):
        recount([folder / "a.parquet"], MAY, CAP)
