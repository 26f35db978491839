"""Files on their way into a container: a tar stream, made while it is sent."""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from confidential_spark.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

CHUNK_BYTES = 1024 * 1024
END = bytes(2 * tarfile.BLOCKSIZE)


@dataclass(frozen=True)
class Entry:
    """One entry of the stream.

    :param source: the file whose content it has, or None for a folder.
    """

    name: str
    source: Path | None = None


def stream_size(entries: Iterable[Entry]) -> int:
    """Return how many bytes :func:`tar_stream` will yield, as the files are now.

    :raises InputError: ``input-not-read``.
    """
    return sum(_entry_size(entry) for entry in entries) + len(END)


def tar_stream(entries: Iterable[Entry], *, user_id: int) -> Iterator[bytes]:
    """Yield a tar archive; everything in it belongs to ``user_id``, and to nobody else.

    :raises InputError: ``input-not-read``, or ``input-changed`` for a file whose size changes meanwhile.
    """
    for entry in entries:
        header = tarfile.TarInfo(entry.name)
        header.uid = header.gid = user_id
        if entry.source is None:
            header.type, header.mode = tarfile.DIRTYPE, 0o700
            yield header.tobuf()
            continue
        try:
            header.mode, header.size = 0o400, entry.source.stat().st_size
            yield header.tobuf()
            yield from _content(entry.source, header.size)
        except OSError as error:
            # As OSError it would pass for a broken connection to the engine that reads this stream.
            raise _unusable("input-not-read", entry.source, error.strerror or str(error)) from error
    yield END


def _entry_size(entry: Entry) -> int:
    header = len(tarfile.TarInfo(entry.name).tobuf())
    if entry.source is None:
        return header
    try:
        size = entry.source.stat().st_size
    except OSError as error:
        raise _unusable("input-not-read", entry.source, error.strerror or str(error)) from error
    return header + size + -size % tarfile.BLOCKSIZE


def _content(source: Path, size: int) -> Iterator[bytes]:
    left = size
    with source.open("rb") as file:
        while left and (chunk := file.read(min(CHUNK_BYTES, left))):
            left -= len(chunk)
            yield chunk
        if left or file.read(1):
            raise _unusable("input-changed", source, f"no longer {size} bytes")
    yield bytes(-size % tarfile.BLOCKSIZE)


def _unusable(code: str, source: Path, got: str) -> InputError:
    return InputError(
        "An input file cannot be sent to the enclave.",
        code=code,
        got=f"{source.name}: {got}",
        expected="a readable file that nobody writes to",
        action="run again when the input folder is at rest",
    )
