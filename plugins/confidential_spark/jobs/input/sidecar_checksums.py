"""The checksum files that Hadoop writes beside local files; Spark holds what it reads against them.

One that is left of an older file makes a sound file unreadable, and only where the file is read in its place.
Source: Hadoop 3.3 `ChecksumFileSystem`: `crc` and a null byte, bytes per sum, then a CRC-32 of each part.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

from confidential_spark.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from confidential_spark.jobs.input.manifest import InputManifest

HEADER = struct.Struct(">4si")
SUM = struct.Struct(">I")
MAGIC = b"crc\0"
LARGEST_PART = 1 << 24


def require_sidecar_checksums(manifest: InputManifest) -> None:
    """Hold each file that has a checksum file against it.

    :raises InputError: ``input-checksum``, naming the checksum file.
    """
    for path in manifest.paths:
        sidecar = path.with_name(f".{path.name}.crc")
        if sidecar.is_file() and not fits_its_checksums(path, sidecar):
            raise InputError(
                "An input file is not the one that its checksum file was written for.",
                code="input-checksum",
                got=f"{path.name} beside {sidecar.name}",
                expected="a checksum file of these bytes, or none",
                action="compare the file's SHA-256 with the source; if it is right, remove the checksum file",
            )


def fits_its_checksums(path: Path, sidecar: Path) -> bool:
    """Return whether Spark would read the file; it ignores what is no checksum file."""
    sums = sidecar.read_bytes()
    if len(sums) < HEADER.size:
        return True
    magic, part = HEADER.unpack_from(sums)
    if magic != MAGIC or not 0 < part <= LARGEST_PART:
        return True
    return b"".join(_sums(path, part)) == sums[HEADER.size :]


def _sums(path: Path, part: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        while data := file.read(part):
            yield SUM.pack(zlib.crc32(data))
