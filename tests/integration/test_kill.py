"""Ends that nobody planned: `make run` and its processes killed at any moment, and a full disk.

`KILL_ROUNDS=20` adds rounds at other moments.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.integration.live_airflow import (
    end_all,
    find_process,
    own_environment,
    processes_of,
    wait_until,
)
from tests.support.places import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.spark, pytest.mark.timeout(900)]
MONTH = "2018-05"
WORDS = {
    "program": "scripts.run_month",
    "dag-run": "scripts.dag_run",
    "agent": "confidential_spark.agent run",
    "java": "confidentialspark.Runner",
}
TERM, KILL, INT = signal.SIGTERM, signal.SIGKILL, signal.SIGINT
# Who is killed, how, and how many seconds after it was seen: one after the other, then a run to its end.
ROUNDS = {
    "each": [
        *(("program", KILL, 4.0), ("program", TERM, 6.0), ("program", INT, 8.0)),
        *(("dag-run", KILL, 7.0), ("agent", TERM, 0.2), ("java", KILL, 2.0)),
    ],
}
MOMENTS = random.Random(2018)  # noqa: S311 - the same rounds each time
ROUNDS |= {
    f"more-{number}": [
        (MOMENTS.choice(list(WORDS)), MOMENTS.choice([TERM, KILL, INT]), round(MOMENTS.uniform(0.0, 9.0), 1))
    ]
    for number in range(int(os.environ.get("KILL_ROUNDS", "0")))
}


@dataclass(frozen=True)
class Machine:
    """A folder with a local Airflow of its own."""

    folder: Path

    @property
    def results(self) -> Path:
        return self.folder / "results"

    @property
    def evidence(self) -> Path:
        return self.results / "nytaxi_local" / f"month={MONTH}" / "evidence.json"

    def start(self, **variables: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "scripts.run_month", "--month", MONTH, "--rows", "2000"]
        return subprocess.Popen(
            [*command, "--home", str(self.folder / "airflow")],
            cwd=ROOT,
            env={**own_environment(self.folder), **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, **variables: str) -> tuple[int, str]:
        process = self.start(**variables)
        output, _ = process.communicate(timeout=300)
        return process.returncode, output

    def require_green_run(self) -> bytes:
        """Run once more, as after any failure, and return the evidence."""
        code, output = self.run()
        assert code == 0, output
        self.require_verified()
        assert sorted(self.results.glob("*/.staging/*/*")) == []
        assert processes_of(self.folder) == {}
        return self.evidence.read_bytes()

    def require_verified(self) -> None:
        policy = ROOT / "include" / "policies" / "simulation.yaml"
        command = [sys.executable, "-m", "confidential_spark", "verify", str(self.evidence)]
        done = subprocess.run(
            [*command, "--policy", str(policy)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def machine(tmp_path_factory) -> Iterator[Machine]:
    """A machine on which the month is published."""
    machine = Machine(tmp_path_factory.mktemp("kill"))
    try:
        machine.require_green_run()
        yield machine
    finally:
        end_all(machine.folder)


@pytest.mark.parametrize("rounds", [pytest.param(rounds, id=name) for name, rounds in ROUNDS.items()])
def test_any_end_leaves_a_whole_month_and_no_process(
    machine: Machine, rounds: list[tuple[str, signal.Signals, float]]
) -> None:
    for victim, number, delay in rounds:
        kill_a_run(machine, victim, number, delay)
        machine.require_verified()
    machine.require_green_run()


def kill_a_run(machine: Machine, victim: str, number: signal.Signals, delay: float) -> None:
    """Start a run, which gets as far as the victim, and kill that."""
    process = machine.start()
    pid = wait_until(
        lambda: process.poll() is not None or find_process(machine.folder, WORDS[victim]),
        f"{victim} is there",
    )
    time.sleep(delay)
    # A run that could not begin is the fault of the end before it.
    assert pid is not True, process.communicate()[0]
    if process.poll() is None and pid in processes_of(machine.folder):
        os.kill(pid, number)
    output, _ = process.communicate(timeout=300)
    wait_until(lambda: not processes_of(machine.folder), "every process is gone")
    assert process.returncode in (0, 1, 130, -number), output


def test_a_second_run_is_refused_by_name_and_the_first_one_is_not_disturbed(machine: Machine) -> None:
    first = machine.start()
    wait_until(lambda: find_process(machine.folder, WORDS["dag-run"]), "the first run is at work")
    code, output = machine.run()
    assert code == 2
    assert f"[run-in-progress] Another `make run` is in progress here. · got: process {first.pid} " in output
    output, _ = first.communicate(timeout=300)
    assert first.returncode == 0, output
    machine.require_verified()


@contextmanager
def small_disk(at: Path, kibibytes: int) -> Iterator[Path]:
    """Mount a file system of that size, which only root may do."""
    at.mkdir()
    options = f"size={kibibytes}k"
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(at)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
    try:
        yield at
    finally:
        subprocess.run(["umount", "--lazy", str(at)], check=True)


def fill(disk: Path, leaving_bytes: int) -> None:
    status = os.statvfs(disk)
    (disk / "ballast").write_bytes(bytes(max(0, status.f_bavail * status.f_frsize - leaving_bytes)))


def copy_month(month: Path, dag: Path) -> Path:
    """Copy a published month, which is a link to its version, into another folder of the DAG's results."""
    version = month.readlink()
    shutil.copytree(month.parent / version, dag / version)
    (dag / month.name).symlink_to(version)
    return dag / month.name


def test_a_full_disk_leaves_the_earlier_month_and_is_named(machine: Machine, tmp_path: Path) -> None:
    """Filled before the first byte of the results, and in the middle of them."""
    with small_disk(tmp_path / "disk", 2_048) as disk:
        small = {"CONFIDENTIAL_SPARK_RESULTS_DIR": str(disk)}
        evidence = copy_month(machine.evidence.parent, disk / "nytaxi_local") / "evidence.json"
        earlier = {path.name: path.read_bytes() for path in evidence.parent.iterdir()}
        for leaving_bytes in (0, 16_384):
            fill(disk, leaving_bytes)
            code, output = machine.run(**small)
            assert code == 1, output
            assert "disk-full" in output, output
            assert output.count("▶ spark.run_spark") == 1, output
            assert {path.name: path.read_bytes() for path in evidence.parent.iterdir()} == earlier
            (disk / "ballast").unlink()
        code, output = machine.run(**small)
        assert code == 0, output
        assert sorted(disk.glob("*/.staging/*/*")) == []
