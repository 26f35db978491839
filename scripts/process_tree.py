"""Child processes that never outlive the program that started them, however it or they end.

Linux keeps these promises by itself: a child is killed with its parent, and whatever a dead child leaves
behind becomes the program's own child, which it can end.
"""

from __future__ import annotations

import ctypes
import io
import os
import signal
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import FrameType

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
END_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
# Set by the Makefile. A killed make tells nobody, and its process id says whether it was killed already.
MAKE_PROCESS = "MAKE_PROCESS"
# Loaded before any fork: a forked child must not load libraries.
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def show_any_text() -> None:
    """Let a terminal that knows fewer characters show question marks instead of ending the program."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def take_charge() -> None:
    """Make whatever ends a program, and the end of its `make`, end this one like Ctrl-C; adopt orphans."""
    show_any_text()
    for number in END_SIGNALS:
        signal.signal(number, _interrupt)
    if LIBC is not None:
        LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1)
    end_with_make()


def end_with_make() -> None:
    """Let the kernel end this program with the `make` that started it.

    :raises KeyboardInterrupt: that make has ended already.
    """
    # Not for child processes, whose parent is another.
    make = os.environ.pop(MAKE_PROCESS, None)
    if make is not None:
        end_with_parent()
        if LIBC is not None and os.getppid() != int(make):
            raise KeyboardInterrupt


def end_with_parent() -> None:
    """Let the kernel end this process with its parent; for `preexec_fn`."""
    if LIBC is not None:
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def children(pid: int | None = None) -> list[psutil.Process]:
    """Return every child of this program, or of another, that still runs."""
    with suppress(psutil.NoSuchProcess):
        return [child for child in psutil.Process(pid).children() if runs(child)]
    return []


def descendants(pid: int | None = None) -> list[psutil.Process]:
    """Return every child of this program, or of another, and theirs, that still runs."""
    with suppress(psutil.NoSuchProcess):
        return [child for child in psutil.Process(pid).children(recursive=True) if runs(child)]
    return []


def processes_with(file: Path) -> list[psutil.Process]:
    """Return the other processes that have a file open."""
    return [
        process
        for process in psutil.process_iter()
        if process.pid != os.getpid() and file in open_files(process.pid)
    ]


def open_files(pid: int) -> set[Path]:
    """Return what a process has open; nothing where this cannot be told."""
    files = set()
    with suppress(OSError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                files.add(descriptor.readlink())
    return files


def command_line(process: psutil.Process) -> str:
    """Return a process' command line, or the title it has given itself; empty when it is gone."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def reap_adopted(own: set[int]) -> None:
    """Let dead orphans go, whose parent this program became; it waits for its ``own`` children elsewhere."""
    for child in psutil.Process().children():
        if child.pid not in own and not runs(child):
            with suppress(ChildProcessError):
                os.waitpid(child.pid, os.WNOHANG)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let no second Ctrl-C interrupt this block, which would leave processes behind."""
    for number in END_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        for number in END_SIGNALS:
            signal.signal(number, _interrupt)


def end_descendants(patience: float) -> None:
    """End every descendant: TERM, then KILL for those that are there after ``patience`` seconds."""
    with undisturbed():
        end_processes(descendants(), patience)
        # What has started while the others ended.
        end_processes(descendants(), patience)


def end_processes(processes: Iterable[psutil.Process], patience: float) -> None:
    """End them: TERM, then KILL for those that are there after ``patience`` seconds."""
    left = list(processes)
    for wave in (signal.SIGTERM, signal.SIGKILL):
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(wave)
        _, left = psutil.wait_procs(left, timeout=patience)


def kill(processes: Iterable[psutil.Process]) -> None:
    """Kill them, without a chance to record anything."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def runs(process: psutil.Process) -> bool:
    """Say whether a process is there and not dead."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
