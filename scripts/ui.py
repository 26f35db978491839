"""Start Airflow on loopback, with connections, pools and variables loaded; Ctrl-C ends all of it."""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

from scripts.local_airflow import ROOT, VAR, environment, prepare

if TYPE_CHECKING:
    from pathlib import Path
    from types import FrameType

HOME = VAR / "airflow"
PASSWORDS = HOME / "simple_auth_manager_passwords.json.generated"


def main() -> int:
    """Run until Ctrl-C, TERM, or Airflow's own end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8080)
    port = parser.parse_args().port
    if port_in_use(port):
        print(f"ERROR: port {port} is in use; choose another: make ui PORT={port + 1}", file=sys.stderr)
        return 1
    prepare(HOME)
    log_path = HOME / "standalone.log"
    print(f"Starting Airflow (about a minute) · log {log_path}", flush=True)
    with log_path.open("w") as log:
        airflow = subprocess.Popen(
            [sys.executable, "-m", "airflow", "standalone"],
            cwd=ROOT,
            env=environment(HOME, port),
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    return supervise(airflow, port, log_path)


def supervise(airflow: subprocess.Popen[bytes], port: int, log_path: Path) -> int:
    """Announce the page when it answers, wait, and end the whole process group at the end."""
    signal.signal(signal.SIGTERM, interrupt)
    try:
        if not wait_until_healthy(airflow, port):
            print(log_path.read_text(errors="replace")[-4000:], file=sys.stderr)
            print(f"ERROR: Airflow did not start; the whole log is {log_path}", file=sys.stderr)
            return 1
        announce(port)
        return airflow.wait()
    except KeyboardInterrupt:
        print("\nStopping Airflow …", flush=True)
        return 0
    finally:
        end_group(airflow)


def interrupt(_signal: int, _frame: FrameType | None) -> None:
    """Make TERM end like Ctrl-C."""
    raise KeyboardInterrupt


def port_in_use(port: int) -> bool:
    """Say whether something listens on the loopback port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until_healthy(airflow: subprocess.Popen[bytes], port: int, patience: float = 240.0) -> bool:
    """Wait until the scheduler and the page answer; False when Airflow ended or took too long."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline and airflow.poll() is None:
        if is_healthy(port):
            return True
        time.sleep(1)
    return False


def is_healthy(port: int) -> bool:
    """Ask Airflow's health page about the scheduler and the DAG processor."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v2/monitor/health", timeout=2) as answer:
            health = json.load(answer)
    except (OSError, ValueError):
        return False
    return all(health.get(part, {}).get("status") == "healthy" for part in ("scheduler", "dag_processor"))


def announce(port: int) -> None:
    """Print where to go and how to log in."""
    users = json.loads(PASSWORDS.read_text()) if PASSWORDS.exists() else {}
    print(f"\n  Airflow is ready:  http://127.0.0.1:{port}")
    for user, password in users.items():
        print(f"  user {user} · password {password}")
    print("  Ctrl-C ends it.\n", flush=True)


def end_group(airflow: subprocess.Popen[bytes], patience: float = 30.0) -> None:
    """End every process Airflow started: TERM, then KILL."""
    for wave in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(airflow.pid, wave)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            airflow.poll()
            try:
                os.killpg(airflow.pid, 0)
            except ProcessLookupError:
                return
            time.sleep(0.2)


if __name__ == "__main__":
    raise SystemExit(main())
