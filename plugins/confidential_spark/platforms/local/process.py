"""The enclave agent as a child process of the task: started, watched line by line, always ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from confidential_spark.agent.errors import ExitCode
from confidential_spark.enclave.output import EnclaveOutput
from confidential_spark.platforms.local.open_files import require_open_files

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

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
        self.output = EnclaveOutput(log=log, on_progress=on_progress)
        self._process: subprocess.Popen[str] | None = None

    def run(self) -> None:
        """Run to the end; whatever interrupts the wait (a timeout, a kill) also ends the process.

        :raises EnclaveError: named by the failure table, retryable where the table says so.
        :raises ConfigurationError: ``open-files-limit``, before anything is started.
        """
        require_open_files()
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
            for line in self._process.stdout or ():
                self.output.feed(line)
            exit_code = self._process.wait()
        finally:
            self.stop()
        self.output.close()
        if exit_code != ExitCode.OK:
            self.output.fail(self.output.watcher.diagnose(exit_code))

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
