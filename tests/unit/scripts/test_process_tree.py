"""However a program ends, or the make that started it: its children end with it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.live_airflow import end_all, processes_of, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = """
import subprocess, time
from pathlib import Path
from scripts.process_tree import end_descendants, take_charge
try:
    take_charge()
    # Two processes that the signal itself does not reach.
    subprocess.Popen(["sh", "-c", "sleep 1000 & exec sleep 1000"], start_new_session=True)
    Path("ready").touch()
    while True:
        time.sleep(60)
except KeyboardInterrupt:
    Path("interrupted").touch()
finally:
    end_descendants(5)
"""
# Stands for make, which waits for the program.
MAKE = 'MAKE_PROCESS={make} "{python}" "{program}" & wait'

STARTED_BY_MAKE = re.compile(r"\$\(RUN\) .*?\b((?:scripts|tests|benchmarks)\.[a-z_.]+)", re.ASCII)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "program.py").write_text(PROGRAM)
    yield tmp_path
    end_all(tmp_path)


def start(folder: Path, command: list[str]) -> subprocess.Popen[bytes]:
    variables = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "FOLDER": str(folder)}
    return subprocess.Popen(command, cwd=folder, env=variables)


def require_all_ended(folder: Path) -> None:
    wait_until(lambda: not processes_of(folder), "every process has ended", 60)
    assert (folder / "interrupted").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_ends_the_whole_tree(folder: Path, number: signal.Signals) -> None:
    process = start(folder, [sys.executable, str(folder / "program.py")])
    wait_until((folder / "ready").exists, "it is at work", 60)
    process.send_signal(number)
    assert process.wait(60) == 0
    require_all_ended(folder)


def test_a_killed_make_ends_the_whole_tree(folder: Path) -> None:
    command = MAKE.format(make="$$", python=sys.executable, program=folder / "program.py")
    make = start(folder, ["sh", "-c", command])
    wait_until((folder / "ready").exists, "it is at work", 60)
    make.kill()
    make.wait(60)
    require_all_ended(folder)


def test_a_make_that_was_killed_before_the_program_looked_ends_it_as_well(folder: Path) -> None:
    command = MAKE.format(make="1234567890", python=sys.executable, program=folder / "program.py")
    assert start(folder, ["sh", "-c", command]).wait(60) == 0
    require_all_ended(folder)
    assert not (folder / "ready").exists()


@pytest.mark.parametrize("module", sorted(set(STARTED_BY_MAKE.findall((ROOT / "Makefile").read_text()))))
def test_what_make_starts_ends_with_it(module: str) -> None:
    """Otherwise it goes on without make, and what it starts takes it for a make that has ended."""
    path = ROOT / module.replace(".", "/")
    source = (path / "__main__.py" if path.is_dir() else path.with_suffix(".py")).read_text(encoding="utf-8")
    assert re.search(r"\b(end_with_make|take_charge)\(\)", source)
