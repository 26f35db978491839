"""Spark's JVM as the agent starts it, with a shell script in Java's place."""

from __future__ import annotations

import json
import stat
import zipfile
from dataclasses import replace
from pathlib import PurePath

import pytest
from confidential_spark.agent.errors import AgentError, ExitCode
from confidential_spark.agent.job import runner_jars
from confidential_spark.agent.job.runner_jars import RUNNER_DIR, Lock
from confidential_spark.agent.job.spark import JavaCommand, run_spark, runner_main
from confidential_spark.enclave.spark import find_spark_home

SECRET = "c2VjcmV0LWFjY291bnQta2V5"
REFUSAL = {"code": "input-schema", "message": "The input lacks a column.", "got": "a", "expected": "b"}


@pytest.fixture
def command(tmp_path):
    def make(script, **changes):
        java = tmp_path / "java"
        java.write_text("#!/bin/sh\n" + script)
        java.chmod(0o755)
        values = {
            "java": str(java),
            "spark_home": "/opt/spark",
            "jvm_options": ["-Xmx512m"],
            "spark_conf": {"spark.master": "local[1]"},
            "lock": Lock.NO_SOCKETS,
            "main": ["Main", "argument"],
            "work_dir": tmp_path / "work",
        }
        return JavaCommand(**values | changes)

    return make


def run(command):
    lines = []
    run_spark(command, lines.append, in_occlum=False)
    return lines


def test_java_is_started_directly_with_settings_in_a_private_file(command):
    script = 'echo "$@"; stat -c %a "${HOME}/spark.conf"; cat "${HOME}/spark.conf"'
    line, *settings = run(command(script))
    assert line.startswith("-Xmx512m ")
    assert line.endswith(":/opt/spark/jars/* Main argument")
    assert settings == ["600", "spark.master local[1]"]


@pytest.mark.parametrize(
    ("lock", "jars", "options"),
    [
        pytest.param(
            Lock.NO_SOCKETS,
            ["no-server.jar", "runner.jar"],
            [
                "-Djava.nio.channels.spi.SelectorProvider=confidentialspark.NoSockets",
                "-Djava.nio.channels.spi.AsynchronousChannelProvider=confidentialspark.NoAsynchronousSockets",
            ],
            id="one-process",
        ),
        pytest.param(Lock.GATE, ["gate.jar", "runner.jar"], [], id="pods"),
    ],
)
def test_a_lock_comes_before_spark_and_after_the_hosts_options(command, lock, jars, options):
    argv = command("", lock=lock, jvm_options=["-Djava.nio.channels.spi.SelectorProvider=evil"]).argv
    ours = ["-XX:+DisableAttachMechanism", *options]
    assert argv[1 : 2 + len(ours)] == ["-Djava.nio.channels.spi.SelectorProvider=evil", *ours]
    class_path = argv[argv.index("-cp") + 1].split(":")
    assert class_path == [*(f"{RUNNER_DIR}/{jar}" for jar in jars), "/opt/spark/jars/*"]


def test_the_order_of_jars_is_not_their_file_systems(command, tmp_path):
    jars = tmp_path / "spark" / "jars"
    jars.mkdir(parents=True)
    for name in ("b.jar", "c.jar", "a.jar", "notes.txt"):
        (jars / name).touch()
    argv = command("", spark_home=str(tmp_path / "spark")).argv
    class_path = argv[argv.index("-cp") + 1].split(":")
    assert class_path[2:] == [f"{jars}/a.jar", f"{jars}/b.jar", f"{jars}/c.jar"]


def test_no_signed_jar_is_left_to_loaders_that_read_signatures(command):
    """Of a signed jar, no class is in a class archive, and each is hashed at every start."""
    home = find_spark_home()
    signed = [jar for jar in sorted((home / "jars").glob("*.jar")) if is_signed(jar)]
    argv = command("", spark_home=str(home)).argv
    loaded_by_the_jvm = [f"-Xbootclasspath/a:{jar}" for jar in signed]
    assert [option for option in argv if option.startswith("-Xbootclasspath")] == loaded_by_the_jvm
    # The archive is made by the command line up to the class path.
    assert argv.index(loaded_by_the_jvm[-1]) < argv.index("-cp")


def is_signed(jar):
    with zipfile.ZipFile(jar) as archive:
        return any(PurePath(name).match("META-INF/*.SF") for name in archive.namelist())


def test_the_environment_is_closed(command, monkeypatch):
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-javaagent:evil.jar")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/host/evil")
    names = {line.partition("=")[0] for line in run(command("env", variables={"_SECRET": "a"}))}
    shells = {"PWD", "SHLVL", "_"}
    assert names - shells == {
        *("HOME", "LANG", "MALLOC_ARENA_MAX", "PATH", "TMPDIR", "TZ"),
        *("SPARK_LOCAL_DIRS", "SPARK_LOCAL_IP", "_SECRET"),
    }


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


def test_settings_files_are_readable_by_the_owner_only(command):
    spark = command("true")
    with spark.files():
        assert stat.S_IMODE((spark.work_dir / "spark.conf").stat().st_mode) == 0o600


def test_secrets_are_not_printed(command):
    spark = command("echo told $OTHER", variables={"OTHER": SECRET})
    assert run(spark) == [f"told {'*' * len(SECRET)}"]


def failing(code, *lines):
    return "".join(f"echo '{line}'\n" for line in lines) + f"exit {code}"


def refusal(**changes):
    return "FAILURE " + json.dumps({**REFUSAL, **changes})


@pytest.mark.parametrize(
    ("script", "exit_code", "code", "text"),
    [
        pytest.param(failing(66, refusal()), 66, "input-schema", "lacks a column", id="input"),
        pytest.param(
            failing(65, refusal(code="job-not-a-query")), 65, "job-not-a-query", "got: a", id="request"
        ),
        pytest.param(failing(80, refusal(action="x")), 80, "input-schema", "do: x", id="anything-else"),
        pytest.param(
            failing(80, refusal(code="early"), "between", refusal()),
            80,
            "input-schema",
            "",
            id="last-one-counts",
        ),
        pytest.param(
            failing(1, refusal()), 80, "spark-failed", "got: exit code 1", id="not-the-runners-exit"
        ),
        pytest.param(failing(66), 80, "spark-failed", "got: exit code 66", id="no-words"),
        pytest.param("kill -9 $$", 80, "spark-failed", "got: signal 9", id="killed"),
        *(
            pytest.param(failing(66, words), 80, "spark-failed", "exit code 66", id=name)
            for name, words in {
                "no-json": "FAILURE {",
                "no-object": "FAILURE []",
                "deep": "FAILURE " + "[" * 3_000,
                "no-message": 'FAILURE {"code": "a"}',
                "other-member": refusal(retry="yes"),
                "code-that-ends-a-bracket": refusal(code="a] [b"),
                "number": refusal(got=1),
            }.items()
        ),
    ],
)
def test_failures_are_named(command, script, exit_code, code, text):
    with pytest.raises(AgentError) as caught:
        run(command(script))
    assert (caught.value.exit_code, caught.value.code) == (ExitCode(exit_code), code)
    assert text in str(caught.value)


def test_the_runners_last_words_are_said_once(command):
    lines = []
    with pytest.raises(AgentError):
        run_spark(command(failing(66, "warning", refusal())), lines.append, in_occlum=False)
    assert lines == ["warning"]


def test_the_runners_arguments_name_an_input_only_where_there_is_one(tmp_path):
    paths = tmp_path / "request", tmp_path / "rows"
    with_input = runner_main("nytaxi", *paths, "file:///month", tmp_path)
    assert with_input == [*runner_main("nytaxi", *paths, None, tmp_path), "--input", "file:///month"]


@pytest.fixture
def jars(tmp_path, monkeypatch):
    """A copy of the runner's folder, for a test to change."""
    for path in RUNNER_DIR.glob("*.jar"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "jars.sha256").write_bytes((RUNNER_DIR / "jars.sha256").read_bytes())
    monkeypatch.setattr(runner_jars, "RUNNER_DIR", tmp_path)
    return tmp_path


@pytest.mark.parametrize("lock", Lock, ids=lambda lock: lock.name)
def test_the_runners_jars_are_those_of_the_list(jars, lock):
    lock.require_genuine()


@pytest.mark.parametrize(
    ("name", "spoil", "text"),
    [
        pytest.param(
            "runner.jar", lambda path: path.write_bytes(b"evil"), "runner.jar with SHA-256", id="runner"
        ),
        pytest.param("no-server.jar", lambda path: path.unlink(), "it is missing", id="no-lock"),
        pytest.param("jars.sha256", lambda path: path.unlink(), "No such file", id="no-list"),
        pytest.param(
            "jars.sha256", lambda path: path.write_text("rubbish\n"), "runner-jar-changed", id="rubbish"
        ),
        pytest.param("jars.sha256", lambda path: path.write_text(""), "no-server.jar with", id="empty-list"),
    ],
)
def test_exchanged_jars_are_refused_before_java_starts(jars, command, name, spoil, text):
    spoil(jars / name)
    with pytest.raises(AgentError, match="runner-jar-changed") as caught:
        run(replace(command("echo started")))
    assert caught.value.exit_code is ExitCode.BAD_LAUNCH
    assert text in str(caught.value)
