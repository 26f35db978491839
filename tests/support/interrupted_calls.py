"""Children that are killed, and system calls that fail, at each point in turn."""

from __future__ import annotations

import os
import signal
import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# What storing may ask of the operating system; each call is a place to die at.
SYSTEM_CALLS = ("mkdir", "open", "rename", "replace", "symlink", "link", "unlink", "rmdir", "fsync", "utime")


def start_child(work: Callable[[], object]) -> int:
    """Run ``work`` in a forked process and return its id."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return child


def in_child(work: Callable[[], object]) -> int:
    """Run ``work`` in a forked process and return its wait status."""
    return os.waitpid(start_child(work), 0)[1]


def killed_at(number: int, work: Callable[[], object]) -> bool:
    """Run ``work`` in a process that is killed before a system call; return whether it came that far."""

    def die(call: int) -> None:
        if call == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def interrupted() -> None:
        with system_calls(die):
            work()

    status = in_child(interrupted)
    assert status in (0, signal.SIGKILL)
    return status == signal.SIGKILL


@contextmanager
def system_calls(react: Callable[[int], None]) -> Iterator[list[str]]:
    """Call ``react`` with a running number before each system call."""
    made: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        for name in SYSTEM_CALLS:
            patch.setattr(os, name, _counted(getattr(os, name), made, react))
        yield made


def _counted(real: Callable, made: list[str], react: Callable[[int], None]) -> Callable:
    def call(*args, **kwargs):
        made.append(real.__name__)
        react(len(made))
        return real(*args, **kwargs)

    return call
