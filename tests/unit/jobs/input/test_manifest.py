import hashlib
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from confidential_spark.core.errors import ConfidentialSparkError, InputError
from confidential_spark.core.months import Month
from confidential_spark.jobs.input import manifest as input_manifest
from confidential_spark.jobs.input.contract import SYNTHETIC_KEY, Kind
from confidential_spark.jobs.input.manifest import InputTotals, read_again, read_manifest
from confidential_spark.jobs.nytaxi.trip_schema import TRIP_COLUMNS, TRIPS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.places import SHARED

MAY = Month(2018, 5)
TYPES = {
    Kind.STRING: pa.string(),
    Kind.TIMESTAMP: pa.timestamp("us"),
    Kind.INTEGER: pa.int32(),
    Kind.DOUBLE: pa.float64(),
}
NOBODY = 65534


def trips(rows: int = 3, **replaced: pa.DataType) -> pa.Table:
    types = {name: TYPES[kind] for name, kind in TRIP_COLUMNS.items()} | replaced
    return pa.table({name: pa.nulls(rows, kind) for name, kind in types.items()})


def write(table: pa.Table, path: Path, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, **({"use_deprecated_int96_timestamps": True} | options))
    return path


@pytest.fixture
def root(tmp_path) -> Path:
    return tmp_path / "yellow"


@pytest.fixture
def folder(root) -> Path:
    return root / "puYear=2018" / "puMonth=5"


def refusal(root: Path) -> InputError:
    with pytest.raises(InputError) as caught:
        read_manifest(str(root), MAY, TRIPS)
    return caught.value


def test_lists_every_data_file_with_its_digest(root, folder):
    write(trips(3), folder / "b.parquet")
    first = write(trips(5), folder / "a.parquet", row_group_size=2)
    for ignored in ("_SUCCESS", "._SUCCESS.crc", ".hidden", ".a.parquet.crc", "_committed_12"):
        (folder / ignored).write_text("x")
    manifest = read_manifest(root.as_uri(), MAY, TRIPS)
    assert manifest.uri == f"file://{folder}"
    assert [(file.name, file.rows, file.row_groups) for file in manifest.files] == [
        ("a.parquet", 5, 3),
        ("b.parquet", 3, 1),
    ]
    assert manifest.files[0].sha256 == hashlib.sha256(first.read_bytes()).hexdigest()
    assert manifest.files[0].bytes == first.stat().st_size
    assert (manifest.rows, manifest.synthetic, manifest.version) == (8, False, "azure-open-datasets")
    assert set(manifest.columns) | set(manifest.extra_columns) == set(TRIP_COLUMNS)


def test_its_own_uri_reads_the_same_month(root, folder):
    write(trips(), folder / "a.parquet")
    manifest = read_manifest(str(root), MAY, TRIPS)
    assert read_again(manifest.uri, MAY, TRIPS) == manifest


def test_a_folder_that_a_template_named_can_be_read_again(root):
    write(trips(), root / "2018-05" / "a.parquet")
    manifest = read_manifest(f"{root}/{{year}}-{{month:02d}}", MAY, TRIPS)
    assert read_again(manifest.uri, MAY, TRIPS) == manifest


def test_the_summary_survives_json(root, folder):
    write(trips(), folder / "a.parquet")
    manifest = read_manifest(str(root), MAY, TRIPS)
    assert InputTotals.from_dict(json.loads(json.dumps(manifest.summary()))) == manifest.totals()
    assert len(json.dumps(manifest.summary())) < 1_000


def test_the_list_digest_covers_every_field(root, folder):
    write(trips(3), folder / "a.parquet")
    before = read_manifest(str(root), MAY, TRIPS).totals()
    (folder / "a.parquet").rename(folder / "b.parquet")
    after = read_manifest(str(root), MAY, TRIPS).totals()
    assert before.files_sha256 != after.files_sha256
    assert before.bytes == after.bytes


def test_one_synthetic_file_makes_the_month_synthetic(root, folder):
    write(trips(), folder / "a.parquet")
    write(trips().replace_schema_metadata({SYNTHETIC_KEY: b"{}"}), folder / "b.parquet")
    assert read_manifest(str(root), MAY, TRIPS).synthetic


def test_extra_columns_are_allowed_and_reported(root, folder):
    nested = pa.table({"note": pa.nulls(3, pa.struct({"a": pa.int8(), "b": pa.int8()}))})
    table = (
        trips().append_column("note", nested["note"]).append_column("airportFee", pa.nulls(3, pa.float64()))
    )
    write(table, folder / "a.parquet")
    assert {"airportFee", "note"} <= set(read_manifest(str(root), MAY, TRIPS).extra_columns)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="int96"),
        pytest.param({"use_deprecated_int96_timestamps": False}, id="int64-micros"),
        pytest.param(
            {"use_deprecated_int96_timestamps": False, "coerce_timestamps": "ms"}, id="int64-millis"
        ),
        pytest.param({"compression": "zstd"}, id="zstd"),
        pytest.param({"version": "1.0"}, id="parquet-1"),
    ],
)
def test_accepts_each_way_spark_can_read(root, folder, options):
    write(trips(), folder / "a.parquet", **options)
    assert read_manifest(str(root), MAY, TRIPS).rows == 3


@pytest.mark.parametrize(
    ("table", "got"),
    [
        pytest.param(trips().drop_columns(["fareAmount"]), "fareAmount is missing", id="missing"),
        pytest.param(trips(fareAmount=pa.string()), "fareAmount is BYTE_ARRAY (String)", id="text-amount"),
        pytest.param(trips(passengerCount=pa.string()), "passengerCount is BYTE_ARRAY", id="text-count"),
        pytest.param(trips(passengerCount=pa.bool_()), "passengerCount is BOOLEAN", id="truth"),
        pytest.param(trips(passengerCount=pa.uint64()), "passengerCount is INT64 (Int)", id="unsigned"),
        pytest.param(trips(vendorID=pa.binary()), "vendorID is BYTE_ARRAY", id="bytes"),
        pytest.param(trips(paymentType=pa.null()), "paymentType is INT32 (Null)", id="untyped"),
        pytest.param(
            trips(tipAmount=pa.list_(pa.float64())),
            "tipAmount is nested, tipAmount.list.element DOUBLE instead of double or",
            id="list",
        ),
        pytest.param(trips(tpepPickupDateTime=pa.int64()), "tpepPickupDateTime is INT64", id="epoch"),
        pytest.param(
            trips(tpepPickupDateTime=pa.date32()), "tpepPickupDateTime is INT32 (Date)", id="date-only"
        ),
        pytest.param(
            trips().rename_columns({"tipAmount": "TipAmount", "startLon": "tipamount"}),
            "tipAmount occurs twice (tipamount, TipAmount)",
            id="two-in-other-cases",
        ),
        pytest.param(
            trips(extra=pa.string()).drop_columns(["tipAmount"]).set_column(0, "vendorID", pa.nulls(3)),
            "vendorID is INT32 (Null) instead of string or int or bigint or smallint or tinyint or double or"
            " float; tipAmount is missing (compared with azure-open-datasets, the nearest version)",
            id="every-difference",
        ),
    ],
)
def test_refuses_missing_and_retyped_columns(root, folder, table, got):
    write(table, folder / "a.parquet")
    error = refusal(root)
    assert error.code == "input-schema"
    assert got in error.got
    assert "a.parquet" in error.message
    assert error.expected.startswith("a version of a yellow-taxi file: azure-open-datasets, tlc-2025, ")


def test_two_columns_that_nobody_reads_may_differ_by_case_only(root, folder):
    nothing = pa.nulls(3, pa.string())
    write(trips().append_column("note", nothing).append_column("Note", nothing), folder / "a.parquet")
    assert {"note", "Note"} <= set(read_manifest(str(root), MAY, TRIPS).extra_columns)


def of_type(kind: pa.DataType, column: str = "passengerCount", **options):
    return trips(**{column: kind}), options


LOCAL = {"use_deprecated_int96_timestamps": False}
UTC = pa.timestamp("us", "UTC")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(of_type(pa.int32()), of_type(pa.float64()), id="int-and-double"),
        pytest.param(of_type(pa.int64(), "vendorID"), of_type(pa.string(), "vendorID"), id="number-and-text"),
        pytest.param((trips(), {}), (trips(), LOCAL), id="int96-and-local"),
        pytest.param(of_type(UTC, "tpepPickupDateTime", **LOCAL), (trips(), LOCAL), id="utc-and-local"),
        pytest.param((trips(), LOCAL), (trips(), LOCAL | {"coerce_timestamps": "ms"}), id="milliseconds"),
        pytest.param(
            of_type(pa.timestamp("ns"), "tpepPickupDateTime", **LOCAL), (trips(), LOCAL), id="nanoseconds"
        ),
    ],
)
def test_files_may_differ_where_one_type_holds_all(root, folder, first, second):
    write(first[0], folder / "a.parquet", **first[1])
    write(second[0], folder / "b.parquet", **second[1])
    assert read_manifest(str(root), MAY, TRIPS).rows == 6


@pytest.mark.parametrize(
    ("first", "second", "got"),
    [
        pytest.param(
            of_type(pa.int64()), of_type(pa.float64()), "passengerCount is DOUBLE", id="int64-and-double"
        ),
        pytest.param(
            of_type(pa.string(), "tpepPickupDateTime"),
            (trips(), LOCAL),
            "tpepPickupDateTime is INT64 (Timestamp)",
            id="text-and-time",
        ),
        pytest.param(
            of_type(pa.decimal128(8, 2), "tipAmount"),
            of_type(pa.decimal128(9, 3), "tipAmount"),
            "tipAmount is INT32 (Decimal)",
            id="two-decimals",
        ),
    ],
)
def test_refuses_files_whose_types_no_type_holds(root, folder, first, second, got):
    write(first[0], folder / "a.parquet", **first[1], store_decimal_as_integer=True)
    write(second[0], folder / "b.parquet", **second[1], store_decimal_as_integer=True)
    error = refusal(root)
    assert (error.code, error.got) == ("input-schema", f"b.parquet: {got}")
    assert "as in a.parquet" in error.expected


def break_file(change):
    def spoil(folder: Path) -> None:
        path = write(trips(3_000), folder / "a.parquet")
        path.write_bytes(change(path.read_bytes()))

    return spoil


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        pytest.param(break_file(lambda data: data[:-1]), "input-truncated", id="last-byte-lost"),
        pytest.param(break_file(lambda data: data[: len(data) // 2]), "input-truncated", id="half"),
        pytest.param(break_file(lambda data: data[:6]), "input-truncated", id="six-bytes"),
        pytest.param(break_file(lambda data: b""), "input-truncated", id="no-bytes"),
        pytest.param(break_file(lambda data: data[:40] + data[400:]), "input-truncated", id="middle-lost"),
        pytest.param(
            break_file(lambda data: data[:-8] + b"\xff\xff\xff\x7fPAR1"), "input-truncated", id="long-footer"
        ),
        pytest.param(break_file(lambda data: b"vendorID,fare\n1,2\n" * 9), "input-unreadable", id="csv"),
        pytest.param(
            break_file(lambda data: b"PARE" + data[4:-4] + b"PARE"), "input-unreadable", id="encrypted-footer"
        ),
        pytest.param(
            break_file(lambda data: data[:-600] + bytes(592) + data[-8:]),
            "input-unreadable",
            id="garbled-footer",
        ),
        pytest.param(lambda f: (f / "a.csv").write_text("x"), "input-foreign-file", id="csv-file"),
        pytest.param(lambda f: (f / "a.parquet.crc").touch(), "input-foreign-file", id="visible-checksum"),
        pytest.param(lambda f: (f / "a.parquet").mkdir(), "input-foreign-file", id="folder-named-parquet"),
        pytest.param(lambda f: os.mkfifo(f / "a.parquet"), "input-foreign-file", id="pipe"),
        pytest.param(
            lambda f: write(trips(), f / "a\n.parquet"), "input-foreign-file", id="line-break-in-name"
        ),
        pytest.param(
            lambda f: write(trips(), f / "T00:00.parquet"), "input-foreign-file", id="colon-in-name"
        ),
        pytest.param(lambda f: (f / "a.parquet").symlink_to("gone"), "input-unreadable", id="dangling-link"),
        pytest.param(lambda f: (f / "_SUCCESS").touch(), "input-empty", id="marker-only"),
        pytest.param(lambda f: write(trips(0), f / "a.parquet"), "month-without-data", id="no-rows"),
    ],
)
def test_refuses_unusable_files(root, folder, spoil, code):
    folder.mkdir(parents=True)
    spoil(folder)
    assert refusal(root).code == code


def test_a_bad_file_among_good_ones_is_named(root, folder):
    write(trips(), folder / "a.parquet")
    write(trips(), folder / "b.parquet").write_bytes(b"PAR1")
    assert "b.parquet" in refusal(root).got


def test_tells_a_missing_month_from_a_missing_input(root):
    assert refusal(root).code == "input-missing"
    root.mkdir()
    assert refusal(root).code == "month-without-data"


def test_refuses_a_file_in_the_folders_place(root, folder):
    folder.parent.mkdir(parents=True)
    folder.write_text("")
    assert refusal(root).code == "input-not-a-folder"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_a_folder_without_permission_is_named(root, folder):
    write(trips(), folder / "a.parquet")
    folder.chmod(0o700)
    os.seteuid(NOBODY)
    try:
        error = refusal(root)
    finally:
        os.seteuid(0)
    assert (error.code, error.retryable) == ("input-unreadable", False)
    assert "Permission denied" in error.got


def test_a_file_that_changes_while_it_is_read_is_refused_for_now(root, folder, monkeypatch):
    path = write(trips(), folder / "a.parquet")
    parse = input_manifest.read_footer

    def grow_meanwhile(stream, name):
        footer = parse(stream, name)
        with path.open("ab") as writer:
            writer.write(b"more")
        return footer

    monkeypatch.setattr(input_manifest, "read_footer", grow_meanwhile)
    error = refusal(root)
    assert (error.code, error.retryable) == ("input-unreadable", True)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_garbled_files_never_crash_the_reader(root, folder, data):
    path = write(trips(50), folder / "a.parquet")
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(
        content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content
    )
    try:
        manifest = read_manifest(str(root), MAY, TRIPS)
    except ConfidentialSparkError:
        return
    assert manifest.files[0].sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.shared
def test_reads_the_real_months():
    root = SHARED / "data" / "yellow"
    if not root.is_dir():
        pytest.skip(f"no real months: {root} is absent")
    manifests = [read_manifest(str(root), Month(2018, month), TRIPS) for month in range(1, 13)]
    assert sum(manifest.rows for manifest in manifests) == 120_000
    assert not any(manifest.synthetic for manifest in manifests)
