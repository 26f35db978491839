"""A child process, with a shell script in the program's place."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from confidential_spark.agent.errors import AgentError, ExitCode
from confidential_spark.agent.job import process
from confidential_spark.agent.job.process import MAX_LINE_BYTES, Command, bounded_lines
from hypothesis import given
from hypothesis import strategies as st

SECRET = "c2VjcmV0LWFjY291bnQta2V5"
PATIENCE_SECONDS = 60


class InterruptionError(BaseException):
    """What a signal raises in the agent."""


def interrupt(line):
    raise InterruptionError


def command(script, in_occlum=False):
    environment = {"PATH": "/usr/bin:/bin"}
    return Command(name="java", argv=["/bin/sh", "-c", script], environment=environment, in_occlum=in_occlum)


def output(script, limit=100, timeout=PATIENCE_SECONDS, in_occlum=False):
    lines = []
    return *command(script, in_occlum).output(lines.append, limit=limit, timeout=timeout), lines


@pytest.mark.parametrize("in_occlum", [False, True], ids=["fork", "posix-spawn"])
def test_output_is_followed_and_standard_input_is_closed(in_occlum):
    lines = []
    assert command("cat; echo out; echo err >&2; exit 3", in_occlum).follow(lines.append) == 3
    assert lines == ["out", "err"]


def test_the_environment_is_all_that_a_program_sees(monkeypatch):
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "secret")
    lines = []
    command("env").follow(lines.append)
    assert {line.partition("=")[0] for line in lines} <= {"PATH", "PWD", "SHLVL", "_"}


@pytest.mark.parametrize("in_occlum", [False, True], ids=["fork", "posix-spawn"])
def test_printed_bytes_are_kept_apart_from_messages(in_occlum):
    code, printed, lines = output("echo one; echo message >&2; printf two; exit 4", in_occlum=in_occlum)
    assert (code, printed, lines) == (4, b"one\ntwo", ["message"])


def test_of_too_much_output_the_beginning_is_kept_and_the_program_ends():
    code, printed, _ = output("while :; do echo 123456789; done", limit=25)
    assert printed == b"123456789\n123456789\n12345"
    assert code != 0


@pytest.mark.parametrize(
    "script",
    [
        pytest.param("printf half; exec sleep 3600", id="program"),
        pytest.param("printf half; sleep 3600 & exit 0", id="child-that-holds-the-pipe"),
    ],
)
def test_a_program_that_takes_too_long_is_ended(script):
    _, printed, _ = output(script, timeout=0.5)
    assert printed == b"half"


def test_a_program_that_is_killed_says_by_what():
    assert output("kill -9 $$")[0] == -signal.SIGKILL
    assert process.ended_by(-9) == "signal 9"
    assert process.ended_by(3) == "exit code 3"


@pytest.mark.parametrize("name", ["java", "python"])
def test_a_program_that_cannot_start_is_named(name, tmp_path):
    missing = Command(name=name, argv=[str(tmp_path / name)], environment={}, in_occlum=False)
    with pytest.raises(AgentError, match=f"{name}-not-started") as caught:
        missing.follow(print)
    assert caught.value.exit_code is ExitCode.SPARK_FAILED


@pytest.mark.parametrize(
    "run",
    [
        pytest.param(lambda command: command.follow(interrupt), id="follow"),
        pytest.param(partial(Command.output, say=print, limit=9, timeout=PATIENCE_SECONDS), id="output"),
    ],
)
def test_an_interruption_ends_the_whole_family(run, tmp_path, monkeypatch):
    children = f'trap "" TERM; sleep 3600 >&- 2>&- & echo $! > {tmp_path}/child; echo ready; exec >&-; wait'
    monkeypatch.setattr(process, "TERM_PATIENCE_SECONDS", 0.2)
    # `output` reads to the end of what is printed, and is interrupted while it waits for the program.
    monkeypatch.setattr(subprocess.Popen, "wait", interrupted_once(subprocess.Popen.wait))
    with pytest.raises(InterruptionError):
        run(command(children))
    assert gone(int((tmp_path / "child").read_text()))


def interrupted_once(wait):
    """Return `wait` that is interrupted when it is first called without a limit, as a signal would."""
    calls = []

    def interrupted(self, timeout=None):
        if timeout is None and not calls:
            calls.append(self)
            raise InterruptionError
        return wait(self, timeout)

    return interrupted


def test_in_occlum_an_interruption_ends_the_program_alone(tmp_path):
    """Without fork there is no process group to signal: Occlum's own would be the agent's as well."""
    script = f"echo $$ > {tmp_path}/pid; echo ready; exec sleep 3600"
    with pytest.raises(InterruptionError):
        command(script, in_occlum=True).follow(interrupt)
    assert gone(int((tmp_path / "pid").read_text()))


AGENT_THAT_WAITS = """
from confidential_spark.agent.job.process import Command
argv = ["/bin/sh", "-c", "echo $$; exec sleep 3600"]
command = Command(name="java", argv=argv, environment={}, in_occlum=False)
command.follow(lambda line: print(line, flush=True))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux' own")
def test_a_program_dies_with_a_killed_agent():
    agent = subprocess.Popen([sys.executable, "-c", AGENT_THAT_WAITS], stdout=subprocess.PIPE)
    with agent:
        child = int(agent.stdout.readline())
        agent.send_signal(signal.SIGKILL)
    assert gone(child)


def gone(process):
    """Wait for a process to end."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize("before", range(MAX_LINE_BYTES - len(SECRET) - 1, MAX_LINE_BYTES + 2))
def test_no_part_of_a_secret_is_printed_where_a_line_is_cut(before):
    raw = b"<" * before + SECRET.encode() + b">" * 5_000 + b"\nnext\n"
    cut, following = bounded_lines(io.BytesIO(raw), [SECRET])
    assert not set(cut) - set("<*>…")
    assert len(cut) == MAX_LINE_BYTES + 1
    assert following == "next"


def test_what_is_masked_moves_nothing_from_behind_the_cut():
    """A second secret, of which only the beginning was read, must not slide into view."""
    raw = SECRET.encode() + b"<" * (MAX_LINE_BYTES - 10) + SECRET.encode() + b"\n"
    (line,) = bounded_lines(io.BytesIO(raw), [SECRET])
    assert not set(line) - set("<*…")


@given(st.lists(st.sampled_from([SECRET, "x" * 1000, "y", "\n"]), max_size=12))
def test_no_secret_is_ever_printed(parts):
    text = "\n".join(bounded_lines(io.BytesIO("".join(parts).encode()), [SECRET]))
    assert not set(text) - set("xy*…\n")


@given(st.binary(max_size=3 * MAX_LINE_BYTES))
def test_lines_are_bounded_and_none_is_lost(raw):
    lines = list(bounded_lines(io.BytesIO(raw)))
    assert all(len(line) <= MAX_LINE_BYTES + 1 and "\n" not in line for line in lines)
    assert len(lines) == raw.count(b"\n") + (not raw.endswith(b"\n") and raw != b"")


def test_of_a_long_line_the_beginning_is_shown():
    raw = b"a" * (2 * MAX_LINE_BYTES) + b"\nnext\n"
    assert list(bounded_lines(io.BytesIO(raw))) == ["a" * MAX_LINE_BYTES + "…", "next"]
