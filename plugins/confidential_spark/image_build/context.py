"""Everything an image is built from: files with their digests, build arguments, base image; as a tar stream.

The stream depends on nothing but content: fixed order, owner, times and modes. So the same inputs have the
same digest on every machine, and an engine's build cache recognises them.

The list of files with their digests is kept beside the ledger under the name of that digest, so that two
images can be compared by what they were built from.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, cast

from confidential_spark.agent.protocol import canonical_json, sha256_hex
from confidential_spark.core.errors import InputError
from confidential_spark.hooks.durable_files import create_once
from confidential_spark.verification.safe_files import read_regular

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

READABLE, EXECUTABLE = 0o644, 0o755
MAX_LIST_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class ContextFile:
    """One file of the context.

    :param source: where it is, or its content.
    :param sha256: what it was when the inputs were resolved.
    """

    source: Path | bytes = field(repr=False)
    sha256: str
    executable: bool = False

    @classmethod
    def of(cls, path: Path) -> ContextFile:
        """Return a file of this machine.

        :raises OSError: it cannot be read.
        """
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return cls(path, digest, executable=bool(path.stat().st_mode & 0o100))

    @classmethod
    def containing(cls, content: bytes) -> ContextFile:
        """Return a file made of bytes."""
        return cls(content, sha256_hex(content))

    def read(self) -> bytes:
        """Return the content, which must be the one that was resolved.

        :raises InputError: ``build-input-changed``.
        :raises OSError: it cannot be read.
        """
        content = self.source if isinstance(self.source, bytes) else self.source.read_bytes()
        if sha256_hex(content) != self.sha256:
            raise changed(str(self.source), sha256_hex(content), self.sha256)
        return content


@dataclass(frozen=True)
class BuildContext:
    """The inputs of one image.

    :param files: by their path in the context, ``/`` between folders.
    :param build_args: arguments of the Dockerfile.
    :param base_image: id or digest of what the image starts from.
    :param empty_folders: folders that must be there without a file.
    """

    files: Mapping[str, ContextFile]
    build_args: Mapping[str, str]
    base_image: str
    empty_folders: tuple[str, ...] = ()

    @property
    def inputs_sha256(self) -> str:
        """SHA-256 of the list of all of it."""
        return sha256_hex(self.listing)

    @property
    def listing(self) -> bytes:
        """Every input with its digest, as canonical JSON."""
        return canonical_json(
            {
                "base_image": self.base_image,
                "build_args": dict(self.build_args),
                "executables": sorted(path for path, file in self.files.items() if file.executable),
                "files": {path: file.sha256 for path, file in self.files.items()},
            }
        )

    def folders(self) -> list[str]:
        """Return every folder of the context, parents before children."""
        parents = {str(parent) for path in self.files for parent in PurePosixPath(path).parents}
        return sorted((parents | set(self.empty_folders)) - {"."})

    def tar(self) -> Iterator[bytes]:
        """Yield the context as a tar stream; every file is compared with its digest on the way.

        :raises InputError: ``build-input-changed``.
        :raises OSError: a file cannot be read.
        """
        for folder in self.folders():
            header = tarfile.TarInfo(folder)
            header.type, header.mode = tarfile.DIRTYPE, EXECUTABLE
            yield header.tobuf(tarfile.PAX_FORMAT)
        for path, file in sorted(self.files.items()):
            content = file.read()
            header = tarfile.TarInfo(path)
            header.size = len(content)
            header.mode = EXECUTABLE if file.executable else READABLE
            yield header.tobuf(tarfile.PAX_FORMAT)
            yield content
            yield bytes(-len(content) % tarfile.BLOCKSIZE)
        yield bytes(2 * tarfile.BLOCKSIZE)


@dataclass(frozen=True)
class InputList:
    """What an image was built from, as it was recorded.

    :param files: SHA-256 by path in the build context.
    """

    base_image: str
    build_args: Mapping[str, str]
    executables: tuple[str, ...]
    files: Mapping[str, str]


def record_inputs(ledger: Path, context: BuildContext) -> None:
    """Keep the list of an image's inputs beside the ledger of its approvals; a list that is there stays.

    :raises OSError: it cannot be written.
    """
    place = list_of_inputs(ledger, context.inputs_sha256)
    if not place.exists():
        place.parent.mkdir(mode=EXECUTABLE, exist_ok=True)
        create_once(place, context.listing.decode())


def recorded_inputs(ledger: Path, inputs_sha256: str) -> InputList | None:
    """Return the list of an image's inputs; None where none is kept, or another than the digest names.

    :param inputs_sha256: 64 hex digits.
    """
    try:
        content = read_regular(list_of_inputs(ledger, inputs_sha256), MAX_LIST_BYTES)
    except (OSError, ValueError):
        return None
    if sha256_hex(content) != inputs_sha256:
        return None
    # Of this form, since a build has made it and its name is its digest.
    found = cast("dict[str, Any]", json.loads(content))
    return InputList(found["base_image"], found["build_args"], tuple(found["executables"]), found["files"])


def list_of_inputs(ledger: Path, inputs_sha256: str) -> Path:
    """Return where the list of an image's inputs is kept."""
    return ledger.with_suffix(".inputs") / f"{inputs_sha256}.json"


def changed(what: str, got: str, expected: str) -> InputError:
    """Return the error for an input that is not what its lock file or an earlier look at it says."""
    return InputError(
        "An input of the image is not what it must be.",
        code="build-input-changed",
        got=f"{what}: {got}",
        expected=expected,
        action="find out who changed it; reinstall what was installed, delete the cache, then run again",
    )
