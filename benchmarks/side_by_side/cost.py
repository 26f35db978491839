"""What a command costs: wall time, CPU time and peak memory of all its processes."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.programs.own_figures import PREFIX

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SAMPLE_SECONDS = 0.25
LAST_LINES = 30


@dataclass(frozen=True)
class Cost:
    """One run: seconds, CPU seconds, and MiB at the worst moment that was looked at."""

    wall_s: float
    cpu_s: float
    peak_mib: float


class CommandFailed(Exception):
    """A command that was to be measured ended with another code than 0."""


def measure(command: Sequence[str], environment: Mapping[str, str], folder: Path) -> Cost:
    """Run a command to its end.

    :raises CommandFailed: with its last lines.
    """
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    with (
        (folder / "output.log").open("w+", encoding="utf-8", errors="replace") as log,
        subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process,
        PeakMemory(process.pid) as memory,
    ):
        try:
            code = process.wait()
        finally:
            end_group(process.pid)
    wall, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    lines = (folder / "output.log").read_text(encoding="utf-8", errors="replace").splitlines()
    if code != 0:
        raise CommandFailed("\n".join([f"exit code {code} of {' '.join(command)}", *lines[-LAST_LINES:]]))
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    own = next((json.loads(line.removeprefix(PREFIX)) for line in lines if line.startswith(PREFIX)), {})
    return Cost(**{"wall_s": wall, "cpu_s": cpu, "peak_mib": memory.peak_kib / 1024, **own})


def end_group(leader: int) -> None:
    """End what a command left running, or the command itself after an interruption."""
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGTERM)


class PeakMemory:
    """Samples the memory of a process and all below it; what two of them share counts once."""

    def __init__(self, process: int) -> None:
        self.peak_kib = 0
        self._process = process
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._over.wait(SAMPLE_SECONDS):
            self.peak_kib = max(self.peak_kib, sum(map(proportional_kib, process_tree(self._process))))


def process_tree(process: int) -> list[int]:
    """Return the ids of a process, of its children and theirs."""
    try:
        tasks = list(Path(f"/proc/{process}/task").glob("*/children"))
        children = [int(child) for file in tasks for child in file.read_text().split()]
    except OSError:
        return [process]
    return [process, *(one for child in children for one in process_tree(child))]


def proportional_kib(process: int) -> int:
    """Return a process' share of the memory it uses, in KiB; 0 when it is gone."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def cpu_seconds(process: int) -> float:
    """Return the CPU seconds that a process and all below it have used so far, ended children included."""
    ticks = 0
    for one in process_tree(process):
        try:
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(") ")[2].split()
        except OSError:
            continue
        ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")
