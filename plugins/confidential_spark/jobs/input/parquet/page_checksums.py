"""The checksums of a Parquet file's pages: Spark ignores them, and would count rows that a disk has altered.

Source: Apache Parquet format 2.x, `PageHeader.crc`; optional, and only some writers set it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from confidential_spark.core.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from confidential_spark.jobs.input.manifest import InputManifest

MISMATCH = "CRC checksum verification failed"
"""What PyArrow says of it; it has no error of its own."""


def require_page_checksums(manifest: InputManifest) -> None:
    """Read the columns that the job needs, and hold every page that has a checksum against it.

    What else may be wrong with a page is left to Spark, which reads more kinds of pages than PyArrow does.

    :raises InputError: ``input-checksum``.
    """
    for path in manifest.paths:
        for column in manifest.columns:
            if mismatch := _mismatch(path, column):
                raise InputError(
                    "An input file has been altered since it was written.",
                    code="input-checksum",
                    got=f"{path.name}, column {column}: {mismatch}",
                    expected="pages that have their checksum",
                    action="fetch the file again, and compare its SHA-256 with the source",
                )


def _mismatch(path: Path, column: str) -> str | None:
    import pyarrow as pa  # 0.1 s that a DAG file must not pay
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            for group in range(file.num_row_groups):
                # One column of one row group at a time bounds the memory.
                file.read_row_group(group, columns=[column], use_threads=False)
    except (pa.ArrowException, OSError, ValueError) as error:
        return str(error) if MISMATCH in str(error) else None
    return None
