"""Start Airflow on loopback, with connections, pools and variables loaded; Ctrl-C ends all of it.

A part that dies is started again. The parts are started one by one and not by `airflow standalone`, whose two
log servers listen on every address of the machine; on one machine, the page reads the log files itself.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from scripts.airflow_parts import END_PATIENCE_SECONDS, Airflow
from scripts.local_airflow import ROOT, VAR, environment, prepare
from scripts.process_tree import kill, processes_with, take_charge

if TYPE_CHECKING:
    from collections.abc import Iterator

START_PATIENCE_SECONDS = 240.0


def main() -> int:
    """Run until Ctrl-C, TERM, or until one of Airflow's parts dies again and again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=port_number, default=8080, help="1024 to 65535")
    parser.add_argument("--home", type=Path, default=VAR / "airflow", help="Airflow's own folder")
    arguments = parser.parse_args()
    if port_in_use(arguments.port):
        print(
            f"ERROR: port {arguments.port} is in use; choose another: make ui PORT={arguments.port + 1}",
            file=sys.stderr,
        )
        return 1
    home = arguments.home.resolve()
    take_charge()
    try:
        with only_one_airflow(home) as lock:
            return serve(Airflow(home, arguments.port, lock))
    except BlockingIOError:
        print(f"ERROR: another `make ui` works with {home}; end it first.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0


def serve(airflow: Airflow) -> int:
    """Prepare and run Airflow, and end all of it whatever happens."""
    try:
        prepare(airflow.home)
        print(f"Starting Airflow (half a minute) · logs {airflow.home}/*.log", flush=True)
        bury_interrupted_runs(airflow)
        return watch(airflow)
    except KeyboardInterrupt:
        print("\nStopping Airflow; running tasks get half a minute to end …", flush=True)
        return 0
    finally:
        airflow.end()


def port_number(text: str) -> int:
    """Read a port that needs no privilege."""
    if not text.isdecimal() or not 1024 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a port from 1024 to 65535")
    return int(text)


@contextmanager
def only_one_airflow(home: Path) -> Iterator[int]:
    """Hold the home folder: two Airflows on one database would run every task twice.

    The lock's descriptor is inherited by all of Airflow's processes, by which those are found that a killed
    program has left: they are ended.

    :raises BlockingIOError: somebody else holds it.
    """
    home.mkdir(parents=True, exist_ok=True)
    with (home / "ui.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holders = processes_with(Path(lock.name))
            if not holders or lock.read() in {str(process.pid) for process in holders}:
                raise
            print("Ending what a killed `make ui` has left …", flush=True)
            kill(holders)
            psutil.wait_procs(holders, END_PATIENCE_SECONDS)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield lock.fileno()


def bury_interrupted_runs(airflow: Airflow) -> None:
    """Mark what an interrupted `make run` left, unless one is at work now."""
    with (airflow.home / "run.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        command = [sys.executable, "-m", "scripts.interrupted_runs", "local"]
        subprocess.run(command, cwd=ROOT, env=environment(airflow.home, airflow.port), check=False)


def watch(airflow: Airflow) -> int:
    """Announce the page when all parts are healthy, then wait; returns when a part cannot be kept alive."""
    announced = False
    deadline = time.monotonic() + START_PATIENCE_SECONDS
    while (dead := airflow.tend()) is None:
        if not announced and airflow.is_healthy():
            announce(airflow)
            announced = True
        if not announced and time.monotonic() > deadline:
            print(f"ERROR: Airflow is not healthy; read {airflow.home}/*.log", file=sys.stderr)
            return 1
        time.sleep(1)
    print(dead.log.read_text(errors="replace")[-4000:], file=sys.stderr)
    print(
        f"ERROR: Airflow's {dead.name} ended {dead.failures} times; the whole log is {dead.log}",
        file=sys.stderr,
    )
    return 1


def port_in_use(port: int) -> bool:
    """Say whether something listens on the loopback port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def announce(airflow: Airflow) -> None:
    """Print where to go and how to log in."""
    passwords = airflow.home / "simple_auth_manager_passwords.json.generated"
    users = json.loads(passwords.read_text()) if passwords.exists() else {}
    print(f"\n  Airflow is ready:  http://127.0.0.1:{airflow.port}")
    for user, password in users.items():
        print(f"  user {user} · password {password}")
    print("  Ctrl-C ends it.\n", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
