"""One Parquet file's footer, checked against a job's input contract before Spark is started on it.

Source: Apache Parquet format 2.x: magic `PAR1` at both ends, 4-byte little-endian footer length
before the last.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from confidential_spark.agent.protocol import sha256_hex
from confidential_spark.core.errors import InputError
from confidential_spark.jobs.input.contract import Kind, carries_synthetic_mark
from confidential_spark.jobs.input.encrypted_columns import encrypted_columns

if TYPE_CHECKING:
    import pyarrow.parquet as pq

    from confidential_spark.jobs.input.contract import InputContract

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
class Footer:
    """What a footer says about its file.

    :param time_forms: how the contract's timestamps are stored.
    :param rows_mark: digest of what the statistics say about the rows; empty where that is too little to tell
        one set of rows from another.
    """

    bytes: int
    rows: int
    row_groups: int
    synthetic: bool
    time_forms: tuple[str, ...]
    extra_columns: tuple[str, ...]
    rows_mark: str


def read_footer(stream: BinaryIO, name: str, contract: InputContract) -> Footer:
    """Read and check one file's footer; row data is not touched.

    :param name: the file's name, for messages.
    :param contract: the columns that the job needs.
    :raises InputError: ``input-truncated``, ``input-unreadable``, ``input-schema``.
    """
    size = os.fstat(stream.fileno()).st_size
    data_end = _footer_start(stream, name, size)
    metadata = _parse(stream, name)
    encrypted = _encrypted(stream, name, metadata, data_end)
    extra_columns = _check_schema(metadata, name, contract)
    _require_readable(metadata, name, contract, encrypted)
    _require_row_groups_before(data_end, metadata, name, encrypted)
    return Footer(
        bytes=size,
        rows=metadata.num_rows,
        row_groups=metadata.num_row_groups,
        synthetic=carries_synthetic_mark(metadata),
        time_forms=_time_forms(metadata, contract),
        extra_columns=extra_columns,
        rows_mark="" if encrypted else _rows_mark(metadata),
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


def _require_readable(
    metadata: pq.FileMetaData, name: str, contract: InputContract, encrypted: frozenset[int]
) -> None:
    """Refuse columns of the contract that the runner could not read, before an enclave is started."""
    for index, column in enumerate(_columns(metadata)):
        top = column.path.split(".")[0]
        if top not in contract.columns:
            continue
        if index in encrypted:
            raise _unreadable(name, f"encrypted column {top}")
        for chunk in _chunks(metadata, index):
            if unknown := {chunk.compression} - CODECS or set(chunk.encodings) - ENCODINGS:
                kind = "codec" if chunk.compression not in CODECS else "encoding"
                raise _unreadable(
                    name,
                    f"{kind} {' and '.join(sorted(unknown))} of column {top}",
                    f"one of {', '.join(sorted(CODECS if kind == 'codec' else ENCODINGS))}",
                    "write the file again with one of these",
                )


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


def _check_schema(metadata: pq.FileMetaData, name: str, contract: InputContract) -> tuple[str, ...]:
    """Return the columns beyond the contract.

    :raises InputError: ``input-schema`` with every missing and retyped column.
    """
    wanted_columns = contract.columns
    columns = _columns(metadata)
    top_level = [column.path.split(".")[0] for column in columns]
    names = dict.fromkeys(top_level)
    problems = [f"{wanted} is missing" for wanted in wanted_columns if wanted not in names]
    problems += [f"{wanted} occurs twice" for wanted in wanted_columns if top_level.count(wanted) > 1]
    # DuckDB, which recounts, does not tell names apart by case; Spark's runner does.
    spellings = Counter(name.casefold() for name in names)
    read_twice = {wanted.casefold() for wanted in wanted_columns if spellings[wanted.casefold()] > 1}
    problems += [f"{name} differs from another by case" for name in names if name.casefold() in read_twice]
    for column in columns:
        kind = wanted_columns.get(column.path.split(".")[0])
        if kind and not _is_kind(column, kind):
            unit = _unit(column) if kind is Kind.TIMESTAMP else ""
            problems.append(f"{column.path} is {_type_name(column)}{unit} instead of {kind}")
    if problems:
        raise InputError(
            f"{name} does not have the columns of {contract.title}.",
            code="input-schema",
            got="; ".join(problems),
            expected=f"the {len(wanted_columns)} columns of {contract.title}",
            action="give files with the columns and types that docs/results.md lists under Input",
        )
    return tuple(name for name in names if name not in wanted_columns)


def _time_forms(metadata: pq.FileMetaData, contract: InputContract) -> tuple[str, ...]:
    """Return how each timestamp of the contract is stored; the unit does not matter."""
    times = [column for column in _columns(metadata) if contract.columns.get(column.path) is Kind.TIMESTAMP]
    return tuple(f"{column.path} {_type_name(column)}" for column in times)


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


def _is_kind(column: pq.ColumnSchema, kind: Kind) -> bool:
    """Return whether Spark reads this Parquet column as ``kind`` without a cast."""
    logical = _logical_type(column)
    optional_scalar = column.max_repetition_level == 0 and "." not in column.path
    accepted = {
        Kind.STRING: column.physical_type == "BYTE_ARRAY" and logical["Type"] == "String",
        Kind.TIMESTAMP: column.physical_type == "INT96"
        or (logical["Type"] == "Timestamp" and logical.get("timeUnit") in ("milliseconds", "microseconds")),
        Kind.INTEGER: column.physical_type == "INT32" and logical in ({"Type": "None"}, SIGNED_32_BITS),
        Kind.DOUBLE: column.physical_type == "DOUBLE",
    }
    return optional_scalar and accepted[kind]


SIGNED_32_BITS = {"Type": "Int", "bitWidth": 32, "isSigned": True}


def _logical_type(column: pq.ColumnSchema) -> dict[str, Any]:
    return dict(json.loads(column.logical_type.to_json()))


def _type_name(column: pq.ColumnSchema) -> str:
    logical = _logical_type(column)
    if logical["Type"] == "None":
        return str(column.physical_type)
    adjusted = " adjusted to UTC" if logical.get("isAdjustedToUTC") else ""
    return f"{column.physical_type} ({logical['Type']}{adjusted})"


def _unit(column: pq.ColumnSchema) -> str:
    """Return the unit of a time, which Spark reads down to microseconds."""
    unit = _logical_type(column).get("timeUnit")
    return f" in {unit}" if unit else ""


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
