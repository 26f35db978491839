"""Parquet files whose columns are encrypted, as PyArrow writes them."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa


class OpenKeys(pe.KmsClient):
    """Keeps no secret."""

    def __init__(self, _: pe.KmsConnectionConfig) -> None:
        super().__init__()

    def wrap_key(self, key: bytes, _: str) -> bytes:
        return base64.b64encode(key)


def write_encrypted(path: Path, table: pa.Table, **what: Any) -> None:
    """Write a file; ``what`` says which of its parts are encrypted."""
    configuration = pe.EncryptionConfiguration(footer_key="f", double_wrapping=False, **what)
    properties = pe.CryptoFactory(OpenKeys).file_encryption_properties(
        pe.KmsConnectionConfig(), configuration
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(path, table.schema, encryption_properties=properties) as writer:
        writer.write_table(table)
