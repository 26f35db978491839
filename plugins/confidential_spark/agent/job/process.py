"""A child of the agent: started with a closed environment, followed line by line, always ended."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import IO, TYPE_CHECKING

from confidential_spark.agent.errors import AgentError, ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

MAX_LINE_BYTES = 4_096
TERM_PATIENCE_SECONDS = 10.0
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, kw_only=True)
class Command:
    """A program with its arguments: no shell, which Occlum could not run.

    :param name: of the program, for errors: ``java`` or ``python``.
    :param environment: all that the program gets to see; none of the variables a host can set.
    """

    name: str
    argv: Sequence[str]
    environment: Mapping[str, str]
    in_occlum: bool

    def follow(self, say: Callable[[str], None], secrets: Sequence[str] = ()) -> int:
        """Run to the end, pass on each line of output, and return the exit code.

        An exception on the way, a signal's included, also ends the program.

        :param secrets: masked in what is passed on.
        :raises AgentError: ``java-not-started`` or ``python-not-started``.
        """
        with self._running(subprocess.STDOUT) as process:
            for line in bounded_lines(process.stdout, secrets):
                say(line)
            return process.wait()

    def output(self, say: Callable[[str], None], *, limit: int, timeout: float) -> tuple[int, bytes]:
        """Run to the end; return the exit code, and what was printed, cut after ``limit`` bytes.

        :param say: gets the lines of the standard error.
        :param timeout: seconds; a program that takes longer is ended, and has a negative exit code.
        :raises AgentError: as :meth:`follow`.
        """
        with self._running(subprocess.PIPE) as process:
            assert process.stdout  # noqa: S101 - a pipe, as asked for
            messages = threading.Thread(target=_pass_on, args=(process.stderr, say), daemon=True)
            messages.start()
            kill = partial(_signal, process, signal.SIGKILL, group=not self.in_occlum)
            watchdog = threading.Timer(timeout, kill)
            watchdog.daemon = True
            watchdog.start()
            try:
                printed = process.stdout.read(limit)
                process.stdout.close()
                code = process.wait()
                messages.join(TERM_PATIENCE_SECONDS)
            finally:
                watchdog.cancel()
            return code, printed

    @contextmanager
    def _running(self, errors: int) -> Iterator[subprocess.Popen[bytes]]:
        process = self._start(errors)
        try:
            yield process
        finally:
            end(process, group=not self.in_occlum)

    def _start(self, errors: int) -> subprocess.Popen[bytes]:
        # Occlum has posix_spawn and no fork: neither a new session nor a hook before exec is possible there,
        # and the enclave ends as a whole.
        try:
            return subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=self.environment,
                close_fds=not self.in_occlum,
                start_new_session=not self.in_occlum,
                preexec_fn=None if self.in_occlum else _death_with_parent(),
            )
        except OSError as error:
            raise AgentError(
                f"{self.name.capitalize()} cannot be started.",
                exit_code=ExitCode.SPARK_FAILED,
                code=f"{self.name}-not-started",
                got=error.strerror,
                expected=self.argv[0],
                action=f"check the {self.name} that the launch file names",
            ) from error


def common_variables(work_dir: Path) -> dict[str, str]:
    """Return what every program of a run finds in its environment."""
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(work_dir),
        "TMPDIR": str(work_dir),
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        # Each thread's own malloc arena costs address space, which an enclave has little of.
        "MALLOC_ARENA_MAX": "1",
    }


def ended_by(exit_code: int) -> str:
    """Return how a program ended, in words."""
    return f"signal {-exit_code}" if exit_code < 0 else f"exit code {exit_code}"


def bounded_lines(stream: IO[bytes] | None, secrets: Sequence[str] = ()) -> Iterator[str]:
    """Yield lines without their ends and without secrets; of a line that is too long, its beginning."""
    hidden = [secret.encode() for secret in secrets]
    # Read past the cut, so that a secret lying across it is seen whole.
    overlap = max(map(len, hidden), default=0)
    continues = False
    while stream and (chunk := stream.readline(MAX_LINE_BYTES + overlap)):
        whole = chunk.endswith(b"\n")
        if not continues:
            shown = _redacted(chunk.rstrip(b"\r\n"), hidden)
            cut = not whole or len(shown) > MAX_LINE_BYTES
            yield shown[:MAX_LINE_BYTES].decode("utf-8", "replace") + ("…" if cut else "")
        continues = not whole


def end(process: subprocess.Popen[bytes], *, group: bool) -> None:
    """End a program and its children: TERM, then KILL. Harmless when it is over."""
    if process.poll() is None:
        _signal(process, signal.SIGTERM, group=group)
        with suppress(subprocess.TimeoutExpired):
            process.wait(TERM_PATIENCE_SECONDS)
        # A child may outlive its parent for a moment; nothing of a stopped run may.
        _signal(process, signal.SIGKILL, group=group)
        process.wait()


def _pass_on(stream: IO[bytes] | None, say: Callable[[str], None]) -> None:
    for line in bounded_lines(stream):
        say(line)


def _death_with_parent() -> Callable[[], None]:
    """Return the hook that lets the kernel kill a child when the agent is killed."""
    libc = ctypes.CDLL(None)
    agent = os.getpid()

    def arm() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != agent:
            os._exit(ExitCode.TERMINATED)

    return arm


def _signal(process: subprocess.Popen[bytes], number: signal.Signals, *, group: bool) -> None:
    with suppress(ProcessLookupError):
        if group:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)


def _redacted(line: bytes, secrets: Sequence[bytes]) -> bytes:
    """Mask the secrets at their full length, so that nothing moves from behind the cut to before it."""
    for secret in secrets:
        line = line.replace(secret, b"*" * len(secret))
    return line
