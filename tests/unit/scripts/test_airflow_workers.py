"""Which dead workers of Airflow's executor leave the others waiting for ever."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import psutil
import pytest

from scripts.airflow_workers import Workers

SCHEDULER = "python -m airflow scheduler --skip-serve-logs"
IDLE = "airflow worker -- LocalExecutor: <idle>"
BUSY = "airflow worker -- LocalExecutor: 01a22393-1b19-7344-8af0-1827f5c62e9f"
# A scheduler with two workers as Airflow forks and names them; it says their ids when they have their names.
FORKING = f"""
import os, signal, sys
from setproctitle import setproctitle
pids = []
for _ in range(2):
    ready, named = os.pipe()
    pid = os.fork()
    if pid == 0:
        setproctitle({IDLE!r})
        os.write(named, b"1")
        signal.pause()
    os.read(ready, 1)
    pids.append(pid)
print(*pids, flush=True)
for _ in sys.stdin:
    print(os.wait()[0], flush=True)
"""


@pytest.mark.parametrize(
    ("looks", "lost"),
    [
        pytest.param([{1: IDLE, 2: BUSY}, {1: IDLE, 2: BUSY}], False, id="all-there"),
        pytest.param([{1: IDLE, 2: BUSY}, {2: BUSY}], True, id="waiting-one-gone"),
        pytest.param([{1: IDLE, 2: BUSY}, {1: IDLE}], False, id="busy-one-gone"),
        pytest.param([{1: IDLE, 2: BUSY}, {1: IDLE}, {1: IDLE, 3: IDLE}], False, id="busy-one-replaced"),
        pytest.param([{1: SCHEDULER, 2: SCHEDULER}, {1: IDLE}], True, id="gone-before-it-had-a-title"),
        pytest.param([{1: BUSY, 2: IDLE}, {1: IDLE, 2: BUSY}, {1: IDLE}], False, id="last-seen-busy"),
        pytest.param([{1: IDLE, 2: IDLE, 3: "uname -p"}, {1: IDLE, 2: IDLE}], False, id="another-child"),
        pytest.param([{}] * 9, False, id="being-started"),
        pytest.param([{}] * 9 + [{1: IDLE}] * 5, False, id="perhaps-being-started"),
        pytest.param([{}] * 9 + [{1: IDLE}] * 6, True, id="gone-before-it-was-seen"),
        pytest.param([{1: IDLE}] * 5 + [{1: IDLE, 2: IDLE}] * 9, False, id="slowly-started"),
    ],
)
def test_a_worker_that_died_while_it_waited_is_noticed(looks: list[dict[int, str]], lost: bool) -> None:
    workers = Workers(wanted=2)
    *earlier, last = [workers.update(SCHEDULER, titles) for titles in looks]
    assert not any(earlier)
    assert last is lost


def test_where_workers_are_started_on_demand_none_is_missing() -> None:
    workers = Workers(wanted=0)
    assert [workers.update(SCHEDULER, {1: BUSY}) for _ in range(9)] == [False] * 9


def test_real_processes_are_told_by_their_titles() -> None:
    command = [sys.executable, "-c", FORKING]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as scheduler:
        assert scheduler.stdin
        assert scheduler.stdout
        first, second = map(int, scheduler.stdout.readline().split())
        try:
            workers = Workers(wanted=2)
            assert [workers.look(scheduler.pid) for _ in range(9)] == [False] * 9
            assert workers.waiting == {first: True, second: True}
            os.kill(first, signal.SIGKILL)
            print(file=scheduler.stdin, flush=True)
            assert int(scheduler.stdout.readline()) == first
            assert workers.look(scheduler.pid)
        finally:
            for pid in psutil.Process(scheduler.pid).children():
                pid.kill()


def test_a_scheduler_that_is_gone_has_lost_nothing() -> None:
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    assert not Workers(wanted=2).look(gone.pid)
