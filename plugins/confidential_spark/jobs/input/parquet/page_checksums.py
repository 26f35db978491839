"""The checksums of a Parquet file's pages: Spark ignores them, and would count rows that a disk has altered.

Source: Apache Parquet format 2.x, `PageHeader`: type (1), compressed_page_size (3) and crc (4), which is
optional; only some writers set it. It is of the page as it is stored, which need not be decoded for it.
"""

from __future__ import annotations

import zlib
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from confidential_spark.core.errors import InputError
from confidential_spark.jobs.input.folder import readable
from confidential_spark.jobs.input.parquet.compact_protocol import CompactReader
from confidential_spark.jobs.input.parquet.footer import read_footer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pyarrow.parquet as pq

    from confidential_spark.jobs.input.manifest import InputManifest

TYPE, SIZE, CRC = 1, 3, 4
INDEX_PAGE = 1
# A header with its statistics, whose bounds may be long texts.
HEADER_BYTES = (1 << 10, 1 << 16, 1 << 24)
PIECE_BYTES = 1 << 20


class Page(NamedTuple):
    """Where a page is in its file, and the checksum that it has, if any."""

    start: int
    size: int
    crc: int | None


def require_page_checksums(manifest: InputManifest) -> None:
    """Hold every page that has a checksum, of the columns that the job needs, against it.

    Of other pages the headers alone are read. What else may be wrong with a page is left to Spark.

    :raises InputError: ``input-checksum``; as :func:`.footer.read_footer`.
    """
    for path in manifest.paths:
        with readable(path), path.open("rb") as stream:
            metadata = read_footer(stream, path.name).metadata
            for index in range(metadata.num_columns):
                column = metadata.schema.column(index).path
                if column in manifest.columns:
                    _require_intact(stream, path, column, _pages(stream, metadata, index))


def _require_intact(stream: BinaryIO, path: Path, column: str, pages: Iterator[Page]) -> None:
    for page in pages:
        if page.crc is not None and (found := _crc(stream, page)) != page.crc:
            raise InputError(
                "An input file has been altered since it was written.",
                code="input-checksum",
                got=f"{path.name}, column {column}: CRC-32 {found:08x} of the page at byte {page.start}",
                expected=f"{page.crc:08x}, as its header says",
                action="fetch the file again, and compare its SHA-256 with the source",
            )


def _pages(stream: BinaryIO, metadata: pq.FileMetaData, index: int) -> Iterator[Page]:
    """Yield the pages of a column, up to one whose header cannot be read."""
    for group in range(metadata.num_row_groups):
        chunk = metadata.row_group(group).column(index)
        at = min(chunk.data_page_offset, chunk.dictionary_page_offset or chunk.data_page_offset)
        end = at + chunk.total_compressed_size
        while at < end:
            try:
                page = _page(stream, at, end)
            except ValueError:
                return
            yield page
            at = page.start + page.size


def _page(stream: BinaryIO, at: int, end: int) -> Page:
    """Read the header at a place.

    :raises ValueError: it is none.
    """
    for size in HEADER_BYTES:
        stream.seek(at)
        with suppress(ValueError):
            return _parsed(stream.read(min(size, end - at)), at)
    raise ValueError(f"no page begins at byte {at}")


def _parsed(header: bytes, at: int) -> Page:
    reader, found = CompactReader(header), dict[int, int]()
    for field, kind in reader.fields():
        if field in (TYPE, SIZE, CRC):
            found[field] = reader.number(kind)
        else:
            reader.skip(kind)
    if found.get(SIZE, -1) < 0 or TYPE not in found:
        raise ValueError("no page's header")
    crc = found.get(CRC) if found[TYPE] != INDEX_PAGE else None
    return Page(at + reader.read, found[SIZE], None if crc is None else crc & 0xFFFFFFFF)


def _crc(stream: BinaryIO, page: Page) -> int:
    stream.seek(page.start)
    crc, left = 0, page.size
    while left and (piece := stream.read(min(left, PIECE_BYTES))):
        crc, left = zlib.crc32(piece, crc), left - len(piece)
    return crc
