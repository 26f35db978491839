"""A month's folder: its data files by name, and whether they are all of the month and nothing else.

A table format keeps a log beside its files, and only the log says which of them count; a writer at work
leaves marks. Spark reads every file there is: it would count rows that are deleted, doubled or incomplete.
"""

from __future__ import annotations

import errno
import json
import os
import re
import stat
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from confidential_spark.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from confidential_spark.core.months import Month

TABLE_LOGS = {"_delta_log": "Delta Lake", ".hoodie": "Hudi", "_spark_metadata": "a Spark stream"}
ICEBERG_METADATA = ("*.metadata.json", "version-hint.text")
STAGING = (".spark-staging-*", ".hive-staging*", "_impala_insert_staging")
# Databricks' writer leaves _started_<id>, files with -tid-<id>- in their names and, at last, _committed_<id>.
TRANSACTION_OF_FILE = re.compile(r"-tid-(\d+)-")
MAX_COMMIT_BYTES = 16 * 1024 * 1024
OPEN_FILES_LIMIT = (errno.EMFILE, errno.ENFILE)
LAYOUT_DEPTH = 2
"""Folders above a month's that belong to the layout: the year, and the folder of the years."""


def data_files(folder: Path, month: Month) -> list[Path]:
    """Return the Parquet files of ``month``'s folder, in order of their names; none is opened.

    :raises InputError: ``input-missing``, ``month-without-data``, ``input-empty``, ``input-not-a-folder``,
        ``input-unreadable``, ``input-foreign-file``, ``input-is-a-table``, ``input-being-written``.
    """
    _require_no_table(folder)
    with readable(folder):
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
        _require_no_writer(folder)
        _require_every_file_committed(folder)
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


def data_file(path: Path) -> Path:
    """Return a file that is a month by itself; it is not opened.

    :raises InputError: ``input-foreign-file``, ``input-is-a-table``, ``input-being-written``.
    """
    _require_no_table(path.parent)
    _require_no_writer(path.parent)
    _require_data_file(path)
    return path


def _require_no_table(folder: Path) -> None:
    """Refuse a folder in a table, whose log may be anywhere above the month."""
    # As it is called, and where a link leads.
    for start in dict.fromkeys((folder.absolute(), Path(os.path.realpath(folder)))):
        for place in (start, *start.parents):
            with suppress(OSError):
                if log := _table_log(place):
                    raise _table_error(log)


def _table_log(place: Path) -> str | None:
    for name, kind in TABLE_LOGS.items():
        if (place / name).is_dir():
            return f"{kind}: {place / name}"
    metadata = place / "metadata"
    if any(next(metadata.glob(pattern), None) for pattern in ICEBERG_METADATA):
        return f"Iceberg: {metadata}"
    return None


def _table_error(got: str) -> InputError:
    return InputError(
        "The input is part of a table, and only the table's log says which of its files count.",
        code="input-is-a-table",
        got=got,
        expected="a folder in which every file counts",
        action="export the month from the table to a folder of plain Parquet files",
    )


def _require_no_writer(folder: Path) -> None:
    """Refuse a folder that somebody is writing, or has not written to the end."""
    for place in [folder, *folder.absolute().parents][: LAYOUT_DEPTH + 1]:
        with suppress(PermissionError):
            temporary = place / "_temporary"
            if temporary.is_dir() and not (place / "_SUCCESS").is_file():
                raise _writer_error(f"{temporary}, and no _SUCCESS beside it")
            for pattern in STAGING:
                if staging := next(place.glob(pattern), None):
                    raise _writer_error(str(staging))


def _writer_error(got: str) -> InputError:
    return InputError(
        "The month's folder is being written, or its writer died.",
        code="input-being-written",
        got=got,
        expected="a folder whose writer has finished",
        action="wait for the writer; if there is none, write the month again",
    )


def _require_every_file_committed(folder: Path) -> None:
    """Refuse files of transactions that did not end, or that a later one has removed."""
    committed = {path.name.removeprefix("_committed_") for path in folder.glob("_committed_*")}
    for path in folder.glob("_started_*"):
        transaction = path.name.removeprefix("_started_")
        if transaction not in committed and _has_files_of(folder, transaction):
            raise _writer_error(f"{path.name} without _committed_{transaction}")
    for path in folder.glob("_committed_*"):
        if removed := next((name for name in _removed_by(path) if (folder / name).exists()), None):
            raise _table_error(f"Databricks: {path.name} removes {removed}, which is there")


def _has_files_of(folder: Path, transaction: str) -> bool:
    """Return whether a transaction wrote any of the files; where their names do not tell, it may have."""
    transactions = [TRANSACTION_OF_FILE.search(path.name) for path in folder.glob("*.parquet")]
    return any(found is None or found[1] == transaction for found in transactions)


def _removed_by(commit: Path) -> list[str]:
    """Return the names of the files that a commit removes; none where it is not a list of names."""
    with commit.open("rb") as file:
        content = file.read(MAX_COMMIT_BYTES)
    try:
        removed = json.loads(content)["removed"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []
    return [name for name in removed if isinstance(name, str) and name] if isinstance(removed, list) else []


def _absent(folder: Path, month: Month) -> InputError:
    """Tell a missing month from a missing input: does any month exist beside it?"""
    if any(parent.is_dir() for parent in (folder.parent, folder.parent.parent)):
        return no_data(month, f"no folder {folder}")
    return no_input(folder)


def no_input(folder: Path) -> InputError:
    """Return the error for an input that is not there."""
    return InputError(
        "The input location does not exist.",
        code="input-missing",
        got=str(folder),
        expected="an existing folder",
        action="correct the input location",
    )


def no_data(month: Month, got: str) -> InputError:
    """Return the error for a month that the input does not have."""
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
    with readable(path):
        mode = path.stat().st_mode
    kind = "" if stat.S_ISREG(mode) else ", a folder" if stat.S_ISDIR(mode) else ", no regular file"
    if kind or not (path.name.endswith(".parquet") and _is_text(path.name)):
        raise InputError(
            "The month's folder holds something that is not a Parquet file.",
            code="input-foreign-file",
            got=f"{path.name}{kind}",
            expected="only *.parquet files (and _SUCCESS, hidden files)",
            action="move it away: Spark would read it as data",
        )
    if ":" in path.name:
        raise InputError(
            "The name of an input file has a colon, with which Hadoop begins an address.",
            code="input-foreign-file",
            got=path.name,
            expected="a name without a colon",
            action="rename the file",
        )


def _is_text(name: str) -> bool:
    """Return whether a name is Unicode; others cannot stand in a signed statement."""
    return name.isprintable()


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn an error of the file system into one that names what could not be read.

    :raises InputError: ``input-unreadable``.
    """
    try:
        yield
    except OSError as error:
        raise InputError(
            "The input cannot be read.",
            code="input-unreadable",
            got=f"{path}: {error.strerror or error}",
            expected="a folder and files that this user may read",
            action="raise `ulimit -n`"
            if error.errno in OPEN_FILES_LIMIT
            else "correct the permissions or the storage",
        ) from error
