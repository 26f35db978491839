"""Airflow's parts are started in order, and not for ever when they cannot live."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
# In a process of its own, because what is left of a dead part is looked for among all descendants.
PROGRAM = """
import itertools, json, os, sys, types
from pathlib import Path
from scripts import airflow_parts

folder, answers = Path(sys.argv[1]), sys.argv[2] == "answers"
sys.executable = str(folder / "part")
seconds = itertools.count(0, 20)
airflow_parts.time = types.SimpleNamespace(monotonic=lambda: float(next(seconds)))
airflow = airflow_parts.Airflow(folder, 1, os.open(folder, os.O_RDONLY))
airflow.answers = lambda: answers
airflow.release_tasks = lambda: None
started = set()
while (dead := airflow.tend()) is None:
    for name, part in airflow.parts.items():
        if part.process:
            started.add(name)
            part.process.wait()
print(json.dumps([dead.name, dead.failures, sorted(started), airflow.parts[dead.name].log.read_text()]))
"""


@pytest.mark.parametrize(
    ("answers", "started"),
    [
        pytest.param("silent", ["api-server"], id="api-server-does-not-answer"),
        pytest.param("answers", ["api-server", "dag-processor", "scheduler", "triggerer"], id="it-answers"),
    ],
)
def test_a_part_that_always_dies_is_given_up(tmp_path: Path, answers: str, started: list[str]) -> None:
    (tmp_path / "part").write_text('#!/bin/sh\necho "dying: $3"\nexit 1\n')
    (tmp_path / "part").chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), answers],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *_, result = done.stdout.splitlines()
    assert json.loads(result) == ["api-server", 6, started, "dying: api-server\n" * 6]
    assert done.stdout.count("Airflow's api-server ended with code 1; starting it again") == 5
