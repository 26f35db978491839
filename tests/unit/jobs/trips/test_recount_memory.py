"""A recount needs the memory of one file, however many the month has: DuckDB decides, no clock."""

import pytest
from confidential_spark.core.months import Month
from confidential_spark.jobs.checks import recounting
from confidential_spark.jobs.nytaxi.recount import recount as recount_month
from confidential_spark.jobs.nytaxi_demand.recount import recount as recount_demand
from confidential_spark.jobs.trips.month_profile import profile
from confidential_spark.simulation.trips.month import write_month

MAY = Month(2018, 5)
CAP = 100_000
ROWS = 100_000
FILES = 20


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    (file,) = write_month(MAY, ROWS, tmp_path_factory.mktemp("month")).iterdir()
    return file


@pytest.mark.parametrize(
    ("recount", "limit", "accepted"),
    [
        pytest.param(lambda files: recount_month(files, MAY, CAP).rows, "64MB", 100_000, id="month"),
        pytest.param(
            lambda files: sum(recount_demand(files, MAY, CAP).values()), "24MB", 99_525, id="demand"
        ),
        # With 8 bytes for each of a million rows that are compared.
        pytest.param(
            lambda files: profile(files, MAY, ROWS * FILES).days.total(), "32MB", 99_972, id="profile"
        ),
    ],
)
def test_many_files_need_the_memory_of_one(recount, limit, accepted, file, monkeypatch):
    monkeypatch.setattr(recounting, "MEMORY_LIMIT", limit)
    assert recount(FILES * [file]) == FILES * accepted
