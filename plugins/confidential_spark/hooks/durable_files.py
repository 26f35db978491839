"""File operations that survive a crash or say why they could not: sync, switch, lock.

POSIX local file systems. `flock` ends with its holder, however it dies.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import stat
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from confidential_spark.core.errors import ConfidentialSparkError, ResultError

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger(__name__)
LOCK_POLL_S = 0.05
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


def sync(path: Path) -> None:
    """Make a file's content, or a folder's entries, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Make every file and folder below ``folder`` durable, and ``folder`` itself."""
    for parent, _, files in os.walk(folder):
        for name in files:
            sync(Path(parent) / name)
        sync(Path(parent))


def switch_link(link: Path, target: str, draft: Path) -> None:
    """Make ``link`` point to ``target`` in one step: readers see what it was or what it is.

    :param target: relative to the link's folder.
    :param draft: where the new link is made, on the same file system; what is there is replaced.
    """
    draft.unlink(missing_ok=True)
    draft.symlink_to(target)
    draft.replace(link)
    sync(link.parent)


def create_once(path: Path, content: str) -> bool:
    """Create a file with all its content unless it exists; return whether this call created it."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{time.monotonic_ns()}")
    try:
        draft.write_text(content, encoding="utf-8")
        sync(draft)
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        draft.unlink(missing_ok=True)
    sync(path.parent)
    return True


@contextmanager
def exclusive(lock: Path, timeout_s: float) -> Iterator[None]:
    """Hold a lock, waiting for it.

    :raises ResultError: ``results-locked`` (retryable) when another process holds it for too long.
    """
    give_up_at = time.monotonic() + timeout_s
    with lock.open("a") as file:
        while not try_lock(file.fileno(), fcntl.LOCK_EX):
            if time.monotonic() >= give_up_at:
                raise ResultError(
                    "Another process is working on these results.",
                    code="results-locked",
                    got=f"{lock} held for {timeout_s:.0f} s",
                    expected="a lock that is released within seconds",
                    action="look for a publish task that hangs; then run again",
                    retryable=True,
                )
            time.sleep(LOCK_POLL_S)
        yield


@contextmanager
def shared(lock: Path) -> Iterator[bool]:
    """Hold a lock together with others; yield False, at once, when somebody holds it alone."""
    with lock.open("a") as file:
        yield try_lock(file.fileno(), fcntl.LOCK_SH)


@contextmanager
def exclusive_if_free(lock: Path) -> Iterator[bool]:
    """Hold a lock if nobody else does; yield whether that is so."""
    with lock.open("a") as file:
        yield try_lock(file.fileno(), fcntl.LOCK_EX)


def try_lock(descriptor: int, kind: int) -> bool:
    """Take a lock that ends with the process, and return whether nobody else has it.

    :param kind: ``LOCK_SH`` or ``LOCK_EX``.
    """
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def best_effort(what: str) -> Iterator[None]:
    """Log the operating system's refusal of work that the next run repeats."""
    try:
        yield
    except FileNotFoundError:
        log.debug("Another process was faster to %s", what)
    except OSError as error:
        log.warning("Could not %s: %s", what, error)


def write_staged(path: Path, content: bytes) -> None:
    """Write a file of a try's folder; published with the folder, which is synced then.

    :raises ResultError: ``disk-full`` or ``results-unwritable``, with the file's name.
    """
    with storage_errors(f"write {path.name}", path):
        path.write_bytes(content)


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files below a folder; what goes meanwhile counts nothing."""
    sizes = [0]
    for each in (path, *(Path(folder, name) for folder, _, names in os.walk(path) for name in names)):
        with best_effort(f"look at {each}"):
            status = each.lstat()
            sizes.append(0 if stat.S_ISDIR(status.st_mode) else status.st_size)
    return sum(sizes)


@contextmanager
def storage_errors(what: str, place: Path | None = None) -> Iterator[None]:
    """Turn the operating system's refusals into this project's.

    :param place: shown where the operating system names no file, as for a write.
    :raises ResultError: ``disk-full`` or ``results-unwritable``.
    """
    try:
        yield
    except OSError as error:
        raise _storage_error(what, error, place) from error


def _storage_error(what: str, error: OSError, place: Path | None) -> ConfidentialSparkError:
    named = error.filename or place
    got = f"{error.strerror or error}: {named}" if named else f"{error.strerror or error}"
    if error.errno in NO_SPACE:
        return ResultError(
            f"No space is left to {what}. What was published before is untouched.",
            code="disk-full",
            got=got,
            expected="free space in the results folder",
            action="free space, then clear the task; docs/runbooks/disk-full.md",
        )
    return ResultError(
        f"The results folder refused to {what}. What was published before is untouched.",
        code="results-unwritable",
        got=got,
        expected="a folder that this user may write to",
        action="correct CONFIDENTIAL_SPARK_RESULTS_DIR or its owner",
    )
