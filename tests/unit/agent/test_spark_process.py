"""The child process, with a shell script in Java's place."""

from __future__ import annotations

import io
import signal
import stat
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from confidential_spark.agent.errors import AgentError, ExitCode
from confidential_spark.agent.spark_process import MAX_LINE_BYTES, SparkCommand, bounded_lines, run_spark
from hypothesis import given
from hypothesis import strategies as st

SECRET = "c2VjcmV0LWFjY291bnQta2V5"


@pytest.fixture
def command(tmp_path):
    def make(script, **conf):
        java = tmp_path / "java"
        java.write_text("#!/bin/sh\n" + script)
        java.chmod(0o755)
        return SparkCommand(
            java=str(java),
            spark_home="/opt/spark",
            python="/usr/bin/python3",
            jvm_options=["-Xmx512m"],
            spark_conf={"spark.master": "local[1]", **conf},
            program=["/jobs/job.py", "--output", "/out"],
            work_dir=tmp_path / "work",
        )

    return make


def run(command):
    lines = []
    run_spark(command, lines.append, in_occlum=False)
    return lines


@pytest.mark.parametrize("in_occlum", [False, True], ids=["fork", "posix-spawn"])
def test_output_is_followed_and_standard_input_is_closed(command, in_occlum):
    lines = []
    run_spark(command("cat; echo out; echo err >&2"), lines.append, in_occlum=in_occlum)
    assert lines == ["out", "err"]


def test_java_is_started_directly_with_settings_in_a_private_file(command):
    script = 'shift 4; echo "$@"; stat -c %a "${HOME}/spark.conf"; cat "${HOME}/spark.conf"'
    lines = run(command(script))
    assert lines[0].startswith("/opt/spark/jars/* org.apache.spark.deploy.SparkSubmit --properties-file ")
    assert lines[0].endswith("/spark.conf /jobs/job.py --output /out")
    assert lines[1:] == ["600", "spark.master local[1]"]


def test_the_order_of_jars_is_not_their_file_systems(command, tmp_path):
    jars = tmp_path / "spark" / "jars"
    jars.mkdir(parents=True)
    for name in ("b.jar", "c.jar", "a.jar", "notes.txt"):
        (jars / name).touch()

    lines = run(replace(command('echo "$5"'), spark_home=str(tmp_path / "spark")))

    assert lines == [f"{jars}/a.jar:{jars}/b.jar:{jars}/c.jar"]


def test_the_environment_is_closed(command, monkeypatch):
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "secret")
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-javaagent:evil.jar")
    names = {line.split("=")[0] for line in run(command("env"))}
    assert "JAVA_TOOL_OPTIONS" not in names
    assert not any(name.startswith("AIRFLOW") for name in names)


def test_in_occlum_the_host_chooses_no_search_path(command, monkeypatch):
    for name in ("LD_LIBRARY_PATH", "PYTHONHOME"):
        monkeypatch.setenv(name, "/host/evil")
    lines = []
    run_spark(command("env"), lines.append, in_occlum=True)
    assert not [line for line in lines if "evil" in line or line.startswith("LD_")]
    python = Path("/usr/bin/python3").resolve()
    assert f"PYTHONHOME={python.parents[1]}" in lines
    assert "LD_LIBRARY_PATH=/host/evil" in run(command("env"))


def test_settings_do_not_outlive_the_run(command):
    spark = command("exit 1")
    with pytest.raises(AgentError):
        run(spark)
    assert list(spark.work_dir.iterdir()) == []


def test_a_settings_file_of_somebody_else_is_not_used(command):
    spark = command("true")
    spark.work_dir.mkdir()
    (spark.work_dir / "spark.conf").symlink_to("/dev/null")
    with pytest.raises(FileExistsError):
        run(spark)


def test_secrets_are_not_printed(command):
    setting = "spark.hadoop.fs.azure.account.key.data.blob.core.windows.net"
    assert run(command(f"echo key is {SECRET}!", **{setting: SECRET})) == [f"key is {'*' * len(SECRET)}!"]


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


@pytest.mark.parametrize(
    ("script", "exit_code", "text"),
    [
        pytest.param("exit 1", ExitCode.SPARK_FAILED, "got: exit code 1", id="exit-1"),
        pytest.param("kill -9 $$", ExitCode.SPARK_FAILED, "got: signal 9", id="killed"),
        pytest.param("exit 66", ExitCode.INPUT_UNUSABLE, "input-unusable", id="input"),
    ],
)
def test_failures_are_named(command, script, exit_code, text):
    with pytest.raises(AgentError, match=text) as caught:
        run(command(script))
    assert caught.value.exit_code is exit_code


def test_a_java_that_cannot_start_is_named(command):
    spark = command("true")
    Path(spark.java).chmod(0o600)
    with pytest.raises(AgentError, match="java-not-started"):
        run(spark)


def test_an_interruption_ends_the_whole_family(command, tmp_path, monkeypatch):
    script = f'trap "" TERM; sleep 3600 & echo $! > {tmp_path}/child; echo ready; wait'

    class Interruption(BaseException):
        pass

    def interrupt(line):
        raise Interruption

    monkeypatch.setattr("confidential_spark.agent.spark_process.TERM_PATIENCE_SECONDS", 0.2)
    with pytest.raises(Interruption):
        run_spark(command(script), interrupt, in_occlum=False)
    assert gone(int((tmp_path / "child").read_text()))


def test_in_occlum_an_interruption_ends_java_alone(command, tmp_path):
    """Without fork there is no process group to signal: Occlum's own would be the agent's as well."""

    class Interruption(BaseException):
        pass

    def interrupt(line):
        raise Interruption

    script = f"echo $$ > {tmp_path}/java.pid; echo ready; exec sleep 3600"
    with pytest.raises(Interruption):
        run_spark(command(script), interrupt, in_occlum=True)
    assert gone(int((tmp_path / "java.pid").read_text()))


AGENT_THAT_WAITS = """
import sys
from pathlib import Path
from confidential_spark.agent.spark_process import SparkCommand, run_spark
command = SparkCommand(java=sys.argv[1], spark_home="/s", python="/p", jvm_options=[], spark_conf={},
    program=[], work_dir=Path(sys.argv[2]))
run_spark(command, lambda line: print(line, flush=True), in_occlum=False)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux' own")
def test_spark_dies_with_a_killed_agent(command, tmp_path):
    spark = command("echo $$; exec sleep 60")
    agent = subprocess.Popen(
        [sys.executable, "-c", AGENT_THAT_WAITS, spark.java, str(tmp_path / "work")], stdout=subprocess.PIPE
    )
    with agent:
        child = int(agent.stdout.readline())
        agent.send_signal(signal.SIGKILL)
    assert gone(child)


def gone(process):
    """Wait up to ten seconds for a process to end."""
    for _ in range(100):
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.1)
    return False


@given(st.binary(max_size=3 * MAX_LINE_BYTES))
def test_lines_are_bounded_and_none_is_lost(raw):
    lines = list(bounded_lines(io.BytesIO(raw)))
    assert all(len(line) <= MAX_LINE_BYTES + 1 and "\n" not in line for line in lines)
    assert len(lines) == raw.count(b"\n") + (not raw.endswith(b"\n") and raw != b"")


def test_of_a_long_line_the_beginning_is_shown():
    raw = b"a" * (2 * MAX_LINE_BYTES) + b"\nnext\n"
    assert list(bounded_lines(io.BytesIO(raw))) == ["a" * MAX_LINE_BYTES + "…", "next"]


def test_settings_files_are_readable_by_the_owner_only(command):
    spark = command("true")
    with spark.files():
        assert stat.S_IMODE((spark.work_dir / "spark.conf").stat().st_mode) == 0o600
