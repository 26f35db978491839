"""The one way to open a file that somebody hands over: regular files only, never waiting, bounded.

Linux and macOS: a FIFO, a device or a folder is refused at once, where a plain `open` would wait or read on.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from pathlib import Path


def open_regular(path: Path, *, follow_links: bool = True) -> BinaryIO:
    """Open a regular file for reading.

    :raises OSError: it is absent, unreadable or no regular file.
    :raises ValueError: no file can have this name.
    """
    links = 0 if follow_links else os.O_NOFOLLOW
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC | links)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


def read_regular(path: Path, limit: int) -> bytes:
    """Return a regular file's content up to one byte more than ``limit``, by which a reader sees the excess.

    :raises OSError: as :func:`open_regular`.
    :raises ValueError: as :func:`open_regular`.
    """
    with open_regular(path) as file:
        return file.read(limit + 1)
