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
from confidential_spark.core.errors import ConfidentialSparkError, ConfigurationError
from confidential_spark.settings import get_settings

from scripts.airflow_parts import END_PATIENCE_SECONDS, Airflow
from scripts.local_airflow import (
    PASSWORDS,
    ROOT,
    VAR,
    disk_full,
    environment,
    is_full,
    not_writable,
    open_lock,
    prepare,
)
from scripts.process_tree import command_line, kill, processes_with, take_charge
from scripts.run_choices import INPUT_URI, SYNTHETIC_ROWS, deployment_uri, synthetic_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

START_PATIENCE_SECONDS = 600.0


def main() -> int:
    """Run until Ctrl-C, TERM, or until one of Airflow's parts dies again and again."""
    arguments = parse_arguments()
    home = arguments.home.resolve()
    take_charge()
    try:
        if arguments.input:
            os.environ[INPUT_URI] = deployment_uri(arguments.input)
        if arguments.rows:
            os.environ[SYNTHETIC_ROWS] = str(synthetic_rows(arguments.rows))
        with only_one_airflow(home) as lock:
            require_free_port(arguments.port)
            return serve(Airflow(home, arguments.port, lock))
    except ConfidentialSparkError as error:
        print(f"REFUSED  {error.diagnostics()}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"REFUSED  {not_writable(home, error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=port_number, default=8080, help="1024 to 65535")
    parser.add_argument("--home", type=Path, default=VAR / "airflow", help="Airflow's own folder")
    parser.add_argument(
        "--input", default="", help=f"folder, address of blobs or template of every month; empty: {INPUT_URI}"
    )
    parser.add_argument("--rows", default="", help=f"rows of a synthetic month; empty: {SYNTHETIC_ROWS}")
    return parser.parse_args()


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

    :raises ConfigurationError: ``airflow-in-use``, or the folder cannot be written.
    """
    with open_lock(home, "ui.lock") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            end_leftovers(home, processes_with(Path(lock.name)))
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield lock.fileno()


def end_leftovers(home: Path, holders: list[psutil.Process]) -> None:
    """End the processes that hold the lock, unless this program, in another process, is one of them.

    :raises ConfigurationError: ``airflow-in-use``.
    """
    owners = [each for each in holders if "scripts.ui" in command_line(each)]
    if owners or not holders:
        raise ConfigurationError(
            "Another `make ui` or `make image` is at work here.",
            code="airflow-in-use",
            got=f"process {owners[0].pid} works with {home}" if owners else f"{home} is locked",
            expected="one Airflow per folder",
            action="end it first",
        )
    print("Ending what a killed `make ui` has left …", flush=True)
    kill(holders)
    psutil.wait_procs(holders, END_PATIENCE_SECONDS)


def require_free_port(port: int) -> None:
    """Refuse a port on which somebody listens.

    :raises ConfigurationError: ``port-in-use``.
    """
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise ConfigurationError(
                f"The port {port} is in use.",
                code="port-in-use",
                expected="a free port of the loopback",
                action=f"choose another: make ui PORT={port + 1}",
            )


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
    if is_full(airflow.home):
        raise disk_full(airflow.home)
    print(dead.log.read_text(errors="replace")[-4000:], file=sys.stderr)
    print(
        f"ERROR: Airflow's {dead.name} ended {dead.failures} times; the whole log is {dead.log}",
        file=sys.stderr,
    )
    return 1


def announce(airflow: Airflow) -> None:
    """Print where to go and how to log in."""
    users = json.loads((airflow.home / PASSWORDS).read_text() or "{}")
    print(f"\n  Airflow is ready:  http://127.0.0.1:{airflow.port}")
    for user, password in users.items():
        print(f"  user {user} · password {password}")
    print(f"  input {input_text()}")
    print(f"  results {get_settings().results_dir}")
    print("  Ctrl-C ends it.\n", flush=True)


def input_text() -> str:
    """Return where scheduled and back-filled months come from."""
    if uri := os.environ.get(INPUT_URI):
        return uri
    return "none: simulated platforms make up every month, labelled synthetic (make ui INPUT=… for yours)"


if __name__ == "__main__":
    raise SystemExit(main())
