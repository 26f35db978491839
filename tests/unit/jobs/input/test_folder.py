"""Folders in which not every file counts, or not every file is there yet."""

import json
import os
import shutil
from pathlib import Path

import pytest
from confidential_spark.core.errors import InputError
from confidential_spark.core.months import Month
from confidential_spark.jobs.input.folder import data_files
from confidential_spark.jobs.input.manifest import read_manifest
from confidential_spark.jobs.nytaxi.trip_schema import TRIPS
from confidential_spark.simulation.trips.month import write_month

from tests.conftest import SHARED

MAY = Month(2018, 5)
TROUBLE = SHARED / "trouble" / "data"


@pytest.fixture
def root(tmp_path) -> Path:
    return tmp_path / "yellow"


@pytest.fixture
def folder(root) -> Path:
    """A month's folder with two files, which nobody opens."""
    folder = root / "puYear=2018" / "puMonth=5"
    folder.mkdir(parents=True)
    for number in range(2):
        (folder / f"part-0000{number}-tid-7{number}-a.c000.snappy.parquet").write_text("rows")
    return folder


def refusal(folder: Path) -> InputError:
    with pytest.raises(InputError) as caught:
        data_files(folder, MAY)
    return caught.value


def touch(path: Path, text: str = "{}") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("make", "got"),
    [
        pytest.param(Path.mkdir, "a.parquet, a folder", id="folder"),
        pytest.param(os.mkfifo, "a.parquet, no regular file", id="pipe"),
    ],
)
def test_what_only_has_a_files_name_is_refused_and_says_what_it_is(folder, make, got):
    make(folder / "a.parquet")
    error = refusal(folder)
    assert (error.code, error.got) == ("input-foreign-file", got)


@pytest.mark.parametrize(
    ("log", "got"),
    [
        pytest.param("_delta_log/00000000000000000000.json", "Delta Lake: ", id="delta"),
        pytest.param(".hoodie/hoodie.properties", "Hudi: ", id="hudi"),
        pytest.param("metadata/v3.metadata.json", "Iceberg: ", id="iceberg"),
        pytest.param("metadata/version-hint.text", "Iceberg: ", id="iceberg-of-hadoop"),
        pytest.param("_spark_metadata/0", "a Spark stream: ", id="spark-stream"),
    ],
)
@pytest.mark.parametrize("above", [0, 1, 2, 3], ids=["month", "year", "table", "above-the-data"])
def test_a_table_is_refused_wherever_its_log_is(root, folder, log, got, above):
    place = [folder, *folder.parents][above]
    touch(place / log)
    error = refusal(folder)
    assert (error.code, error.retryable) == ("input-is-a-table", False)
    assert error.got == f"{got}{place / log.split('/')[0]}"


def test_a_link_into_a_table_is_refused(root, folder, tmp_path):
    touch(root / "_delta_log" / "0.json")
    (tmp_path / "elsewhere").symlink_to(folder)
    assert refusal(tmp_path / "elsewhere").code == "input-is-a-table"


def test_a_table_without_the_months_folder_is_refused_as_a_table(root, folder):
    touch(root / "_delta_log" / "0.json")
    assert refusal(root / "puYear=2018" / "puMonth=6").code == "input-is-a-table"


@pytest.mark.parametrize(
    "name", ["metadata/notes.txt", "metadata.json", "_delta_log", ".hoodie_backup", "delta_log/0.json"]
)
def test_what_only_resembles_a_log_is_none(root, folder, name):
    touch(root / name)
    assert len(data_files(folder, MAY)) == 2


@pytest.mark.parametrize(
    "mark",
    [
        pytest.param("_temporary/0/task/a.parquet", id="spark"),
        pytest.param(".spark-staging-1234/puMonth=5/a.parquet", id="spark-overwrites-partitions"),
        pytest.param(".hive-staging_hive_2026/a", id="hive"),
        pytest.param("_impala_insert_staging/a", id="impala"),
    ],
)
@pytest.mark.parametrize("above", [0, 1, 2], ids=["month", "year", "root"])
def test_a_folder_that_is_being_written_is_refused(folder, mark, above):
    place = [folder, *folder.parents][above]
    touch(place / mark)
    error = refusal(folder)
    assert error.code == "input-being-written"
    assert str(place / mark.split("/")[0]) in error.got


def test_what_a_finished_writer_left_does_no_harm(folder):
    (folder / "_temporary").mkdir()
    (folder / "_SUCCESS").touch()
    assert len(data_files(folder, MAY)) == 2


@pytest.mark.parametrize(
    ("marks", "code"),
    [
        pytest.param({"_started_70": ""}, "input-being-written", id="not-committed"),
        pytest.param({"_started_70": "", "_committed_71": "{}"}, "input-being-written", id="other-committed"),
        pytest.param(
            {"_started_70": "", "_committed_70": "{}", "_started_71": "", "_committed_71": "x"},
            None,
            id="all",
        ),
        pytest.param({"_started_99": ""}, None, id="transaction-without-files"),
        pytest.param(
            {"_committed_71": "part-00000-tid-70-a.c000.snappy.parquet"}, "input-is-a-table", id="removed"
        ),
        pytest.param(
            {"_committed_71": "part-00000-tid-69-a.c000.snappy.parquet"}, None, id="removed-and-gone"
        ),
        pytest.param({"_committed_vacuum1": "x", "_committed_2": "[" * 99_999}, None, id="no-list"),
    ],
)
def test_files_of_a_transaction_count_once_it_is_committed(folder, marks, code):
    for name, content in marks.items():
        removes = content.endswith(".parquet")
        touch(folder / name, json.dumps({"added": [], "removed": [content]}) if removes else content)
    if code:
        assert refusal(folder).code == code
    else:
        assert len(data_files(folder, MAY)) == 2


def test_files_whose_names_do_not_tell_their_transaction_may_be_of_any(folder):
    (folder / "a.parquet").touch()
    touch(folder / "_started_99")
    assert refusal(folder).code == "input-being-written"


@pytest.fixture
def synthetic(tmp_path) -> Path:
    return write_month(MAY, 1_000, tmp_path / "synthetic")


def duplicate(synthetic: Path, change) -> InputError:
    (first,) = synthetic.iterdir()
    change(first, first.with_name("again.parquet"))
    with pytest.raises(InputError) as caught:
        read_manifest(str(synthetic.parents[1]), MAY, TRIPS)
    assert caught.value.code == "input-duplicate-file"
    assert {first.name, "again.parquet"} <= set(caught.value.got.replace(":", " ").split())
    return caught.value


def rewrite(first: Path, second: Path) -> None:
    import pyarrow.parquet as pq

    with pq.ParquetFile(first) as file:
        table = file.read()
    pq.write_table(
        table, second, compression="zstd", row_group_size=300, use_deprecated_int96_timestamps=True
    )


@pytest.mark.parametrize(
    ("change", "likeness"),
    [
        pytest.param(shutil.copy, "the same bytes", id="copy"),
        pytest.param(lambda first, second: second.symlink_to(first.name), "is a link", id="link"),
        pytest.param(lambda first, second: second.hardlink_to(first), "is a link", id="hard-link"),
        pytest.param(rewrite, "as many rows", id="written-anew"),
    ],
)
def test_rows_that_are_there_twice_are_refused_by_both_names(synthetic, change, likeness):
    assert likeness in duplicate(synthetic, change).got


def test_files_without_a_row_may_be_alike(synthetic):
    import pyarrow.parquet as pq

    (first,) = synthetic.iterdir()
    with pq.ParquetFile(first) as file:
        empty = file.read().slice(0, 0)
    for name in ("b.parquet", "c.parquet"):
        pq.write_table(empty, first.with_name(name), use_deprecated_int96_timestamps=True)
    assert read_manifest(str(synthetic.parents[1]), MAY, TRIPS).rows == 1_000


@pytest.mark.shared
@pytest.mark.parametrize(
    ("case", "code"),
    [("delta-table-with-removed-file", "input-is-a-table"), ("same-file-twice", "input-duplicate-file")],
)
def test_known_trouble_is_refused_by_name(case, code):
    if not TROUBLE.is_dir():
        pytest.skip(f"no cases: {TROUBLE} is absent")
    with pytest.raises(InputError) as caught:
        read_manifest(str(TROUBLE / case), MAY, TRIPS)
    assert caught.value.code == code
