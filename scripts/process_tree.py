"""Child processes that never outlive the program that started them, however it or they end.

Linux keeps these promises by itself: a child is killed with its parent, and whatever a dead child leaves
behind becomes the program's own child, which it can end.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from types import FrameType

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
END_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Loaded before any fork: a forked child must not load libraries.
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def take_charge() -> None:
    """Make TERM and a closed terminal end this program like Ctrl-C, and adopt what its children leave."""
    for number in END_SIGNALS:
        signal.signal(number, _interrupt)
    if LIBC is not None:
        LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1)


def end_with_parent() -> None:
    """Let the kernel end this process with its parent; for `preexec_fn`."""
    if LIBC is not None:
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def descendants() -> list[psutil.Process]:
    """Return every child of this program, and theirs, that still runs."""
    return [child for child in psutil.Process().children(recursive=True) if _runs(child)]


def reap_adopted(own: set[int]) -> None:
    """Let dead orphans go, whose parent this program became; it waits for its ``own`` children elsewhere."""
    for child in psutil.Process().children():
        if child.pid not in own and not _runs(child):
            with suppress(ChildProcessError):
                os.waitpid(child.pid, os.WNOHANG)


def end_descendants(patience: float) -> None:
    """End every descendant: TERM, then KILL for those that are there after ``patience`` seconds.

    A second Ctrl-C does not interrupt it, which would leave the rest behind.
    """
    for number in END_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    try:
        for wave in (signal.SIGTERM, signal.SIGKILL):
            children = descendants()
            for child in children:
                with suppress(psutil.NoSuchProcess):
                    child.send_signal(wave)
            psutil.wait_procs(children, timeout=patience)
    finally:
        take_charge()


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
