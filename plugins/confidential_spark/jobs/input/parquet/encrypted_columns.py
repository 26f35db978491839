"""Which columns of a Parquet file are encrypted; PyArrow ends the process when it is asked about one of them.

Source: `parquet.thrift`: FileMetaData.row_groups (4), RowGroup.columns (1), ColumnChunk.crypto_metadata (8).
"""

from __future__ import annotations

from confidential_spark.jobs.input.parquet.compact_protocol import LIST, STRUCT, CompactReader

ROW_GROUPS, COLUMNS, CRYPTO_METADATA = 4, 1, 8


def encrypted_columns(footer: bytes) -> frozenset[int]:
    """Return the numbers of the leaf columns that are encrypted in any row group.

    :param footer: the file's, without its length and the magic.
    :raises ValueError: it is not of the protocol.
    """
    found: set[int] = set()
    reader = CompactReader(footer)
    for number, kind in reader.fields():
        if (number, kind) == (ROW_GROUPS, LIST):
            for _ in range(reader.list_of(STRUCT)):
                found |= _of_row_group(reader)
        else:
            reader.skip(kind)
    return frozenset(found)


def _of_row_group(reader: CompactReader) -> set[int]:
    found = set()
    for number, kind in reader.fields():
        if (number, kind) == (COLUMNS, LIST):
            found = {index for index in range(reader.list_of(STRUCT)) if _is_encrypted(reader)}
        else:
            reader.skip(kind)
    return found


def _is_encrypted(reader: CompactReader) -> bool:
    """Read one column chunk to its end."""
    numbers = set()
    for number, kind in reader.fields():
        numbers.add(number)
        reader.skip(kind)
    return CRYPTO_METADATA in numbers
