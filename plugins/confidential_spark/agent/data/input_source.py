"""Where the input's bytes come from: a folder of Parquet files that the host serves, or one such file."""

from __future__ import annotations

import errno
import re
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import unquote, urlsplit

from confidential_spark.agent.errors import AgentError, ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_NAME_BYTES = 255
NAME = re.compile(r"[^./_][^/]*\.parquet")


def require_name(name: object) -> None:
    """Refuse what is not the name of one of the input's files, where another names it.

    :raises ValueError: with the name.
    """
    if type(name) is not str or not NAME.fullmatch(name) or not name.isprintable():
        raise ValueError(f"no name of a Parquet file: {name!r}")
    if len(name.encode()) > MAX_NAME_BYTES:
        raise ValueError(f"more than {MAX_NAME_BYTES} bytes: {name!r}")


def input_names(uri: str) -> list[str]:
    """Return the names of the input's files, sorted; Spark ignores those that start with ``_`` or ``.`` too.

    :raises AgentError: ``input-scheme``, ``input-missing``, ``input-foreign-file`` or ``input-empty``.
    """
    place = _place(uri)
    try:
        entries = [place] if place.is_file() else sorted(place.iterdir())
    except OSError as error:
        raise unusable_input(
            "input-missing", "The input folder cannot be read.", error, "a folder"
        ) from error
    files = [entry for entry in entries if not entry.name.startswith(("_", "."))]
    _require_parquet(files)
    if not files:
        raise unusable_input("input-empty", "The input folder is empty.", uri, "at least one *.parquet file")
    return [file.name for file in files]


def input_uri(uri: str, name: str) -> str:
    """Return one file's address, as the statement names it."""
    return _path(uri, name).as_uri()


def open_input(uri: str, name: str) -> BinaryIO:
    """Open one of the input's files.

    :param name: a single name, which the caller has checked.
    :raises OSError: there is no such file, or it cannot be read.
    """
    path = _path(uri, name)
    # A pipe would keep its reader waiting.
    if not path.is_file():
        raise FileNotFoundError(errno.ENOENT, "no such file")
    return path.open("rb")


def unusable_input(code: str, message: str, got: object, expected: str) -> AgentError:
    """Return the error for input that no job may read."""
    return AgentError(
        message,
        exit_code=ExitCode.INPUT_UNUSABLE,
        code=code,
        got=got,
        expected=expected,
        action="correct the input location of the run",
    )


def _path(uri: str, name: str) -> Path:
    place = _place(uri)
    return place if place.name == name and place.is_file() else place / name


def _place(uri: str) -> Path:
    parts = urlsplit(uri)
    if parts.scheme != "file" or parts.netloc or parts.query or parts.fragment:
        raise unusable_input("input-scheme", "The input cannot be hashed.", uri, "a file:// folder or file")
    return Path(unquote(parts.path))


def _require_parquet(files: Iterable[Path]) -> None:
    for file in files:
        if file.suffix != ".parquet" or not file.is_file():
            raise unusable_input(
                "input-foreign-file", "The input folder holds something else.", file.name, "*.parquet"
            )
