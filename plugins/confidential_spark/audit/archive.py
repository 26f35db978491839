"""The bundle as a .zip in exactly one form, so that every byte of it is accounted for.

Files are stored without compression, one after the other, without gaps, dates, comments or extra fields; the
directory follows from them. An archive in any other form is refused, whatever other programs make of it:
that leaves no room for compression bombs, overlapping or repeated members, links, and text between files.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from confidential_spark.audit.manifest import MAX_FILES, MAX_NAME_BYTES
from confidential_spark.core.errors import InputError, VerificationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_LOCAL_SIGN, _CENTRAL_SIGN, _END_SIGN = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
_VERSION, _UNIX, _UTF8 = 20, 3 << 8, 0x800
# 1980-01-01: the first day that the format has.
_DATE = 0x21
_PLAIN_FILE = 0o100644 << 16
# Without the format's extensions for larger ones, which readers treat in different ways.
MAX_ARCHIVE_BYTES = 2**32 - 1
MAX_MEMBERS = MAX_FILES + 2
CHUNK = 1024 * 1024


class Member(NamedTuple):
    """One file of an archive.

    :param offset: where its header begins.
    """

    name: str
    size: int
    crc: int
    offset: int

    @property
    def header(self) -> bytes:
        """What stands before its content."""
        name = self.name.encode()
        return _LOCAL.pack(_LOCAL_SIGN, _VERSION, *self._common(name), 0) + name

    @property
    def content_at(self) -> int:
        """Where its content begins."""
        return self.offset + len(self.header)

    @property
    def end(self) -> int:
        """Where its content has ended."""
        return self.content_at + self.size

    def in_directory(self) -> bytes:
        """Return its entry in the directory."""
        name = self.name.encode()
        rest = (0, 0, 0, 0, _PLAIN_FILE, self.offset)
        return _CENTRAL.pack(_CENTRAL_SIGN, _UNIX | _VERSION, _VERSION, *self._common(name), *rest) + name

    def _common(self, name: bytes) -> tuple[int, ...]:
        flags = 0 if self.name.isascii() else _UTF8
        return flags, 0, 0, _DATE, self.crc, self.size, self.size, len(name)


def directory(members: Sequence[Member]) -> bytes:
    """Return what follows the last file."""
    entries = b"".join(member.in_directory() for member in members)
    start = members[-1].end if members else 0
    return entries + _END.pack(_END_SIGN, 0, 0, len(members), len(members), len(entries), start, 0)


def written(files: Iterable[tuple[str, bytes]]) -> Iterator[bytes]:
    """Yield an archive of these files, in pieces; one file at a time is in memory.

    :raises InputError: ``audit-too-large``.
    """
    members: list[Member] = []
    offset = listed = 0
    for name, content in files:
        member = Member(name, len(content), zlib.crc32(content), offset)
        listed += len(member.in_directory())
        if len(members) >= MAX_MEMBERS or member.end + listed + _END.size > MAX_ARCHIVE_BYTES:
            raise _too_large()
        members.append(member)
        offset = member.end
        yield member.header
        yield content
    yield directory(members)


def read_members(file: BinaryIO) -> list[Member]:
    """Return the files of an archive; every byte but their contents is compared here.

    :raises VerificationError: ``audit-bundle-malformed``.
    """
    total = file.seek(0, 2)
    members: list[Member] = []
    offset = 0
    while (member := _member_at(file, offset)) is not None:
        if member.end > total or len(members) >= MAX_MEMBERS:
            raise malformed(f"file {len(members) + 1} ends beyond the archive, or is one too many")
        members.append(member)
        offset = member.end
    expected = directory(members)
    file.seek(offset)
    if file.read(len(expected) + 1) != expected:
        raise malformed("the directory at its end does not follow from its files")
    return members


def contents(file: BinaryIO, member: Member) -> Iterator[bytes]:
    """Yield a file's content in pieces.

    :raises VerificationError: ``audit-bundle-malformed``: it does not have the CRC that its header gives.
    """
    file.seek(member.content_at)
    left, crc = member.size, 0
    while left and (piece := file.read(min(left, CHUNK))):
        crc, left = zlib.crc32(piece, crc), left - len(piece)
        yield piece
    if left or crc != member.crc:
        raise malformed(f"{member.name!a} does not have its CRC")


def malformed(got: str) -> VerificationError:
    """Return why something is no bundle."""
    return VerificationError(
        "The bundle does not have the form that `audit bundle` writes.",
        code="audit-bundle-malformed",
        got=got,
        expected="the .zip byte for byte as it was made, or its folder with plain files only",
        action="ask for the bundle again; one that was packed anew is verified as a folder",
    )


def _member_at(file: BinaryIO, offset: int) -> Member | None:
    """Return the file whose header is there, or None where the files end."""
    file.seek(offset)
    head = file.read(_LOCAL.size)
    if len(head) != _LOCAL.size or not head.startswith(_LOCAL_SIGN):
        return None
    *_, crc, _, size, name_length, _ = _LOCAL.unpack(head)
    name = file.read(min(name_length, MAX_NAME_BYTES))
    try:
        member = Member(name.decode(), size, crc, offset)
    except UnicodeDecodeError as error:
        raise malformed("a name that is not UTF-8") from error
    if member.header != head + name:
        raise malformed(f"an unusual header of {member.name[:100]!a}")
    return member


def _too_large() -> InputError:
    return InputError(
        "The range is too large for one bundle.",
        code="audit-too-large",
        got=f"more than {MAX_FILES:,} files or {MAX_ARCHIVE_BYTES:,} bytes",
        expected="less than that",
        action="make several bundles, of fewer months each",
    )
