"""Command line of the enclave agent: ``attest``, ``run``, ``executor``, ``measure``."""

from __future__ import annotations

import argparse
import os
import signal
import stat
import sys
import threading
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from confidential_spark.agent import runner
from confidential_spark.agent.errors import AgentError, ExitCode, shorten
from confidential_spark.agent.executors.executor import executor
from confidential_spark.agent.launch.launch_file import read_launch
from confidential_spark.agent.launch.private_storage import claim_enclave
from confidential_spark.agent.progress import say

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

STDIN = 0


class TerminatedError(BaseException):
    """Somebody asked the agent to stop; no ordinary handler may swallow it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; a stopped agent never returns 0."""
    options = _options(arguments)
    _stop_on_signals()
    try:
        _watch_parent()
        if options.command == "measure":
            runner.measure(options.jobs_dir)
        else:
            claim_enclave()
            launched = {"attest": runner.attest, "run": runner.run, "executor": executor}
            launched[options.command](read_launch(options.launch))
    except AgentError as error:
        say(str(error))
        return error.exit_code
    except TerminatedError:
        say("[terminated] The agent was asked to stop · nothing was signed")
        return ExitCode.TERMINATED
    except Exception as error:
        traceback.print_exc()
        say(f"[agent-failed] The agent itself failed · got: {shorten(repr(error))}")
        return ExitCode.INTERNAL
    return ExitCode.OK


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="confidential_spark.agent", description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("attest", "prove that this enclave is here"),
        ("run", "attest, run one Spark job, and sign its results"),
        ("executor", "attest to the driver's enclave, and serve it as Spark executor"),
    ):
        command = commands.add_parser(name, help=text, allow_abbrev=False)
        command.add_argument("--launch", type=Path, required=True, help="launch file (JSON)")
    command = commands.add_parser("measure", help="print the simulated enclave's measurement")
    command.add_argument("--jobs-dir", type=Path, required=True, help="folder of the job files")
    return parser.parse_args(arguments)


def _stop_on_signals() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _terminate)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    # A second signal must not interrupt the ending of Spark.
    for other in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(other, signal.SIG_IGN)
    raise TerminatedError


def _watch_parent() -> None:
    """Stop when standard input is a pipe and closes: whoever started the agent is gone, however it went."""
    if sys.stdin is not None and stat.S_ISFIFO(os.fstat(STDIN).st_mode):
        threading.Thread(target=_stop_at_end_of_input, daemon=True).start()


def _stop_at_end_of_input() -> None:
    while os.read(STDIN, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
