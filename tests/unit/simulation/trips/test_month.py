import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from annotated_types import Le
from confidential_spark.core.errors import ConfigurationError, InputError
from confidential_spark.core.months import Month
from confidential_spark.jobs.input.contract import (
    SYNTHETIC_KEY,
    InputContract,
    Kind,
    carries_synthetic_mark,
)
from confidential_spark.jobs.input.manifest import read_manifest
from confidential_spark.jobs.nytaxi.trip_schema import TRIP_COLUMNS
from confidential_spark.settings import Settings
from confidential_spark.simulation.trips import month as trips
from confidential_spark.simulation.trips.model import TripModel, allot
from hypothesis import given
from hypothesis import strategies as st

MAY = Month(2018, 5)


def digests(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}


def scalar(table: pa.Table, expression: str, condition: str = "true") -> float:
    with duckdb.connect() as connection:
        connection.register("trips", table)
        query = f"SELECT {expression} FROM trips WHERE {condition}"  # noqa: S608 - the test's own text
        return connection.execute(query).fetchone()[0]


def share(table: pa.Table, condition: str) -> float:
    return scalar(table, f"avg(CAST(({condition}) AS INTEGER))")


@pytest.fixture(scope="module")
def sample() -> pa.Table:
    return TripModel(MAY, 9_000_000, seed=1).chunk(0, 400_000)


def test_same_parameters_make_the_same_bytes(tmp_path):
    first = trips.write_month(MAY, 3_000, tmp_path / "a")
    assert digests(first) == digests(trips.write_month(MAY, 3_000, tmp_path / "b"))


@pytest.mark.parametrize(
    ("month", "rows", "seed"),
    [
        pytest.param(Month(2018, 6), 3_000, 1, id="other-month"),
        pytest.param(MAY, 3_001, 1, id="other-rows"),
        pytest.param(MAY, 3_000, 2, id="other-seed"),
    ],
)
def test_other_parameters_make_other_bytes(tmp_path, month, rows, seed):
    first = digests(trips.write_month(MAY, 3_000, tmp_path / "a", seed=1))
    assert first != digests(trips.write_month(month, rows, tmp_path / "b", seed=seed))


def test_rows_do_not_depend_on_the_chunk_that_makes_them():
    model = TripModel(MAY, 9_000_000, seed=1)
    whole = model.chunk(1_000, 3_000)
    parts = pa.concat_tables([model.chunk(1_000, 1_700), model.chunk(1_700, 3_000)])
    assert whole.equals(parts.combine_chunks())


def test_files_have_the_azure_schema_and_say_that_they_are_synthetic(tmp_path):
    folder = trips.write_month(MAY, 2_000, tmp_path)
    assert folder == tmp_path / "puYear=2018" / "puMonth=5"
    (file,) = folder.iterdir()
    footer = pq.read_metadata(file)
    assert footer.num_rows == 2_000
    assert [footer.schema.column(n).name for n in range(footer.num_columns)] == list(TRIP_COLUMNS)
    assert footer.schema.column(1).physical_type == "INT96"
    assert "SYNTHETIC – made by confidential-spark, not TLC data" in footer.metadata[SYNTHETIC_KEY].decode()
    assert carries_synthetic_mark(footer)


def test_large_months_are_split_into_files_and_row_groups(tmp_path, monkeypatch):
    monkeypatch.setattr(trips, "ROWS_PER_FILE", 2_000)
    monkeypatch.setattr(trips, "ROWS_PER_GROUP", 700)
    folder = trips.write_month(MAY, 5_000, tmp_path)
    footers = [pq.read_metadata(file) for file in sorted(folder.iterdir())]
    assert [(footer.num_rows, footer.num_row_groups) for footer in footers] == [
        (2000, 3),
        (2000, 3),
        (1000, 2),
    ]


def test_no_more_than_one_row_group_is_made_at_a_time(tmp_path, monkeypatch):
    pieces, chunk = [], TripModel.chunk

    def recorded(model: TripModel, first: int, last: int) -> pa.Table:
        pieces.append(range(first, last))
        return chunk(model, first, last)

    monkeypatch.setattr(trips, "ROWS_PER_FILE", 2_000)
    monkeypatch.setattr(trips, "ROWS_PER_GROUP", 700)
    monkeypatch.setattr(TripModel, "chunk", recorded)
    trips.write_month(MAY, 5_000, tmp_path)
    assert max(map(len, pieces)) == 700
    assert [row for piece in pieces for row in piece] == list(range(5_000))


def test_the_settings_bound_is_the_models():
    assert Le(trips.MAX_ROWS) in Settings.model_fields["synthetic_rows"].metadata


@pytest.mark.parametrize(
    ("month", "has_zones"),
    [
        pytest.param(Month(2009, 1), False, id="first"),
        pytest.param(Month(2016, 6), False, id="last-with-coordinates"),
        pytest.param(Month(2016, 7), True, id="first-with-zones"),
        pytest.param(Month(2018, 2), True, id="2018"),
    ],
)
def test_each_era_has_either_coordinates_or_zones(month, has_zones):
    table = TripModel(month, 2_000, seed=1).chunk(0, 2_000)
    for name in ("puLocationId", "doLocationId"):
        assert table[name].null_count == (0 if has_zones else 2_000)
    for name in ("startLon", "startLat", "endLon", "endLat"):
        assert table[name].null_count == (2_000 if has_zones else 0)


@pytest.mark.parametrize(
    ("month", "spellings"),
    [
        pytest.param(Month(2009, 5), {"Credit", "CREDIT", "CASH", "Cash"}, id="2009-words"),
        pytest.param(Month(2013, 5), {"CRD", "Cre", "CSH", "CAS", "Cas"}, id="2013-abbreviations"),
        pytest.param(Month(2018, 5), {"1", "2"}, id="2018-codes"),
    ],
)
def test_payment_types_are_spelt_as_in_their_era(month, spellings):
    table = TripModel(month, 4_000, seed=1).chunk(0, 4_000)
    assert spellings <= set(table["paymentType"].to_pylist())


@pytest.mark.parametrize(
    ("quirk", "expected"),
    [
        pytest.param('"tripDistance" = 0', 0.012, id="distance-0"),
        pytest.param('"passengerCount" = 0', 0.0195, id="passengers-0"),
        pytest.param(
            '"vendorID" IS NULL AND "paymentType" IS NULL AND "passengerCount" IS NULL', 0.023, id="null"
        ),
        pytest.param('"vendorID" IS NULL', 0.023, id="null-only-together"),
        pytest.param('"fareAmount" < 0', 0.0023, id="negative-fare"),
        pytest.param(
            '"tpepDropoffDateTime" - "tpepPickupDateTime" > INTERVAL 6 HOUR', 0.0021, id="over-6-hours"
        ),
        pytest.param('"tpepDropoffDateTime" < "tpepPickupDateTime"', 0.0004, id="backwards"),
        pytest.param("\"puLocationId\" IN ('264', '265')", 0.012, id="unknown-zone"),
        pytest.param("strftime(\"tpepPickupDateTime\", '%Y-%m') <> '2018-05'", 0.0003, id="outside-month"),
        pytest.param("\"paymentType\" LIKE '-73.%'", 0.0005, id="payment-garbage"),
    ],
)
def test_quirks_have_their_measured_shares(sample, quirk, expected):
    # Five standard deviations of a binomial share over 400,000 rows.
    assert share(sample, quirk) == pytest.approx(expected, abs=5 * (expected / 400_000) ** 0.5)


def test_every_amount_is_whole_cents_and_adds_up(sample):
    parts = '"fareAmount"+"extra"+"mtaTax"+CAST("improvementSurcharge" AS DOUBLE)+"tipAmount"+"tollsAmount"'
    assert share(sample, f'round(100 * ({parts})) = round(100 * "totalAmount")') == 1
    assert share(sample, '"totalAmount" = round("totalAmount" * 100) / 100') == 1


def test_the_outlier_fare_occurs_once():
    table = TripModel(MAY, 2_000, seed=1).chunk(0, 2_000)
    assert [fare for fare in table["fareAmount"].to_pylist() if fare > 1_000] == [429_490.2]


def test_evenings_are_busier_than_nights_and_fares_follow_distance(sample):
    assert share(sample, 'hour("tpepPickupDateTime") = 18') > 4 * share(
        sample, 'hour("tpepPickupDateTime") = 4'
    )
    assert scalar(sample, 'corr("tripDistance", "fareAmount")', '"fareAmount" BETWEEN 0 AND 1000') > 0.9


def test_an_existing_month_of_the_same_parameters_is_kept(tmp_path):
    (file,) = trips.write_month(MAY, 2_000, tmp_path).iterdir()
    before = file.stat().st_ino
    trips.write_month(MAY, 2_000, tmp_path)
    assert file.stat().st_ino == before


def test_a_synthetic_month_of_other_parameters_is_replaced(tmp_path):
    trips.write_month(MAY, 2_000, tmp_path)
    (file,) = trips.write_month(MAY, 1_000, tmp_path).iterdir()
    assert pq.read_metadata(file).num_rows == 1_000
    assert {entry.name for entry in (tmp_path / "puYear=2018").iterdir()} == {"puMonth=5", ".puMonth=5.lock"}


def test_real_data_is_never_overwritten(tmp_path):
    folder = tmp_path / "puYear=2018" / "puMonth=5"
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"a": [1]}), folder / "part-00000.c000.snappy.parquet")
    before = digests(folder)
    with pytest.raises(InputError, match="synthetic-over-real"):
        trips.write_month(MAY, 1_000, tmp_path)
    assert digests(folder) == before


@pytest.mark.parametrize("rows", [-1, 0, trips.MAX_ROWS + 1])
def test_refuses_senseless_numbers_of_rows(tmp_path, rows):
    with pytest.raises(ConfigurationError, match="synthetic-rows"):
        trips.write_month(MAY, rows, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_folders_place_is_a_clear_error(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(ConfigurationError, match="synthetic-unwritable"):
        trips.write_month(MAY, 1_000, tmp_path / "out")


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    def no_space(path: Path) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(trips, "_sync", no_space)
    with pytest.raises(ConfigurationError, match="No space left"):
        trips.write_month(MAY, 1_000, tmp_path)
    assert [entry.name for entry in (tmp_path / "puYear=2018").iterdir()] == [".puMonth=5.lock"]


def test_a_killed_writer_leaves_no_month_and_the_next_one_succeeds(tmp_path):
    program = "import sys; from confidential_spark.simulation.trips.month import main; main(sys.argv[1:])"
    arguments = ["--month", "2018-05", "--rows", "9000000", "--output", str(tmp_path)]
    writer = subprocess.Popen([sys.executable, "-c", program, *arguments], env={**os.environ})
    year = tmp_path / "puYear=2018"
    while not list(year.glob(".puMonth=5.partial-*/*.parquet")):
        assert writer.poll() is None
        time.sleep(0.01)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert not (year / "puMonth=5").exists()
    assert len(list(trips.write_month(MAY, 1_000, tmp_path).iterdir())) == 1
    assert {entry.name for entry in year.iterdir()} == {"puMonth=5", ".puMonth=5.lock"}


def test_command_line_reports_success_and_failure(tmp_path, capsys):
    assert trips.main(["--month", "2018-05", "--rows", "1000", "--output", str(tmp_path)]) == 0
    assert "SYNTHETIC" in capsys.readouterr().out
    assert trips.main(["--month", "2018-13", "--rows", "1000", "--output", str(tmp_path)]) == 1
    assert "month-malformed" in capsys.readouterr().err


@given(weights=st.lists(st.integers(0, 1000), min_size=1, max_size=50).filter(any), slots=st.integers(1, 500))
def test_allot_gives_each_weight_its_share_to_within_one(weights, slots):
    given_slots = list(allot(weights, slots))
    assert len(given_slots) == slots
    for index, weight in enumerate(weights):
        assert abs(given_slots.count(index) - slots * weight / sum(weights)) <= 1


def test_a_job_with_a_table_of_its_own_makes_its_own_rows(tmp_path):
    def stations(month, numbers):
        return pa.table({"extra": list(numbers), "station": [f"{month} {n}" for n in numbers]})

    contract = InputContract("a station file", {"station": Kind.STRING}, synthetic=stations)
    folder = trips.write_month(MAY, 1_000, tmp_path, contract=contract)
    manifest = read_manifest(str(tmp_path), MAY, contract)
    assert (manifest.rows, manifest.synthetic) == (1_000, True)
    (file,) = folder.iterdir()
    table = pq.ParquetFile(file).read()
    assert table.column_names == ["station"]
    assert table["station"].to_pylist()[::999] == ["2018-05 0", "2018-05 999"]
