"""What one month's input is: its files with bytes, SHA-256 and rows, checked against the job's contract.

Only Parquet footers are parsed; rows themselves are the job's business.
"""

from __future__ import annotations

import hashlib
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from confidential_spark.agent.protocol import canonical_json, sha256_hex
from confidential_spark.core.errors import InputError
from confidential_spark.jobs.input.location import local_folder, month_uri
from confidential_spark.jobs.input.parquet_footer import read_footer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from confidential_spark.core.months import Month
    from confidential_spark.jobs.input.contract import InputContract
    from confidential_spark.jobs.input.parquet_footer import Footer

HASHING_THREADS = 4


@dataclass(frozen=True)
class InputFile:
    """One data file; ``sha256`` is lower-case hex."""

    name: str
    bytes: int
    sha256: str
    rows: int
    row_groups: int


@dataclass(frozen=True)
class InputTotals:
    """The manifest in a few hundred bytes, for XCom and the report.

    :param files_sha256: SHA-256 (hex) over the canonical JSON of the file list.
    """

    uri: str
    month: str
    files: int
    rows: int
    bytes: int
    files_sha256: str
    synthetic: bool
    extra_columns: int

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> InputTotals:
        """Read what :meth:`InputManifest.summary` returned."""
        return cls(**value)


@dataclass(frozen=True)
class InputManifest:
    """One month's input, file by file.

    :param uri: the folder as Spark understands it: ``file://`` and the path, not percent-encoded.
    :param extra_columns: columns beyond the contract; allowed, never read.
    :param synthetic: whether any file says that it was made up.
    """

    uri: str
    month: str
    files: tuple[InputFile, ...]
    synthetic: bool
    extra_columns: tuple[str, ...]

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
            files_sha256=sha256_hex(canonical_json([asdict(file) for file in self.files])),
            synthetic=self.synthetic,
            extra_columns=len(self.extra_columns),
        )

    def summary(self) -> dict[str, Any]:
        """Return the small form as a JSON object, for XCom."""
        return asdict(self.totals())


def read_manifest(location: str, month: Month, contract: InputContract) -> InputManifest:
    """Inspect and hash every data file of ``month``.

    Names beginning with `.` (checksums, `._` files) or `_` (`_SUCCESS`) are skipped, as Spark does.

    :param location: ``file:`` URI or path, a template or a folder (see :func:`month_uri`).
    :param contract: the columns that the job needs.
    :raises ConfigurationError: ``input-scheme``, ``input-uri``, ``input-template``.
    :raises InputError: ``input-missing``, ``month-without-data``, ``input-empty``, ``input-not-a-folder``,
        ``input-unreadable``, ``input-truncated``, ``input-foreign-file``, ``input-schema``,
        ``input-month-mismatch``.
    """
    folder = local_folder(month_uri(location, month))
    paths = data_files(folder, month)
    with ThreadPoolExecutor(HASHING_THREADS) as threads:
        inspected = list(threads.map(partial(_inspect, contract=contract), paths))
    files, footers = zip(*inspected, strict=True)
    _require_one_time_form(files, footers)
    manifest = InputManifest(
        uri=f"file://{folder}",
        month=str(month),
        files=files,
        synthetic=any(footer.synthetic for footer in footers),
        extra_columns=tuple(sorted({name for footer in footers for name in footer.extra_columns})),
    )
    if manifest.rows == 0:
        raise _no_data(month, f"{len(paths)} files without a row in {folder}")
    return manifest


def _require_one_time_form(files: Sequence[InputFile], footers: Sequence[Footer]) -> None:
    """Refuse files that store times differently: Spark merges no local times with absolute ones."""
    first = footers[0].time_forms
    for file, footer in zip(files, footers, strict=True):
        if footer.time_forms != first:
            raise InputError(
                "The month's files do not store times in the same way.",
                code="input-schema",
                got=f"{file.name}: {', '.join(footer.time_forms)}",
                expected=f"as in {files[0].name}: {', '.join(first)}",
                action="write all files of the month in the same way",
            )


def data_files(folder: Path, month: Month) -> list[Path]:
    """Return the Parquet files of ``month``'s folder, in order of their names; none is opened.

    :raises InputError: ``input-missing``, ``month-without-data``, ``input-empty``, ``input-not-a-folder``,
        ``input-unreadable``, ``input-foreign-file``.
    """
    with _readable(folder):
        if not folder.exists():
            raise _absent(folder, month)
        if not folder.is_dir():
            raise InputError(
                "The month's location is not a folder.",
                code="input-not-a-folder",
                got=str(folder),
                expected="a folder of Parquet files",
                action="give the folder, not one of its files",
            )
        paths = sorted(path for path in folder.iterdir() if not _is_ignored(path.name))
    if not paths:
        raise InputError(
            "The month's folder holds no data files.",
            code="input-empty",
            got=str(folder),
            expected="at least one Parquet file",
            action="complete the input, or choose another month",
        )
    for path in paths:
        _require_data_file(path)
    return paths


def _absent(folder: Path, month: Month) -> InputError:
    """Tell a missing month from a missing input: does any month exist beside it?"""
    if any(parent.is_dir() for parent in (folder.parent, folder.parent.parent)):
        return _no_data(month, f"no folder {folder}")
    return InputError(
        "The input location does not exist.",
        code="input-missing",
        got=str(folder),
        expected="an existing folder",
        action="correct the input location",
    )


def _no_data(month: Month, got: str) -> InputError:
    return InputError(
        f"There is no data for {month}.",
        code="month-without-data",
        got=got,
        expected="a month's folder with at least one row",
        action="choose a month that the input has",
    )


def _is_ignored(name: str) -> bool:
    return name.startswith((".", "_"))


def _require_data_file(path: Path) -> None:
    with _readable(path):
        regular = stat.S_ISREG(path.stat().st_mode)
    if not (regular and path.name.endswith(".parquet") and _is_text(path.name)):
        raise InputError(
            "The month's folder holds something that is not a Parquet file.",
            code="input-foreign-file",
            got=path.name,
            expected="only *.parquet files (and _SUCCESS, hidden files)",
            action="move it away: Spark would read it as data",
        )


def _is_text(name: str) -> bool:
    """Return whether a name is Unicode; others cannot stand in a signed statement."""
    return name.isprintable()


def _inspect(path: Path, contract: InputContract) -> tuple[InputFile, Footer]:
    """Return one file's entry and what its footer says."""
    with _readable(path), path.open("rb") as stream:
        footer = read_footer(stream, path.name, contract)
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


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            "The input cannot be read.",
            code="input-unreadable",
            got=f"{path}: {error.strerror or error}",
            expected="a folder and files that this user may read",
            action="correct the permissions or the storage",
        ) from error
