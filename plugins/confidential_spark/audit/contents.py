"""A bundle as the verification reads it: the .zip, or the folder that it was unpacked to."""

from __future__ import annotations

import hashlib
import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Protocol

from confidential_spark.audit.archive import CHUNK, MAX_MEMBERS, Member, contents, malformed, read_members
from confidential_spark.audit.manifest import CHECKSUM, MANIFEST, MAX_MANIFEST_BYTES, Manifest, checksum_line
from confidential_spark.core.errors import InputError, VerificationError
from confidential_spark.verification.evidence.result_files import (
    MAX_DEPTH,
    require_distinct,
    require_safe_name,
)
from confidential_spark.verification.safe_files import open_regular

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager
    from typing import BinaryIO

MAX_READ_BYTES = 64 * 1024 * 1024


class Contents(Protocol):
    """The files of a bundle by name, below the bundle's own folder."""

    stem: str
    """Name of the bundle's folder, or empty where that says nothing."""

    def names(self) -> set[str]:
        """Return the names of all files."""

    def pieces(self, name: str) -> Iterator[bytes]:
        """Yield a file's content.

        :raises VerificationError: ``audit-bundle-malformed``.
        """

    def folder(self, below: str) -> AbstractContextManager[Path]:
        """Return a folder with the files of one folder of the bundle, for as long as it is needed."""


@dataclass(frozen=True)
class Fault:
    """One file that is not as the manifest says; any is a refusal of the bundle."""

    code: str
    got: str
    expected: str


class ArchiveContents:
    """The files of a .zip; the folder of one month at a time is unpacked."""

    def __init__(self, file: BinaryIO) -> None:
        """Read the names.

        :raises VerificationError: ``audit-bundle-malformed``.
        """
        self._file = file
        members = read_members(file)
        self.stem = members[0].name.partition("/")[0] if members else ""
        self._members: dict[str, Member] = {}
        for member in members:
            stem, _, name = member.name.partition("/")
            if stem != self.stem or name in self._members:
                raise malformed(f"{member.name!a} is outside of the bundle's folder, or there twice")
            self._members[name] = member
        require_names(self._members)

    def names(self) -> set[str]:
        """Return the names of all files."""
        return set(self._members)

    def pieces(self, name: str) -> Iterator[bytes]:
        """Yield a file's content."""
        return contents(self._file, self._members[name])

    @contextmanager
    def folder(self, below: str) -> Iterator[Path]:
        """Yield a folder with copies of the files."""
        with TemporaryDirectory(prefix="audit-") as private:
            for name in self._members:
                if name.startswith(f"{below}/"):
                    path = Path(private, name)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    with path.open("xb") as copy:
                        for piece in self.pieces(name):
                            copy.write(piece)
            yield Path(private, below)


class FolderContents:
    """The files of a folder: plain ones only, and no link is followed."""

    stem = ""

    def __init__(self, root: Path) -> None:
        """List the names.

        :raises VerificationError: ``audit-bundle-malformed``.
        :raises OSError: a folder is unreadable.
        """
        self._root = root
        self._names = set(_plain_names(root))
        require_names(self._names)

    def names(self) -> set[str]:
        """Return the names of all files."""
        return self._names

    def pieces(self, name: str) -> Iterator[bytes]:
        """Yield a file's content."""
        with open_regular(self._root / name, follow_links=False) as file:
            while piece := file.read(CHUNK):
                yield piece

    @contextmanager
    def folder(self, below: str) -> Iterator[Path]:
        """Yield the folder itself."""
        yield self._root / below


@contextmanager
def opened(path: Path) -> Iterator[Contents]:
    """Yield the contents of a bundle.

    :raises InputError: ``file-unreadable``.
    :raises VerificationError: ``audit-bundle-malformed``.
    """
    try:
        if path.is_dir():
            yield FolderContents(path.resolve())
            return
        with open_regular(path) as file:
            yield ArchiveContents(file)
    except (OSError, ValueError) as error:
        message, expected = "The bundle cannot be read.", "a bundle.zip, or the folder it was unpacked to"
        got = f"{path}: {getattr(error, 'strerror', None) or error}"
        raise InputError(message, code="file-unreadable", got=got, expected=expected) from error


def read(contents: Contents, name: str, limit: int = MAX_READ_BYTES) -> bytes:
    """Return a file's content.

    :param limit: bytes.
    :raises VerificationError: ``audit-bundle-malformed``: it is larger, or absent.
    """
    if name not in contents.names():
        raise malformed(f"no {name}")
    found = bytearray()
    for piece in contents.pieces(name):
        found += piece
        if len(found) > limit:
            raise malformed(f"{name} has more than {limit} bytes")
    return bytes(found)


def read_manifest(contents: Contents) -> tuple[Manifest, bytes]:
    """Return the manifest, and its bytes.

    :raises VerificationError: ``audit-bundle-malformed``, ``audit-manifest-malformed``.
    """
    data = read(contents, MANIFEST, MAX_MANIFEST_BYTES)
    manifest = Manifest.parse(data)
    if contents.stem not in ("", manifest.stem):
        raise malformed(f"the folder {contents.stem!a} around {manifest.stem!a}")
    return manifest, data


def faults(contents: Contents, manifest: Manifest, data: bytes) -> list[Fault]:
    """Return every file that is missing, changed, or not in the manifest.

    :param data: the manifest's bytes.
    :raises VerificationError: ``audit-bundle-malformed``.
    """
    present, listed = contents.names() - {MANIFEST}, manifest.files.keys() | {CHECKSUM}
    found = [Fault(code="audit-file-missing", got="nothing", expected=name) for name in listed - present]
    found += [
        Fault(code="audit-file-unlisted", got=name, expected="only files of the manifest")
        for name in present - listed
    ]
    if CHECKSUM in present and read(contents, CHECKSUM, CHUNK) != checksum_line(data):
        found.append(Fault(code="audit-file-changed", got=CHECKSUM, expected=f"the SHA-256 of {MANIFEST}"))
    for name in present & manifest.files.keys():
        if (digest := _digest(contents, name)) != (entry := manifest.files[name]).sha256:
            found.append(Fault(code="audit-file-changed", got=f"{name}: {digest}", expected=entry.sha256))
    return sorted(found, key=lambda fault: (fault.code, fault.got, fault.expected))


def require_names(names: Mapping[str, object] | set[str]) -> None:
    """Accept names that stay below their folder, and stay different wherever they are unpacked.

    :raises VerificationError: ``audit-bundle-malformed``.
    """
    try:
        for name in names:
            require_safe_name(name)
        require_distinct(names if isinstance(names, set) else set(names))
    except VerificationError as error:
        raise malformed(error.got or error.message) from error


def _digest(contents: Contents, name: str) -> str:
    digest = hashlib.sha256()
    for piece in contents.pieces(name):
        digest.update(piece)
    return digest.hexdigest()


def _plain_names(root: Path) -> Iterator[str]:
    waiting, count = [""], 0
    while waiting:
        prefix = waiting.pop()
        with os.scandir(root / prefix) as entries:
            for entry in entries:
                count += 1
                name = prefix + entry.name
                if count > MAX_MEMBERS * 2 or prefix.count("/") > MAX_DEPTH:
                    raise malformed(f"more files or deeper folders than any bundle: {name!a}")
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(f"{name}/")
                elif entry.is_file(follow_symlinks=False):
                    yield name
                else:
                    raise malformed(f"{name!a} is a link, a device or otherwise no plain file")
