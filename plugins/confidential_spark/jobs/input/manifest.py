"""What one month's input is: its files with bytes, SHA-256 and rows, checked against the job's contract.

Only Parquet footers are parsed; rows themselves are the job's business.
"""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from confidential_spark.agent.protocol import canonical_json, sha256_hex
from confidential_spark.core.errors import InputError
from confidential_spark.jobs.input.folder import no_data, readable
from confidential_spark.jobs.input.layouts import files_at, month_input
from confidential_spark.jobs.input.location import local_folder
from confidential_spark.jobs.input.parquet.footer import read_footer, require_readable
from confidential_spark.jobs.input.parquet.survival import require_survivable
from confidential_spark.jobs.input.recognition import recognise, spelling

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from confidential_spark.core.months import Month
    from confidential_spark.jobs.input.contract import InputContract
    from confidential_spark.jobs.input.parquet.footer import Footer

HASHING_THREADS = 4
BLOBS = "blobs"
"""Member of the small form: name, bytes and etag of each blob, where the input is blobs."""


@dataclass(frozen=True)
class InputFile:
    """One data file.

    :param sha256: lower-case hex; empty for a blob, whose bytes only the enclave reads.
    :param etag: the version of a blob; empty for a file.
    """

    name: str
    bytes: int
    sha256: str
    rows: int
    row_groups: int
    etag: str = ""

    def identity(self) -> dict[str, Any]:
        """Return what must not change: a blob is known by its version, a file by its content."""
        return {
            key: value for key, value in asdict(self).items() if key != ("sha256" if self.etag else "etag")
        }


@dataclass(frozen=True)
class InputTotals:
    """The manifest in a few hundred bytes, for XCom and the report.

    :param files_sha256: SHA-256 (hex) over the canonical JSON of the file list.
    :param version: the version of the table that the files are of; empty where it has no versions.
    """

    uri: str
    month: str
    files: int
    rows: int
    bytes: int
    files_sha256: str
    synthetic: bool
    extra_columns: int
    version: str = ""

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> InputTotals:
        """Read what :meth:`InputManifest.summary` returned."""
        return cls(**{field.name: value[field.name] for field in fields(cls) if field.name in value})


@dataclass(frozen=True)
class InputManifest:
    """One month's input, file by file.

    :param uri: the folder, or the only file, as Spark understands it: ``file://`` and the path, not
        percent-encoded; of blobs the ``https://`` address of their folder.
    :param version: the version of the table that all files are of; empty where it has no versions.
    :param columns: the columns that the job needs, in every spelling that a file has.
    :param extra_columns: the other columns; allowed, never read.
    :param synthetic: whether any file says that it was made up.
    """

    uri: str
    month: str
    files: tuple[InputFile, ...]
    version: str
    columns: tuple[str, ...]
    synthetic: bool
    extra_columns: tuple[str, ...]

    @property
    def paths(self) -> list[Path]:
        """Where the files are, in their order."""
        place = local_folder(self.uri)
        folder = place.parent if place.is_file() else place
        return [folder / file.name for file in self.files]

    @property
    def rows(self) -> int:
        """Rows of all files."""
        return sum(file.rows for file in self.files)

    @property
    def bytes(self) -> int:
        """Bytes of all files."""
        return sum(file.bytes for file in self.files)

    def totals(self) -> InputTotals:
        """Return the manifest's small form."""
        return InputTotals(
            uri=self.uri,
            month=self.month,
            files=len(self.files),
            rows=self.rows,
            bytes=self.bytes,
            files_sha256=sha256_hex(canonical_json([file.identity() for file in self.files])),
            synthetic=self.synthetic,
            extra_columns=len(self.extra_columns),
            version=self.version,
        )

    def summary(self) -> dict[str, Any]:
        """Return the small form as a JSON object, for XCom; of blobs with their list."""
        blobs = [{"name": f.name, "bytes": f.bytes, "etag": f.etag} for f in self.files if f.etag]
        return asdict(self.totals()) | ({BLOBS: blobs} if blobs else {})


def read_manifest(location: str, month: Month, contract: InputContract) -> InputManifest:
    """Inspect and hash every data file of ``month``.

    Names beginning with `.` (checksums, `._` files) or `_` (`_SUCCESS`) are skipped, as Spark does.

    :param location: ``file:`` URI or path, a template or a folder (see :func:`.layouts.month_input`).
    :param contract: the columns that the job needs.
    :raises ConfigurationError: ``input-scheme``, ``input-uri``, ``input-template``.
    :raises InputError: ``input-missing``, ``month-without-data``, ``input-empty``, ``input-not-a-folder``,
        ``input-unreadable``, ``input-truncated``, ``input-foreign-file``, ``input-schema``,
        ``input-month-mismatch``, ``input-two-layouts``, ``input-is-a-table``, ``input-being-written``,
        ``input-duplicate-file``.
    """
    return _manifest(*month_input(location, month), month, contract)


def read_again(uri: str, month: Month, contract: InputContract) -> InputManifest:
    """Inspect and hash the month's files once more.

    :param uri: of the manifest that was read before.
    :raises InputError: as :func:`read_manifest`.
    """
    return _manifest(*files_at(local_folder(uri), month), month, contract)


def _manifest(place: Path, paths: Sequence[Path], month: Month, contract: InputContract) -> InputManifest:
    require_survivable(paths)
    with ThreadPoolExecutor(HASHING_THREADS) as threads:
        inspected = list(threads.map(_inspect, paths))
    return manifest_of(f"file://{place}", month, contract, paths, inspected)


def manifest_of(
    uri: str,
    month: Month,
    contract: InputContract,
    paths: Sequence[Path],
    inspected: Sequence[tuple[InputFile, Footer]],
) -> InputManifest:
    """Check a month's files by their footers against the contract, and against each other.

    :param uri: where they are, for the manifest.
    :param paths: where they can be told apart: the files, or what stands for them.
    :raises InputError: ``input-schema``, ``input-unreadable``, ``input-duplicate-file``,
        ``month-without-data``.
    """
    files, footers = zip(*inspected, strict=True)
    version = recognise(footers, contract)
    columns = [[spelling(footer, name) for name in version.sources] for footer in footers]
    for footer, names in zip(footers, columns, strict=True):
        require_readable(footer, names)
    _require_different_rows(paths, files, footers)
    needed = {name for names in columns for name in names}
    manifest = InputManifest(
        uri=uri,
        month=str(month),
        files=files,
        version=version.name,
        columns=tuple(sorted(needed)),
        synthetic=any(footer.synthetic for footer in footers),
        extra_columns=tuple(sorted({name for footer in footers for name in footer.columns} - needed)),
    )
    if manifest.rows == 0:
        raise no_data(month, f"{len(paths)} files without a row in {uri.removeprefix('file://')}")
    return manifest


def _require_different_rows(
    paths: Sequence[Path], files: Sequence[InputFile], footers: Sequence[Footer]
) -> None:
    """Refuse rows that are there twice: every sum of the month would be too large.

    Files without a row are left alone: Spark writes many of them, all alike.
    """
    seen: dict[str, Path] = {}
    for path, file, footer in zip(paths, files, footers, strict=True):
        for mark in (file.sha256, footer.rows_mark):
            first = seen.setdefault(mark, path) if mark and file.rows else path
            if first != path:
                likeness = _likeness(first, path, mark == file.sha256)
                raise InputError(
                    "Two files of the month hold the same rows.",
                    code="input-duplicate-file",
                    got=f"{first.name} and {file.name}: {likeness}",
                    expected="each row once",
                    action="remove the one that is too many",
                )


def _likeness(first: Path, second: Path, same_bytes: bool) -> str:
    with readable(second):
        if first.samefile(second):
            return "one is a link to the other"
    return "the same bytes" if same_bytes else "as many rows, with the same bounds and nulls in every column"


def _inspect(path: Path) -> tuple[InputFile, Footer]:
    """Return one file's entry and what its footer says."""
    with readable(path), path.open("rb") as stream:
        footer = read_footer(stream, path.name)
        stream.seek(0)
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        size = stream.tell()
        if size != footer.bytes or os.fstat(stream.fileno()).st_size != size:
            raise InputError(
                "An input file changed while it was read.",
                code="input-unreadable",
                got=f"{path.name}: {footer.bytes}, then {size} bytes",
                expected="files that nobody writes to",
                action="run again when the input is complete",
                retryable=True,
            )
    return InputFile(path.name, size, digest, footer.rows, footer.row_groups), footer
