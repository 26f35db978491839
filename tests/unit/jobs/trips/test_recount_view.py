"""What the view makes of columns; `tests/jobs/test_published_layouts.py` holds it against the jobs."""

from datetime import datetime

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from confidential_spark.jobs.trips.recount_view import NAMES, create_trips_view
from confidential_spark.jobs.trips.schema_versions import VERSIONS

from tests.jobs.published_layouts import LAYOUTS
from tests.support.encrypted_parquet import write_encrypted

TODAY = LAYOUTS["tlc-2011"]


def column(name, *paths):
    values = []
    with duckdb.connect() as connection:
        for path in paths:
            create_trips_view(connection, path)
            values += [row[0] for row in connection.table("trips").project(f'"{name}"').fetchall()]
    return values


@pytest.mark.parametrize("version", VERSIONS)
def test_knows_every_column_of_every_version(version):
    columns, _ = VERSIONS[version]
    known = {name: {source.casefold() for source in sources} for name, sources in NAMES.items()}
    assert {name for name, source in columns.items() if source.casefold() not in known[name]} == set()


@pytest.mark.parametrize("version", LAYOUTS)
def test_the_columns_have_the_same_names_whatever_the_version(tmp_path, version):
    path = LAYOUTS[version].write(tmp_path / "a.parquet", [{}])
    with duckdb.connect() as connection:
        create_trips_view(connection, path)
        assert connection.table("trips").columns == list(NAMES)


def test_columns_of_the_same_letters_are_told_apart(tmp_path):
    nested = pa.array([[{"Tip_Amount": "?", "x": [1]}]])
    table = TODAY.table([{}]).add_column(0, "TIP_AMOUNT", nested).append_column("Total_AMOUNT", [["?"]])
    pq.write_table(table, tmp_path / "a.parquet")
    assert column("tipAmount", tmp_path / "a.parquet") == [2.35]
    assert column("totalAmount", tmp_path / "a.parquet") == [14.65]


def test_each_file_is_read_by_its_own_columns(tmp_path):
    paths = [LAYOUTS[name].write(tmp_path / f"{name}.parquet", [{}]) for name in LAYOUTS]
    assert column("tpepPickupDateTime", *paths) == [datetime(2018, 5, 17, 8, 30, 15)] * len(LAYOUTS)
    assert column("fareAmount", *paths) == [11.5] * len(LAYOUTS)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param(pa.array([1, None], pa.int32()), [1, None], id="int"),
        pytest.param(pa.array([99.0, None]), [99, None], id="double"),
        pytest.param(pa.array([float("nan"), 1.5]), [None, -1], id="no-code"),
        pytest.param(pa.array(["5", "n/a"]), [5, None], id="text"),
        pytest.param(pa.array([[1], [2]]), [None, None], id="list"),
        pytest.param(pa.array([b"\xff", b"1"]), [None, 1], id="bytes"),
        pytest.param(pa.array([None, None], pa.null()), [None, None], id="untyped"),
    ],
)
def test_a_rate_code_of_any_type_stops_no_recount(tmp_path, values, expected):
    table = TODAY.table([{}, {}])
    place = table.column_names.index("RatecodeID")
    pq.write_table(table.set_column(place, "RatecodeID", values), tmp_path / "a.parquet")
    assert column("rateCodeId", tmp_path / "a.parquet") == expected


def test_a_rate_code_that_cannot_be_read_is_null(tmp_path):
    path = tmp_path / "a.parquet"
    write_encrypted(path, TODAY.table([{}]), column_keys={"k": ["RatecodeID"]}, plaintext_footer=True)
    assert column("rateCodeId", path) == [None]
    assert column("tipAmount", path) == [2.35]
