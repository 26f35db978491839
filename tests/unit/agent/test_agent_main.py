"""The agent as its operator sees it: a process, its exit code and its last line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from confidential_spark.agent import runner
from confidential_spark.agent.__main__ import main
from confidential_spark.agent.errors import ExitCode
from confidential_spark.agent.launch.launch_file import LaunchSpec
from confidential_spark.simulation.service.server import LoopbackAttestationService

# In which step a program runs until it is ended; Python is called with -s -P JOB COMMAND ….
SLOW = "{ echo The step runs; exec sleep 3600; }"
PYTHON = """#!/bin/sh
if [ "$4" = query ]; then {query}; echo '{{"job": "nytaxi"}}'; else {finish}; fi
"""
STEPS = ("query", "spark", "finish")


def agent(*arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "confidential_spark.agent", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )


@pytest.fixture
def endless(launch, tmp_path):
    """Return a factory of launch files with a step that does not end by itself."""
    with LoopbackAttestationService() as service:

        def make(step):
            does = {name: SLOW + " >&2" * (name == "query") if name == step else "true" for name in STEPS}
            values = {"input": None, "month": None, "arguments": [], "attestation_url": service.url}
            for program, script in (
                ("python", PYTHON.format(**does)),
                ("java", f"#!/bin/sh\n{does['spark']}"),
            ):
                (tmp_path / program).write_text(script)
                (tmp_path / program).chmod(0o755)
                values[program] = str(tmp_path / program)
            path = tmp_path / "launch.json"
            LaunchSpec(**launch(**values)).write(path)
            return path

        yield make


@pytest.fixture
def launch_file(endless):
    return endless("spark")


def until_the_step_runs(process):
    for line in process.stdout:
        if line == "The step runs\n":
            return
    pytest.fail("the step was never reached")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda n: n.name)
def test_a_stopped_agent_never_exits_with_0(endless, step, number, tmp_path):
    with agent("run", "--launch", str(endless(step)), stdin=subprocess.DEVNULL) as process:
        until_the_step_runs(process)
        process.send_signal(number)
        rest = process.stdout.read()
    assert process.returncode == ExitCode.TERMINATED
    assert "[terminated]" in rest
    assert list((tmp_path / "results").iterdir()) == []
    assert list((tmp_path / "work").iterdir()) == []


def test_what_the_starter_says_is_not_heard_and_its_end_is(launch_file):
    with agent("run", "--launch", str(launch_file), stdin=subprocess.PIPE) as process:
        process.stdin.write("go on\n")
        process.stdin.flush()
        until_the_step_runs(process)
        process.stdin.close()
        process.stdin = None
        assert "[terminated]" in process.stdout.read()
    assert process.returncode == ExitCode.TERMINATED


def test_the_agent_stops_when_its_starter_is_gone(launch_file):
    with agent("run", "--launch", str(launch_file), stdin=subprocess.PIPE) as process:
        until_the_step_runs(process)
        process.stdin.close()
        process.stdin = None
        assert "[terminated]" in process.stdout.read()
    assert process.returncode == ExitCode.TERMINATED


def test_a_bad_launch_file_is_exit_65_with_a_message(tmp_path, capsys):
    (tmp_path / "launch.json").write_text('{"v": 1, "surprise": 2}')
    assert main(["run", "--launch", str(tmp_path / "launch.json")]) == ExitCode.BAD_LAUNCH
    assert "[launch-invalid]" in capsys.readouterr().out


def test_an_unexpected_failure_is_exit_70_and_named(launch_file, capsys, monkeypatch):
    def fail(spec):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(runner, "attest", fail)
    assert main(["attest", "--launch", str(launch_file)]) == ExitCode.INTERNAL
    assert "No space left on device" in capsys.readouterr().out


def test_measure_prints_json(tmp_path, capsys):
    (tmp_path / "job.py").write_text("")
    assert main(["measure", "--jobs-dir", str(tmp_path)]) == ExitCode.OK
    measured = json.loads(capsys.readouterr().out)
    assert len(measured["mrenclave"]) == 64
    assert measured["notice"].startswith("SIMULATED")


@pytest.mark.parametrize("arguments", [[], ["run"], ["rum"], ["run", "--launc", "x"]], ids=" ".join)
def test_wrong_usage_is_exit_2(arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


def test_starts_without_the_heavy_libraries():
    script = "import sys, confidential_spark.agent.__main__; print(*sys.modules)"
    modules = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.split()
    heavy = {
        "airflow",
        "pydantic",
        "yaml",
        "requests",
        "dcap_qvl",
        "pyspark",
        "confidential_spark.simulation",
    }
    assert heavy.isdisjoint(modules)


@pytest.fixture(autouse=True)
def restore_signals():
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def closed_input(monkeypatch):
    """Calls of main() in this process must not watch the test runner's own standard input."""
    with Path(os.devnull).open() as nothing:
        monkeypatch.setattr("confidential_spark.agent.__main__.STDIN", nothing.fileno())
        yield
