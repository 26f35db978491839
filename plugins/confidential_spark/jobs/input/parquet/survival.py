"""Detects Parquet metadata that crashes the process that reads it.

PyArrow 26 aborts on some malformed footers, because a C++ exception leaves a destructor or a callback, e.g.
"Definition level histogram size mismatch". A forked child reads the metadata first, which costs milliseconds.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import resource
import signal
from typing import TYPE_CHECKING, NoReturn

from confidential_spark.core.errors import InputError
from confidential_spark.jobs.input.parquet.footer import read_footer, require_readable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

CRASHES = (signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS)
# The fork of a process with threads can deadlock. The child is killed then, and the file counts as readable.
READ_TIMEOUT_SECONDS = 60


def require_survivable(paths: Sequence[Path]) -> None:
    """Refuse the first file whose metadata crashes PyArrow; other faults are left to the reader.

    :raises InputError: ``input-unreadable``.
    """
    import pyarrow.parquet  # noqa: F401 - imported once here, not in each child

    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _read_all(paths, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as marks:
        begun = len(marks.read())
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) in CRASHES:
        name = paths[begun - 1].name if begun else ""
        raise InputError(
            "An input file is damaged: its metadata contradicts itself.",
            code="input-unreadable",
            got=f"{name}: metadata at which PyArrow aborts (signal {os.WTERMSIG(status)})",
            expected="a Parquet file as its writer left it",
            action="fetch the file again from where it was written",
        )


def _read_all(paths: Sequence[Path], marks: int) -> NoReturn:
    """Read the files' metadata, writing a byte before each, and exit."""
    try:
        # A crash of this child is expected and needs no report or core file.
        faulthandler.disable()
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(READ_TIMEOUT_SECONDS)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        for path in paths:
            os.write(marks, b".")
            # The reader that follows raises and names whatever Python can catch.
            with contextlib.suppress(Exception), path.open("rb") as stream:
                footer = read_footer(stream, path.name)
                require_readable(footer, footer.columns)
    finally:
        os._exit(0)
