"""The enclave agent as a child process of the task: started, watched line by line, always ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from confidential_spark.agent.exit_codes import ExitCode
from confidential_spark.agent.progress import parse_progress
from confidential_spark.core.failures import LogWatcher

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

PROGRESS_INTERVAL_SECONDS = 2.0
TERM_PATIENCE_SECONDS = 15.0


class EnclaveProcess:
    """One run of the agent as a child process.

    :param command: the agent's command, ``attest`` or ``run``.
    :param launch_file: the launch specification.
    :param log: takes one line of output.
    :param on_progress: takes one progress record, at most every two seconds.
    """

    def __init__(
        self,
        command: str,
        launch_file: Path,
        *,
        log: Callable[[str], None],
        on_progress: Callable[[Mapping[str, Any]], None] = lambda record: None,
    ) -> None:
        """Keep what is needed; nothing starts yet."""
        self.argv = [sys.executable, "-m", "confidential_spark.agent", command, "--launch", str(launch_file)]
        self.log = log
        self.on_progress = on_progress
        self._process: subprocess.Popen[str] | None = None
        self._next_progress = 0.0

    def run(self) -> None:
        """Run to the end; whatever interrupts the wait (a timeout, a kill) also ends the process.

        :raises EnclaveError: named by the failure table, retryable where the table says so.
        """
        watcher = LogWatcher()
        self._process = subprocess.Popen(
            self.argv,
            # The agent ends itself when this pipe closes, so that it never outlives a killed worker.
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
            env=agent_environment(),
        )
        try:
            self._follow(self._process, watcher)
            exit_code = self._process.wait()
        finally:
            self.stop()
        if exit_code != ExitCode.OK:
            diagnosis = watcher.diagnose(exit_code)
            self.log(diagnosis.text())
            raise diagnosis.error()

    def _follow(self, process: subprocess.Popen[str], watcher: LogWatcher) -> None:
        for line in process.stdout or ():
            record = parse_progress(line)
            if record is None:
                watcher.feed(line)
                self.log(line.rstrip("\n"))
            elif time.monotonic() >= self._next_progress:
                self._next_progress = time.monotonic() + PROGRESS_INTERVAL_SECONDS
                self.on_progress(record)

    def terminate(self) -> None:
        """Ask the process to end, from a signal handler too; :meth:`run` waits for it."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)

    def stop(self) -> None:
        """End the process and its children: TERM first, KILL when it does not listen. Harmless when over."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(TERM_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def agent_environment() -> dict[str, str]:
    """Return what a program needs to start, and none of Airflow's secrets."""
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "JAVA_HOME", "LD_LIBRARY_PATH")
    return {name: os.environ[name] for name in kept if name in os.environ} | {"PYTHONUNBUFFERED": "1"}
