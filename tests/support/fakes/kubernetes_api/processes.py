"""Containers as local processes: one session each, one log, and nothing of it left when it has ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.fakes.kubernetes_api.store import Signal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

# Every process of a container inherits this variable: it is how those are found that left the session.
MARK = "FAKE_CONTAINER"
_CHUNK = 65_536
_SWEEPS = 10


@dataclass(frozen=True)
class LogLine:
    """One line as it was written, with its newline where it had one."""

    at: datetime
    text: bytes

    def stamped(self) -> bytes:
        return self.at.strftime("%Y-%m-%dT%H:%M:%S.%f000Z ").encode() + self.text


class Log:
    """What a container wrote to stdout and stderr, in order."""

    def __init__(self) -> None:
        self.lines: list[LogLine] = []
        self.ended = False
        self._changed = Signal()

    async def fill(self, stream: asyncio.StreamReader) -> None:
        rest = b""
        while chunk := await stream.read(_CHUNK):
            *whole, rest = (rest + chunk).split(b"\n")
            self._append([line + b"\n" for line in whole])
        self._append([rest] if rest else [])

    def end(self) -> None:
        self.ended = True
        self._changed.notify()

    async def follow(self, start: int) -> AsyncIterator[LogLine]:
        """All lines from an index on, until the container has ended."""
        position = start
        while True:
            while position < len(self.lines):
                yield self.lines[position]
                position += 1
            if self.ended:
                return
            await self._changed.wait()

    def _append(self, lines: list[bytes]) -> None:
        now = datetime.now(UTC)
        self.lines += [LogLine(now, line) for line in lines]
        self._changed.notify()


class Container:
    """One running container.

    :param mark: unique among all containers, see `MARK`.
    """

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        output: asyncio.StreamReader,
        mark: str,
        environment: dict[str, str],
        folder: Path,
    ) -> None:
        self.log = Log()
        self.environment, self.folder = environment, folder
        self._process, self._output, self._mark = process, output, mark

    @classmethod
    async def start(cls, argv: list[str], environment: dict[str, str], folder: Path, mark: str) -> Container:
        """Start it.

        :raises OSError: there is no such program.
        """
        marked = {**environment, MARK: mark}
        # A pipe of our own: with one of asyncio's, `wait` would wait for all who hold it as well.
        read_end, write_end = os.pipe()
        output = os.fdopen(read_end, "rb")
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                env=marked,
                cwd=folder,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=write_end,
                stderr=write_end,
                start_new_session=True,
            )
        except BaseException:
            output.close()
            raise
        finally:
            os.close(write_end)
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), output
        )
        return cls(process, reader, mark, marked, folder)

    async def wait(self) -> int:
        """Return the exit code of its first process (128 + n for signal n), when all others are gone too."""
        reading = asyncio.create_task(self.log.fill(self._output))
        try:
            code = await self._process.wait()
        finally:
            # As in a container: without its first process no other one lives.
            kill_marked(self._mark)
            await asyncio.gather(reading, return_exceptions=True)
            self.log.end()
        return code if code >= 0 else 128 - code

    def signal(self, number: int) -> None:
        """Send a signal to its first process, as the kubelet does; SIGKILL goes to all."""
        if self._process.returncode is None:
            self._process.send_signal(number)
        if number == signal.SIGKILL:
            kill_marked(self._mark)

    def interrupt_all(self) -> None:
        """Send SIGINT to all processes of its session."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGINT)


def kill_marked(mark: str) -> None:
    """Kill all processes of one container, wherever they moved."""
    # More than once: those that fork while they are looked for are found the next time.
    for _ in range(_SWEEPS):
        for pid in (pids := marked_processes(mark)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if not pids:
            return


def marked_processes(mark: str) -> list[int]:
    """The living processes of a container, or of all containers whose mark starts so."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                variables = (entry / "environ").read_bytes().split(b"\0")
                if any(variable.startswith(wanted) for variable in variables):
                    found.append(int(entry.name))
    return found
