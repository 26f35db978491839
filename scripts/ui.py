"""Start Airflow on loopback, with connections, pools and variables loaded; Ctrl-C ends all of it.

The parts are started one by one and not by `airflow standalone`, whose two log servers listen on every
address of the machine; on one machine, the page reads the log files itself.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.local_airflow import ROOT, VAR, environment, prepare
from scripts.process_tree import end_descendants, end_with_parent, reap_adopted, take_charge

if TYPE_CHECKING:
    from collections.abc import Iterator

PARTS = {
    "api-server": ["api-server"],
    "scheduler": ["scheduler", "--skip-serve-logs"],
    "dag-processor": ["dag-processor"],
    "triggerer": ["triggerer", "--skip-serve-logs"],
}
HEALTHY_PARTS = ("scheduler", "dag_processor", "triggerer")
START_PATIENCE_SECONDS = 240.0
END_PATIENCE_SECONDS = 30.0


@dataclass
class Airflow:
    """The processes of one Airflow."""

    home: Path
    port: int
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self) -> None:
        """Start every part; each writes its own log."""
        for name in PARTS:
            with self.log(name).open("w") as log:
                self.processes[name] = subprocess.Popen(
                    [sys.executable, "-m", "airflow", *PARTS[name]],
                    cwd=ROOT,
                    env=environment(self.home, self.port),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    # The terminal's Ctrl-C reaches this program only, which then ends the parts.
                    process_group=0,
                    preexec_fn=end_with_parent,
                )

    def log(self, name: str) -> Path:
        """Return a part's log file."""
        return self.home / f"{name}.log"

    def ended(self) -> str | None:
        """Return the name of a part that has ended, if any."""
        return next((name for name, process in self.processes.items() if process.poll() is not None), None)

    def is_healthy(self) -> bool:
        """Ask Airflow's health page about its parts."""
        url = f"http://127.0.0.1:{self.port}/api/v2/monitor/health"
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                health = json.load(answer)
        except (OSError, ValueError):
            return False
        return all(health.get(part, {}).get("status") == "healthy" for part in HEALTHY_PARTS)


def main() -> int:
    """Run until Ctrl-C, TERM, or the end of one of Airflow's parts."""
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
    airflow = Airflow(arguments.home.resolve(), arguments.port)
    take_charge()
    try:
        with only_one_airflow(airflow.home):
            prepare(airflow.home)
            print(f"Starting Airflow (half a minute) · logs {airflow.home}/*.log", flush=True)
            bury_interrupted_runs(airflow)
            airflow.start()
            return watch(airflow)
    except BlockingIOError:
        print(f"ERROR: another `make ui` works with {airflow.home}; end it first.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopping Airflow; running tasks get half a minute to end …", flush=True)
        return 0
    finally:
        end_descendants(END_PATIENCE_SECONDS)


def port_number(text: str) -> int:
    """Read a port that needs no privilege."""
    if not text.isdecimal() or not 1024 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a port from 1024 to 65535")
    return int(text)


@contextmanager
def only_one_airflow(home: Path) -> Iterator[None]:
    """Hold the home folder: two Airflows on one database would run every task twice.

    :raises BlockingIOError: somebody else holds it.
    """
    home.mkdir(parents=True, exist_ok=True)
    with (home / "ui.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def bury_interrupted_runs(airflow: Airflow) -> None:
    """Mark what an interrupted `make run` left, unless one is at work now."""
    with (airflow.home / "run.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        command = [sys.executable, "-m", "scripts.interrupted_runs"]
        subprocess.run(command, cwd=ROOT, env=environment(airflow.home, airflow.port), check=False)


def watch(airflow: Airflow) -> int:
    """Announce the page when all parts are healthy, then wait; returns when a part has ended."""
    announced = False
    deadline = time.monotonic() + START_PATIENCE_SECONDS
    while (ended := airflow.ended()) is None:
        if not announced and airflow.is_healthy():
            announce(airflow)
            announced = True
        if not announced and time.monotonic() > deadline:
            print(f"ERROR: Airflow is not healthy; read {airflow.home}/*.log", file=sys.stderr)
            return 1
        reap_adopted({process.pid for process in airflow.processes.values()})
        time.sleep(1)
    print(airflow.log(ended).read_text(errors="replace")[-4000:], file=sys.stderr)
    print(f"ERROR: Airflow's {ended} ended; the whole log is {airflow.log(ended)}", file=sys.stderr)
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
