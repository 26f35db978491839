"""What the host can say to the enclave's one entry point, and from where that imports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from confidential_spark.agent import __main__ as agent
from confidential_spark.agent import entry_point
from confidential_spark.agent.launch import image_paths as image


@pytest.fixture
def started(monkeypatch):
    """Record what the agent is started with."""
    calls = []
    monkeypatch.setattr(agent, "main", lambda arguments: calls.append(arguments) or 0)
    monkeypatch.setattr(entry_point, "isolate", lambda: None)
    return calls


@pytest.mark.parametrize("command", ["attest", "run", "executor"])
def test_the_launch_file_is_where_the_image_has_it(started, command):
    assert entry_point.main([command]) == 0
    assert started == [[command, "--launch", "/host/launch/launch.json"]]


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param([], id="nothing"),
        pytest.param(["-c", "print(1)"], id="code"),
        pytest.param(["-m", "timeit"], id="module"),
        pytest.param(["measure"], id="another-command"),
        pytest.param(["run", "--launch", "/tmp/work/spark-secret"], id="another-launch-file"),  # noqa: S108
        pytest.param(["/host/evil.py"], id="script"),
        pytest.param(["--help"], id="help"),
    ],
)
def test_anything_else_is_refused(started, capsys, arguments):
    assert entry_point.main(arguments) == entry_point.USAGE
    assert started == []
    assert "[command-unknown]" in capsys.readouterr().out


def test_the_file_itself_ends_with_the_exit_code_of_its_refusal():
    """Occlum starts the file, and no function in it."""
    command = [sys.executable, entry_point.__file__, "measure"]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (process.returncode, process.stderr) == (entry_point.USAGE, "")
    assert process.stdout.startswith("[command-unknown]")


def test_imports_come_from_measured_folders_only(monkeypatch, tmp_path):
    own = str(Path(entry_point.__file__).resolve().parent)
    monkeypatch.setattr(entry_point, "MEASURED", ("/opt/python/", own))
    given = [
        "",
        own,
        ".",
        "/tmp/.local/lib/python3.11/site-packages",  # noqa: S108
        "/host/x",
        "/opt/pythonic",
        "/opt/python/lib",
    ]
    monkeypatch.setattr(sys, "path", list(given))
    monkeypatch.chdir(tmp_path)

    entry_point.isolate()

    assert sys.path == ["/opt/python/lib"]
    assert Path.cwd() == Path("/")


def test_the_interpreter_is_the_images_and_has_no_options():
    """Occlum reads the whole line after `#!` as the interpreter's path, of at most 127 bytes."""
    first = Path(entry_point.__file__).read_text().splitlines()[0]

    assert first == f"#!{image.PYTHON}"
    assert entry_point.MEASURED[0] == f"{image.PYTHON.parents[1]}/"
    assert entry_point.MEASURED[1] == str(image.APPLICATION_DIR)
