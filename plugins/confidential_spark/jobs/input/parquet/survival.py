"""Files whose metadata would end the process that reads it.

PyArrow 26 meets some garbled footers with a C++ exception where none can be caught, e.g. "Definition level
histogram size mismatch", and aborts. A child process that was forked looks first; it costs some milliseconds.
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
# A fork of a process with threads may wait for a lock that nobody holds any more; the reader goes on then.
LONGEST_LOOK = 60  # seconds


def require_survivable(paths: Sequence[Path]) -> None:
    """Refuse the first file whose metadata ends the process that reads it; the reader finds other faults.

    :raises InputError: ``input-unreadable``.
    """
    import pyarrow.parquet  # noqa: F401 - here, so that the child need not

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
    """Write a byte before each file that is read, and end this process."""
    try:
        # What is expected here is no crash to report.
        faulthandler.disable()
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(LONGEST_LOOK)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        for path in paths:
            os.write(marks, b".")
            # Whatever Python can catch, the reader that comes after meets and names.
            with contextlib.suppress(Exception), path.open("rb") as stream:
                footer = read_footer(stream, path.name)
                require_readable(footer, footer.columns)
    finally:
        os._exit(0)
