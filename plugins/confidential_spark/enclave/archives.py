"""Tar streams between the pipeline and a container: inputs on their way in, result files on their way out.

What comes out is read as hostile input: it comes from the engine, which is as much a stranger as the network.
So the reader knows regular files and folders and nothing else: no link, no device, no extended header, no
name that leaves the folder.

Source: POSIX.1-1988 ustar, as Docker's engine writes it for short names.
"""

from __future__ import annotations

import re
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from confidential_spark.core.errors import InputError, ResultError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

BLOCK = tarfile.BLOCKSIZE
MAX_ENTRIES = 10_000
MAX_BYTES = 4 * 1024**3
# Spark's file names, and folders such as `hour=7`; nothing hidden.
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.=-]{0,99}", re.ASCII)
MAX_DEPTH = 8
CHUNK_BYTES = 1024 * 1024
END = bytes(2 * BLOCK)


@dataclass(frozen=True)
class Entry:
    """One entry of the stream.

    :param source: the file whose content it has, or None for a folder.
    """

    name: str
    source: Path | None = None


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


def _content(source: Path, size: int) -> Iterator[bytes]:
    left = size
    with source.open("rb") as file:
        while left and (chunk := file.read(min(CHUNK_BYTES, left))):
            left -= len(chunk)
            yield chunk
        if left or file.read(1):
            raise _unusable("input-changed", source, f"no longer {size} bytes")
    yield bytes(-size % BLOCK)


def _unusable(code: str, source: Path, got: str) -> InputError:
    return InputError(
        "An input file cannot be sent to the enclave.",
        code=code,
        got=f"{source.name}: {got}",
        expected="a readable file that nobody writes to",
        action="run again when the input folder is at rest",
    )


@dataclass(frozen=True)
class ArchiveLimits:
    """What a result may be at most: files and folders; ``size`` in bytes, all files together."""

    entries: int = MAX_ENTRIES
    size: int = MAX_BYTES


def unpack_results(
    chunks: Iterable[bytes], target: Path, *, limits: ArchiveLimits | None = None
) -> list[str]:
    """Write the files of a folder's tar stream into ``target`` and return their names.

    :param chunks: the stream; its entries begin with the name of the folder that was asked for.
    :param target: an empty folder. After an error it holds a part of the files, for the caller to remove.
    :raises ResultError: ``results-archive-malformed``, ``results-too-large``.
    :raises OSError: the files cannot be written.
    """
    limits = limits or ArchiveLimits()
    stream = _Blocks(chunks)
    names: list[str] = []
    entries = total = 0
    while (entry := _next_entry(stream)) is not None:
        path = target.joinpath(*_parts(entry.name))
        entries, total = entries + 1, total + entry.size
        if total > limits.size or entries > limits.entries:
            raise _too_large(limits)
        try:
            if entry.isdir():
                path.mkdir(exist_ok=True)
                continue
            with path.open("xb") as file:
                file.writelines(stream.content(entry.size))
        except (FileExistsError, FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise _malformed(f"{entry.name}: {error.strerror}") from error
        names.append(path.relative_to(target).as_posix())
    return names


class _Blocks:
    """Reads whole blocks from chunks of any size, holding one chunk at a time."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = memoryview(b"")

    def header(self) -> bytes:
        return b"".join(self._take(BLOCK))

    def content(self, size: int) -> Iterator[bytes]:
        yield from self._take(size)
        for _ in self._take(-size % BLOCK):
            pass

    def _take(self, size: int) -> Iterator[bytes]:
        while size:
            if not self._rest:
                self._rest = memoryview(self._next_chunk())
            part = self._rest[:size]
            self._rest = self._rest[len(part) :]
            size -= len(part)
            yield bytes(part)

    def _next_chunk(self) -> bytes:
        try:
            return next(self._chunks)
        except StopIteration:
            raise _malformed("the stream ends early") from None


def _next_entry(stream: _Blocks) -> tarfile.TarInfo | None:
    block = stream.header()
    if not any(block):
        return None
    try:
        entry = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError) as error:
        raise _malformed(str(error)) from error
    if not (entry.isdir() or entry.type in (tarfile.REGTYPE, tarfile.AREGTYPE)):
        raise _malformed(f"{entry.name} of type {entry.type!r}")
    if entry.size < 0 or (entry.isdir() and entry.size):
        raise _malformed(f"{entry.name} of {entry.size} bytes")
    return entry


def _parts(name: str) -> list[str]:
    """Return the path below the folder that was asked for."""
    parts = name.rstrip("/").split("/")
    if len(parts) > MAX_DEPTH or not all(NAME.fullmatch(part) for part in parts):
        raise _malformed(f"the name {name!r}")
    return parts[1:]


def _malformed(got: str) -> ResultError:
    return ResultError(
        "What came out of the container is not a folder of result files.",
        code="results-archive-malformed",
        got=got,
        expected="regular files and folders with plain names",
        action="look at what the job writes; if it writes that, find out who answers for the engine",
    )


def _too_large(limits: ArchiveLimits) -> ResultError:
    return ResultError(
        "The results are larger than a result may be.",
        code="results-too-large",
        got="more",
        expected=f"at most {limits.entries} files and folders of {limits.size} bytes together",
        action="look at what the job writes",
    )
