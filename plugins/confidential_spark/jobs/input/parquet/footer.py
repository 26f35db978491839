"""One Parquet file's footer, read before Spark is started on the file.

Source: Apache Parquet format 2.x: magic `PAR1` at both ends, 4-byte little-endian footer length
before the last.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from confidential_spark.agent.protocol import sha256_hex
from confidential_spark.core.errors import InputError
from confidential_spark.jobs.input.contract import carries_synthetic_mark
from confidential_spark.jobs.input.parquet.encrypted_columns import encrypted_columns

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import pyarrow.parquet as pq

MAGIC = b"PAR1"
ENCRYPTED_MAGIC = b"PARE"
TAIL_BYTES = 8
# What the runner reads (`Input.scala`), by PyArrow's names; its LZ4 is the format's LZ4_RAW as well.
CODECS = frozenset({"UNCOMPRESSED", "SNAPPY", "GZIP", "ZSTD", "LZ4"})
ENCODINGS = frozenset(
    {
        *("PLAIN", "PLAIN_DICTIONARY", "RLE_DICTIONARY", "RLE", "BIT_PACKED"),
        *("DELTA_BINARY_PACKED", "DELTA_LENGTH_BYTE_ARRAY", "DELTA_BYTE_ARRAY"),
    }
)
TELLING_COLUMNS = 3
"""Columns with two different bounds that must agree before files are taken for the same rows."""


@dataclass(frozen=True)
class FileColumn:
    """A column of a file, or all that is nested in it.

    :param type: as Spark names it; None where Spark has no plain type for it.
    :param stored: the Parquet type, for messages.
    """

    type: str | None
    stored: str


@dataclass(frozen=True)
class Footer:
    """What a footer says about its file.

    :param name: the file's.
    :param columns: name → the columns of this name, more than one where the file is malformed.
    :param rows_mark: digest of what the statistics say about the rows; empty where that is too little to tell
        one set of rows from another.
    """

    name: str
    bytes: int
    rows: int
    row_groups: int
    synthetic: bool
    columns: Mapping[str, tuple[FileColumn, ...]]
    rows_mark: str
    metadata: pq.FileMetaData
    encrypted: frozenset[int]

    def named(self, column: str) -> list[str]:
        """Return the name of exactly this column, or else the names that differ from it by case only."""
        if column in self.columns:
            return [column]
        return [name for name in self.columns if name.casefold() == column.casefold()]


def read_footer(stream: BinaryIO, name: str) -> Footer:
    """Read one file's footer; row data is not touched.

    :param name: the file's name, for messages.
    :raises InputError: ``input-truncated``, ``input-unreadable``.
    """
    size = os.fstat(stream.fileno()).st_size
    data_end = _footer_start(stream, name, size)
    metadata = _parse(stream, name)
    encrypted = _encrypted(stream, name, metadata, data_end)
    _require_row_groups_before(data_end, metadata, name, encrypted)
    return Footer(
        name=name,
        bytes=size,
        rows=metadata.num_rows,
        row_groups=metadata.num_row_groups,
        synthetic=carries_synthetic_mark(metadata),
        columns=_file_columns(metadata),
        rows_mark="" if encrypted else _rows_mark(metadata),
        metadata=metadata,
        encrypted=encrypted,
    )


def require_readable(footer: Footer, names: Collection[str]) -> None:
    """Refuse columns that the runner could not read, before an enclave is started.

    :param names: the columns that the job needs, as the file spells them.
    :raises InputError: ``input-unreadable``.
    """
    for index, top in enumerate(_tops(footer.metadata)):
        if top not in names:
            continue
        if index in footer.encrypted:
            raise _unreadable(footer.name, f"encrypted column {top}")
        for chunk in _chunks(footer.metadata, index):
            if unknown := {chunk.compression} - CODECS or set(chunk.encodings) - ENCODINGS:
                kind = "codec" if chunk.compression not in CODECS else "encoding"
                raise _unreadable(
                    footer.name,
                    f"{kind} {' and '.join(sorted(unknown))} of column {top}",
                    f"one of {', '.join(sorted(CODECS if kind == 'codec' else ENCODINGS))}",
                    "write the file again with one of these",
                )


def _footer_start(stream: BinaryIO, name: str, size: int) -> int:
    """Return the offset at which the footer begins and the data ends."""
    stream.seek(0)
    head = stream.read(len(MAGIC))
    if size and not MAGIC.startswith(head[: len(MAGIC)]):
        raise _unreadable(name, "encrypted footer" if head == ENCRYPTED_MAGIC else f"begins with {head!r}")
    if size < len(MAGIC) + TAIL_BYTES:
        raise _truncated(name, f"{size} bytes")
    stream.seek(-TAIL_BYTES, os.SEEK_END)
    tail = stream.read(TAIL_BYTES)
    if tail[4:] != MAGIC:
        raise _truncated(name, f"{size} bytes, ends with {tail[4:]!r}")
    footer_bytes = int.from_bytes(tail[:4], "little")
    start = size - TAIL_BYTES - footer_bytes
    if start < len(MAGIC):
        raise _truncated(name, f"{size} bytes with a footer of {footer_bytes}")
    return start


def _parse(stream: BinaryIO, name: str) -> pq.FileMetaData:
    import pyarrow as pa  # 0.1 s that a DAG file must not pay
    import pyarrow.parquet as pq

    stream.seek(0)
    try:
        return pq.read_metadata(stream)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _unreadable(name, str(error)) from error


def _encrypted(stream: BinaryIO, name: str, metadata: pq.FileMetaData, footer_at: int) -> frozenset[int]:
    """Return the numbers of the encrypted leaf columns; PyArrow may not be asked about these.

    A file that has some has a footer in clear with a signature behind it.
    """
    footer_bytes = os.fstat(stream.fileno()).st_size - TAIL_BYTES - footer_at
    if footer_bytes == metadata.serialized_size:
        return frozenset()
    stream.seek(footer_at)
    try:
        return encrypted_columns(stream.read(footer_bytes))
    except ValueError as error:
        raise _unreadable(name, f"its footer: {error}") from error


def _chunks(metadata: pq.FileMetaData, index: int) -> list[pq.ColumnChunkMetaData]:
    return [metadata.row_group(group).column(index) for group in range(metadata.num_row_groups)]


def _require_row_groups_before(
    data_end: int, metadata: pq.FileMetaData, name: str, encrypted: frozenset[int]
) -> None:
    """Find a file whose middle is missing: its column chunks reach into its footer."""
    for group in range(metadata.num_row_groups):
        columns = metadata.row_group(group)
        for index in set(range(columns.num_columns)) - encrypted:
            column = columns.column(index)
            start = min(column.data_page_offset, column.dictionary_page_offset or column.data_page_offset)
            end = start + column.total_compressed_size
            if end > data_end:
                raise _truncated(name, f"{column.path_in_schema} ends at byte {end}, the data at {data_end}")


def _file_columns(metadata: pq.FileMetaData) -> dict[str, tuple[FileColumn, ...]]:
    columns: dict[str, tuple[FileColumn, ...]] = {}
    for top, column in zip(_tops(metadata), _columns(metadata), strict=True):
        nested = "" if column.path == top else f"nested, {column.path} "
        found = FileColumn(_spark_type(column), f"{nested}{_type_name(column)}")
        columns[top] = (*columns.get(top, ()), found)
    return columns


def _tops(metadata: pq.FileMetaData) -> list[str]:
    """Return the name of the column that each leaf belongs to; any name may have dots, which join a path."""
    import pyarrow as pa  # 0.1 s that a DAG file must not pay

    try:
        names = set(metadata.schema.to_arrow_schema().names)
    except (pa.ArrowException, ValueError):
        names = set()
    return [_top(column, names) for column in _columns(metadata)]


def _top(column: pq.ColumnSchema, names: Collection[str]) -> str:
    parts = column.path.split(".")
    starts = (".".join(parts[:size]) for size in range(len(parts), 0, -1))
    return column.path if column.name == column.path else next((s for s in starts if s in names), parts[0])


def _rows_mark(metadata: pq.FileMetaData) -> str:
    """Return what two files of the same rows have in common, however each is compressed and grouped."""
    import pyarrow as pa  # 0.1 s that a DAG file must not pay

    try:
        bounds = {column.path: _bounds(metadata, index) for index, column in enumerate(_columns(metadata))}
    except (pa.ArrowException, ArithmeticError, NotImplementedError, TypeError, ValueError):
        # Statistics that cannot be read, e.g. of a date beyond Python's; the rows may be sound all the same.
        return ""
    telling = [found for found in bounds.values() if found and found[1] != found[2]]
    if len(telling) < TELLING_COLUMNS:
        return ""
    return sha256_hex(repr((metadata.num_rows, sorted(bounds.items()))).encode())


def _bounds(metadata: pq.FileMetaData, index: int) -> tuple[int, Any, Any] | None:
    """Return a column's nulls, smallest and largest value, or None where a row group does not say."""
    chunks = _chunks(metadata, index)
    found = [chunk.statistics for chunk in chunks if chunk.is_stats_set]
    if len(found) < len(chunks) or not all(each.has_min_max and each.has_null_count for each in found):
        return None
    smallest, largest = min(each.min for each in found), max(each.max for each in found)
    return sum(each.null_count for each in found), smallest, largest


def _columns(metadata: pq.FileMetaData) -> list[pq.ColumnSchema]:
    """Return the leaf columns."""
    return [metadata.schema.column(index) for index in range(metadata.num_columns)]


PLAIN_TYPES = {"BOOLEAN": "boolean", "INT32": "int", "INT64": "bigint", "FLOAT": "float", "DOUBLE": "double"}
# Of unsigned numbers, the type that holds them all.
WHOLE_TYPES = {(8, True): "tinyint", (16, True): "smallint", (32, True): "int", (64, True): "bigint"} | {
    (8, False): "smallint",
    (16, False): "int",
    (32, False): "bigint",
}


def _spark_type(column: pq.ColumnSchema) -> str | None:
    """Return the type that Spark reads a plain column as, and None for any other."""
    if column.max_repetition_level or column.name != column.path:
        return None
    logical = _logical_type(column)
    match logical["Type"]:
        case "None":
            return "timestamp" if column.physical_type == "INT96" else PLAIN_TYPES.get(column.physical_type)
        case "String":
            return "string"
        case "Int":
            return WHOLE_TYPES.get((logical["bitWidth"], logical["isSigned"]))
        case "Decimal":
            return f"decimal({logical['precision']},{logical['scale']})"
        case "Timestamp":
            return "timestamp" if logical["isAdjustedToUTC"] else "timestamp_ntz"
        case _:
            return None


def _logical_type(column: pq.ColumnSchema) -> dict[str, Any]:
    return dict(json.loads(column.logical_type.to_json()))


def _type_name(column: pq.ColumnSchema) -> str:
    logical = _logical_type(column)
    if logical["Type"] == "None":
        return str(column.physical_type)
    adjusted = " adjusted to UTC" if logical.get("isAdjustedToUTC") else ""
    return f"{column.physical_type} ({logical['Type']}{adjusted})"


def _truncated(name: str, got: str) -> InputError:
    return InputError(
        "An input file is cut off.",
        code="input-truncated",
        got=f"{name}: {got}",
        expected="a whole Parquet file",
        action="copy the file again",
    )


def _unreadable(
    name: str, got: str, expected: str = "an unencrypted Parquet file", action: str = "replace the file"
) -> InputError:
    return InputError(
        "An input file is not readable Parquet.",
        code="input-unreadable",
        got=f"{name}: {got}",
        expected=expected,
        action=action,
    )
