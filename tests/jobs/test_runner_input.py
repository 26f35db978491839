"""What the runner makes of input files: only the declared columns count, each file by its own footer."""

from __future__ import annotations

import decimal
import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from confidential_spark.jobs.input.sidecar_checksums import fits_its_checksums

from tests.support.encrypted_parquet import write_encrypted

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

pytestmark = pytest.mark.spark
NUMBERS = pa.array([1, 2, 3], pa.int32())
TWO = pa.table({"a": NUMBERS, "b": NUMBERS})
TEXT_OR_NUMBER = ["string", "int", "bigint"]
DAY = datetime(2018, 5, 1)


def write(path: Path, columns: Mapping[str, pa.Array], **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, **options)


def asks(columns: Mapping[str, list[str]], sql: str = "SELECT a FROM trips ORDER BY a") -> dict[str, Any]:
    query = {"name": "q", "sql": sql, "max_rows": 100}
    return {"v": 1, "job": "test", "input": {"trips": dict(columns)}, "queries": [query]}


def values(calls: Any, folder: Path, *kinds: str) -> list[Any]:
    rows = calls.rows(asks({"a": list(kinds or TEXT_OR_NUMBER)}), folder.as_uri())
    return [row["a"] for row in rows]


def extension(kind: pa.DataType, value: Any) -> pa.Array:
    return pa.ExtensionArray.from_storage(kind, pa.array([value] * 3, kind.storage_type))


STRANGE = {
    "float16-newer-than-this-parquet": pa.array([1.0, 2.0, 3.0]).cast(pa.float16()),
    "uint64": pa.array([1, 2, 3], pa.uint64()),
    "nanoseconds": pa.array([1, 2, 3], pa.timestamp("ns")),
    "time": pa.array([1, 2, 3], pa.time64("ns")),
    "decimal-60": pa.array([decimal.Decimal(1)] * 3, pa.decimal256(60, 2)),
    "list": pa.array([[1], [], None]),
    "list-of-structs": pa.array([[{"a": [1]}], [], None]),
    "struct": pa.array([{"a": "x"}, {"a": None}, None]),
    "map": pa.array([[("k", 1)], [], None], pa.map_(pa.string(), pa.int32())),
    "null": pa.nulls(3),
    "binary": pa.array([b"\xff", b"", None]),
    "fixed-binary": pa.array([b"abc"] * 3, pa.binary(3)),
    "uuid": extension(pa.uuid(), b"0123456789abcdef"),
    "json": extension(pa.json_(), "{}"),
    "duration": pa.array([1, 2, 3], pa.duration("us")),
}


@pytest.mark.parametrize("column", [pytest.param(column, id=name) for name, column in STRANGE.items()])
def test_the_type_of_a_column_that_nobody_declared_does_not_matter(runner_calls, tmp_path, column):
    write(tmp_path / "a.parquet", {"a": NUMBERS, "other": column})

    assert values(runner_calls, tmp_path) == [1, 2, 3]


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(["a", "A"], id="other-case"),
        pytest.param(["a", "b", "b"], id="name-twice"),
        pytest.param(["a", "x y,;{}()\n\t=", "", "a.b", "`"], id="odd-characters"),
    ],
)
def test_the_name_of_a_column_that_nobody_declared_does_not_matter(runner_calls, tmp_path, names):
    pq.write_table(pa.Table.from_arrays([NUMBERS] * len(names), names), tmp_path / "a.parquet")

    assert values(runner_calls, tmp_path) == [1, 2, 3]


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"compression": {"a": "snappy", "b": "brotli"}}, id="unknown-codec"),
        pytest.param(
            {"use_dictionary": False, "column_encoding": {"a": "PLAIN", "b": "BYTE_STREAM_SPLIT"}},
            id="unknown-encoding",
        ),
    ],
)
def test_how_an_undeclared_column_is_stored_does_not_matter(runner_calls, tmp_path, options):
    write(tmp_path / "a.parquet", {"a": NUMBERS, "b": NUMBERS}, **options)

    assert values(runner_calls, tmp_path) == [1, 2, 3]


def test_an_encrypted_column_that_nobody_declared_does_not_matter(runner_calls, tmp_path):
    write_encrypted(tmp_path / "a.parquet", TWO, plaintext_footer=True, column_keys={"k": ["b"]})

    assert values(runner_calls, tmp_path) == [1, 2, 3]


UNREADABLE = {
    "encrypted-column": (
        lambda path: write_encrypted(path, TWO, plaintext_footer=True, column_keys={"k": ["a"]}),
        "a.parquet, column a: encrypted",
    ),
    "encrypted-footer": (
        lambda path: write_encrypted(path, TWO, column_keys={"k": ["b"]}),
        "encrypted footer",
    ),
    "codec": (lambda path: write(path, {"a": NUMBERS}, compression="brotli"), "column a: codec BROTLI"),
    "encoding": (
        lambda path: write(
            path, {"a": NUMBERS}, use_dictionary=False, column_encoding={"a": "BYTE_STREAM_SPLIT"}
        ),
        "column a: encoding BYTE_STREAM_SPLIT",
    ),
    "no-parquet": (lambda path: path.write_bytes(b"x" * 100), "a.parquet: RuntimeException: "),
    "empty-file": (lambda path: path.write_bytes(b""), "length is too low: 0"),
    "other-name": (lambda path: path.with_suffix(".csv").write_text("a\n1\n"), "a.csv: no *.parquet file"),
    "folder": (lambda path: path.mkdir(), "a.parquet: no *.parquet file"),
    "nothing": (lambda path: None, "no file"),
    "hidden-only": (lambda path: write(path.with_name("_a.parquet"), {"a": NUMBERS}), "no file"),
}


@pytest.mark.parametrize(("make", "got"), [pytest.param(*case, id=name) for name, case in UNREADABLE.items()])
def test_unreadable_input_is_named(runner_calls, tmp_path, make, got):
    make(tmp_path / "a.parquet")
    refused = runner_calls.refuse(asks({"a": TEXT_OR_NUMBER}), tmp_path.as_uri())

    assert (refused.exit, refused.code) == (66, "input-unreadable")
    assert got in refused.got


def test_a_folder_that_is_not_there_is_named(runner_calls, tmp_path):
    refused = runner_calls.refuse(asks({"a": TEXT_OR_NUMBER}), (tmp_path / "absent").as_uri())

    assert (refused.exit, refused.code) == (66, "input-unreadable")


OTHER_SCHEMA = {
    "missing": ({"b": NUMBERS}, "a is missing"),
    "double": ({"a": pa.array([1.5])}, "a is double"),
    "list": ({"a": pa.array([[1]])}, "a is array<bigint>"),
    "unsigned": ({"a": pa.array([1], pa.uint64())}, "a is decimal(20,0)"),
    "nanoseconds": ({"a": pa.array([1], pa.timestamp("ns"))}, "a is timestamp_ntz"),
    "float16": ({"a": pa.array([1.0]).cast(pa.float16())}, "a is binary"),
    "plain-binary": ({"a": pa.array([b"a"])}, "a is binary"),
}


@pytest.mark.parametrize(
    ("columns", "got"), [pytest.param(*case, id=name) for name, case in OTHER_SCHEMA.items()]
)
def test_another_schema_names_file_and_column(runner_calls, tmp_path, columns, got):
    write(tmp_path / "good.parquet", {"a": NUMBERS})
    write(tmp_path / "other.parquet", columns)
    refused = runner_calls.refuse(asks({"a": TEXT_OR_NUMBER}), tmp_path.as_uri())

    assert (refused.exit, refused.code, refused.got) == (66, "input-schema", f"other.parquet: {got}")


def test_a_declared_column_that_is_there_twice_is_refused(runner_calls, tmp_path):
    pq.write_table(pa.Table.from_arrays([NUMBERS] * 2, ["a", "a"]), tmp_path / "x.parquet")
    refused = runner_calls.refuse(asks({"a": TEXT_OR_NUMBER}), tmp_path.as_uri())

    assert refused.got == "x.parquet: a is 2 columns of this name"


NEW = {
    "name": "new",
    "one_of": ["tax", "fee"],
    "columns": {"a": {"from": "A1", "types": ["bigint", "int"]}, "b": {"from": "b", "types": ["string"]}},
}
OLD = {
    "name": "old",
    "columns": {"a": {"from": "number", "types": ["int"]}, "b": {"types": ["string"]}},
}
VERSIONS = {
    "new": ({"A1": NUMBERS, "b": pa.array(["x", "y", None]), "fee": NUMBERS}, "new", ["x", "y", None]),
    "new-in-another-case": (
        {"B": pa.array(["x", "y", "z"]), "a1": NUMBERS, "TAX": pa.nulls(3)},
        "new",
        ["x", "y", "z"],
    ),
    "old": ({"number": NUMBERS, "b": NUMBERS, "fee": NUMBERS}, "old", [None] * 3),
    "both": ({"number": NUMBERS, "A1": NUMBERS, "b": pa.array(["x"] * 3), "tax": NUMBERS}, "new", ["x"] * 3),
}


def asks_for_versions(*versions: dict[str, Any]) -> dict[str, Any]:
    return asks({}, "SELECT a, b FROM trips ORDER BY a") | {"input": {"trips": list(versions)}}


@pytest.mark.parametrize(
    ("columns", "version", "b"), [pytest.param(*case, id=name) for name, case in VERSIONS.items()]
)
def test_the_first_version_that_fits_every_file_is_read(runner_calls, tmp_path, columns, version, b):
    write(tmp_path / "in" / "a.parquet", columns)
    (tmp_path / "rows").mkdir()
    runner_calls.run(asks_for_versions(NEW, OLD), (tmp_path / "in").as_uri(), tmp_path / "rows")
    figures = json.loads((tmp_path / "rows" / "figures.json").read_text())
    assert figures["input"]["trips"]["version"] == version
    rows = [json.loads(line) for line in (tmp_path / "rows" / "q.jsonl").read_text().splitlines()]
    assert rows == [{"a": n, "b": text} for n, text in enumerate(b, 1)]


@pytest.mark.parametrize(
    ("columns", "got"),
    [
        pytest.param(
            {"A1": NUMBERS, "tax": NUMBERS}, "b is missing (as of new, the nearest version)", id="missing"
        ),
        pytest.param(
            {"A1": NUMBERS, "b": NUMBERS, "tax": NUMBERS},
            "b is int (as of new, the nearest version)",
            id="type",
        ),
        pytest.param(
            {"A1": NUMBERS, "b": pa.array(["x"] * 3)},
            "tax or fee is missing (as of new, the nearest version)",
            id="mark",
        ),
        pytest.param({"other": NUMBERS}, "number is missing (as of old, the nearest version)", id="nothing"),
        pytest.param(
            {"NUMBER": NUMBERS, "Number": NUMBERS},
            "number is 2 columns of this name (as of old, the nearest version)",
            id="two-in-other-cases",
        ),
    ],
)
def test_files_of_no_version_are_refused_with_the_nearest(runner_calls, tmp_path, columns, got):
    write(tmp_path / "a.parquet", columns)
    refused = runner_calls.refuse(asks_for_versions(NEW, OLD), tmp_path.as_uri())
    assert (refused.exit, refused.code, refused.got) == (66, "input-schema", f"a.parquet: {got}")


def test_files_of_two_versions_are_not_one_month(runner_calls, tmp_path):
    write(tmp_path / "a.parquet", {"A1": NUMBERS, "b": pa.array(["x"] * 3), "tax": NUMBERS})
    write(tmp_path / "b.parquet", {"number": NUMBERS})
    refused = runner_calls.refuse(asks_for_versions(NEW, OLD), tmp_path.as_uri())
    assert refused.got == "a.parquet: number is missing (as of old, the nearest version)"


def test_one_file_is_an_input_whatever_is_beside_it(runner_calls, tmp_path):
    write(tmp_path / "a.parquet", {"a": NUMBERS})
    (tmp_path / "b.csv").write_text("x")
    rows = runner_calls.rows(asks({"a": TEXT_OR_NUMBER}), (tmp_path / "a.parquet").as_uri())
    assert [row["a"] for row in rows] == [1, 2, 3]


@pytest.mark.parametrize("zone", [None, "UTC"])
def test_nanoseconds_are_read_as_microseconds_rounded_down(runner_calls, tmp_path, zone):
    moments = pa.array([1_525_132_800_000_000_999, -1, None], pa.int64()).cast(pa.timestamp("ns", zone))
    write(tmp_path / "a.parquet", {"a": moments})
    kind, mark = ("timestamp", "Z") if zone else ("timestamp_ntz", "")
    expected = [None, f"1969-12-31T23:59:59.999999{mark}", f"2018-05-01T00:00:00.000000{mark}"]
    assert values(runner_calls, tmp_path, kind) == expected


MIXED = {
    "int-bigint": ([NUMBERS, pa.array([2**40])], TEXT_OR_NUMBER, [1, 2, 3, 2**40]),
    "int-text": ([NUMBERS, pa.array(["x"])], TEXT_OR_NUMBER, ["1", "2", "3", "x"]),
    "bigint-int-text": ([pa.array([7]), NUMBERS, pa.array(["x"])], TEXT_OR_NUMBER, ["1", "2", "3", "7", "x"]),
    "float-double": (
        [pa.array([0.5], pa.float32()), pa.array([0.1])],
        ["double", "float"],
        [0.1, 0.5],
    ),
    "int-double": ([NUMBERS, pa.array([1.5])], ["int", "double"], [1.0, 1.5, 2.0, 3.0]),
    "tinyint-smallint": (
        [pa.array([1], pa.int8()), pa.array([300], pa.int16())],
        ["int", "smallint", "tinyint"],
        [1, 300],
    ),
    "local-utc": (
        [pa.array([DAY], pa.timestamp("us")), pa.array([DAY], pa.timestamp("us", "UTC"))],
        ["timestamp", "timestamp_ntz"],
        ["2018-05-01T00:00:00.000000Z"] * 2,
    ),
}


@pytest.mark.parametrize(
    ("columns", "kinds", "expected"), [pytest.param(*case, id=name) for name, case in MIXED.items()]
)
def test_files_of_several_types_are_read_as_one_that_holds_all(
    runner_calls, tmp_path, columns, kinds, expected
):
    for number, column in enumerate(columns):
        write(tmp_path / f"{number}.parquet", {"other": column, "a": column})

    assert values(runner_calls, tmp_path, *kinds) == expected


def test_types_that_none_holds_without_loss_are_refused(runner_calls, tmp_path):
    write(tmp_path / "a.parquet", {"a": pa.array([2**60])})
    write(tmp_path / "b.parquet", {"a": pa.array([0.5])})
    refused = runner_calls.refuse(asks({"a": ["bigint", "double"]}), tmp_path.as_uri())

    assert (refused.exit, refused.code, refused.got) == (66, "input-schema", "b.parquet: a is double")


@pytest.mark.parametrize("name", ["sp ace", "50%41", "[x]{y},*?", "puYear=2018", "é"])
def test_names_of_folders_and_files_are_only_names(runner_calls, tmp_path, name):
    write(tmp_path / name / f"{name}.parquet", {"a": NUMBERS})
    (tmp_path / name / "_SUCCESS").touch()
    (tmp_path / name / ".crc").touch()

    assert values(runner_calls, tmp_path / name) == [1, 2, 3]


def test_a_column_is_never_taken_from_the_folders_name(runner_calls, tmp_path):
    folder = tmp_path / "a=9"
    write(folder / "x.parquet", {"a": NUMBERS})

    assert values(runner_calls, folder) == [1, 2, 3]


def test_old_timestamps_are_read_as_they_are(runner_calls, tmp_path):
    """A stray row of a year long past: Spark's default would stop, or shift it by days."""
    write(
        tmp_path / "a.parquet",
        {"a": pa.array([datetime(1500, 1, 1)], pa.timestamp("us"))},
        use_deprecated_int96_timestamps=True,
    )
    assert values(runner_calls, tmp_path, "timestamp") == ["1500-01-01T00:00:00.000000Z"]


@pytest.mark.parametrize("size", [0, 511, 512, 513, 100_000])
def test_the_pipeline_reads_hadoops_checksum_files_as_hadoop_writes_them(runner_calls, tmp_path, size):
    java, path = runner_calls.java, tmp_path / "a.parquet"
    files = java.org.apache.hadoop.fs.FileSystem.getLocal(java.org.apache.hadoop.conf.Configuration())
    stream = files.create(java.org.apache.hadoop.fs.Path(str(path)))
    stream.write(bytes(n % 251 for n in range(size)))
    stream.close()
    assert path.stat().st_size == size
    assert fits_its_checksums(path, tmp_path / ".a.parquet.crc")
    path.write_bytes(path.read_bytes() + b"x")
    assert not fits_its_checksums(path, tmp_path / ".a.parquet.crc")
