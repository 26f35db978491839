"""A task's temporary folder, which is removed even when the task is killed: by the next one."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from confidential_spark.hooks.durable_files import best_effort, try_lock

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX = "confidential-spark-task-"


@contextmanager
def task_folder(purpose: str) -> Iterator[Path]:
    """Yield a private temporary folder, and remove it at the end; those of killed tasks are removed first.

    :param purpose: part of the folder's name, e.g. ``enclave``.
    """
    remove_abandoned()
    folder, lock = _make(f"{PREFIX}{purpose}-")
    try:
        yield folder
    finally:
        # What cannot be removed now is abandoned, and removed by a later task.
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def remove_abandoned() -> list[Path]:
    """Remove the folders of tasks that no longer run, and return them."""
    removed = []
    with best_effort("remove the temporary folders of killed tasks"):
        for folder in sorted(Path(tempfile.gettempdir()).glob(f"{PREFIX}*")):
            lock = _lock(folder)
            if lock is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)
                removed.append(folder)
    return removed


def _make(prefix: str) -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix))
        lock = _lock(folder)
        if lock is not None:
            return folder, lock
        # Another task took it for abandoned before it was locked, and removes it.


def _lock(folder: Path) -> int | None:
    """Return a lock on a folder of this user; None when a process has it, or the folder is gone."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    if _is_own(folder, descriptor) and try_lock(descriptor, fcntl.LOCK_EX) and _is_own(folder, descriptor):
        return descriptor
    os.close(descriptor)
    return None


def _is_own(folder: Path, descriptor: int) -> bool:
    opened = os.fstat(descriptor)
    try:
        return opened.st_uid == os.geteuid() and os.path.samestat(opened, folder.lstat())
    except FileNotFoundError:
        return False
