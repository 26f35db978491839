"""The processes of one Airflow: started in order, restarted when they die, ended so that no try is lost."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from multiprocessing import get_start_method
from typing import TYPE_CHECKING, Any

from scripts.airflow_workers import Workers
from scripts.local_airflow import ROOT, environment, make_private
from scripts.process_tree import (
    children,
    descendants,
    end_descendants,
    end_processes,
    end_with_parent,
    kill,
    reap_adopted,
    undisturbed,
)

if TYPE_CHECKING:
    from pathlib import Path

API_SERVER, SCHEDULER = "api-server", "scheduler"
COMMANDS = {
    API_SERVER: ["api-server"],
    SCHEDULER: ["scheduler", "--skip-serve-logs"],
    "dag-processor": ["dag-processor"],
    "triggerer": ["triggerer", "--skip-serve-logs"],
}
HEALTHY_PARTS = ("scheduler", "dag_processor", "triggerer")
MOST_RESTARTS = 5
# A part that has run for so long is no longer one that cannot start.
STABLE_SECONDS = 300.0
END_PATIENCE_SECONDS = 30.0


@dataclass
class Part:
    """One of Airflow's processes.

    :param failures: how often it has died in a row.
    :param not_before: when it may be started again, by the monotonic clock.
    """

    name: str
    log: Path
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    failures: int = 0
    not_before: float = 0.0

    @property
    def runs(self) -> bool:
        """Whether its process is there."""
        return self.process is not None and self.process.poll() is None

    def start(self, home: Path, port: int, lock: int) -> None:
        """Start it; its log goes on after a restart."""
        make_private(self.log)
        with self.log.open("a" if self.failures else "w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "airflow", *COMMANDS[self.name]],
                cwd=ROOT,
                env=environment(home, port),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # The terminal's Ctrl-C reaches this program only, which then ends the parts.
                process_group=0,
                pass_fds=[lock],
                preexec_fn=end_with_parent,
            )
        self.started = time.monotonic()

    def bury(self) -> bool:
        """Note that it has died, and say whether it may be started again."""
        self.process = None
        now = time.monotonic()
        self.failures = 1 if now - self.started > STABLE_SECONDS else self.failures + 1
        self.not_before = now + 2.0 ** (self.failures - 1)
        return self.failures <= MOST_RESTARTS


@dataclass
class Airflow:
    """The processes of one Airflow.

    :param lock: the descriptor of the lock on its home, which every process inherits.
    """

    home: Path
    port: int
    lock: int
    parts: dict[str, Part] = field(default_factory=dict)
    workers: Workers = field(init=False)

    def __post_init__(self) -> None:
        """Nothing is started yet."""
        self.parts = {name: Part(name, self.home / f"{name}.log") for name in COMMANDS}
        self.workers = self.new_workers()

    def tend(self) -> Part | None:
        """Start what is due and bury what has died; return a part that died too often, if any."""
        for part in self.parts.values():
            if part.process is not None and not part.runs:
                code = part.process.returncode
                may_restart = part.bury()
                self.end_strays()
                if not may_restart:
                    return part
                print(f"Airflow's {part.name} ended with code {code}; starting it again", flush=True)
        self.replace_broken_scheduler()
        self.start_due()
        reap_adopted({part.process.pid for part in self.parts.values() if part.process})
        return None

    def start_due(self) -> None:
        """Start every part that may start: all others need an API server that answers."""
        for name, part in self.parts.items():
            due = not part.runs and time.monotonic() >= part.not_before
            if due and (name == API_SERVER or self.answers()):
                if name == SCHEDULER:
                    self.release_tasks()
                    self.workers = self.new_workers()
                part.start(self.home, self.port, self.lock)

    def answers(self) -> bool:
        """Say whether the API server takes what tasks report."""
        return self.ask("/execution/health").get("status") == "healthy"

    def is_healthy(self) -> bool:
        """Ask Airflow's health page about its parts."""
        health = self.ask("/api/v2/monitor/health")
        return all(health.get(part, {}).get("status") == "healthy" for part in HEALTHY_PARTS)

    def ask(self, path: str) -> dict[str, Any]:
        """Return what the API server says, or nothing."""
        url = f"http://127.0.0.1:{self.port}{path}"
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                return dict(json.load(answer))
        except (OSError, ValueError):
            return {}

    def release_tasks(self) -> None:
        """Let the scheduler that starts now run again at once what the last one left running or queued."""
        command = [sys.executable, "-m", "scripts.interrupted_runs", "scheduled"]
        subprocess.run(command, cwd=ROOT, env=environment(self.home, self.port), check=False)

    def replace_broken_scheduler(self) -> None:
        """Kill a scheduler whose workers wait for ever; asked to end, it would wait for them."""
        scheduler = self.parts[SCHEDULER].process
        if scheduler and scheduler.poll() is None and self.workers.look(scheduler.pid):
            print("A waiting worker of Airflow was killed; starting the scheduler again", flush=True)
            scheduler.kill()
            scheduler.wait()

    def new_workers(self) -> Workers:
        """Return what is known of a scheduler's workers before it has started them."""
        wanted = environment(self.home, self.port)["AIRFLOW__CORE__PARALLELISM"]
        at_once = get_start_method() == "fork" and wanted.isdecimal()
        return Workers(int(wanted) if at_once else 0)

    def end_strays(self) -> None:
        """End what a dead part has left: tasks without a worker, workers without a scheduler."""
        own = {part.process.pid for part in self.parts.values() if part.process}
        kept = own | {child.pid for pid in own for child in descendants(pid)}
        strays = [process for process in descendants() if process.pid not in kept]
        orphans = {child.pid for child in children()}
        # Workers first: they would report as a task's failure that somebody ended it.
        kill(process for process in strays if process.pid in orphans)
        end_processes([process for process in strays if process.pid not in orphans], END_PATIENCE_SECONDS)

    def end(self) -> None:
        """End everything: first the parts and workers, which would record the ends of tasks as failures."""
        with undisturbed():
            parts = children()
            kill([*parts, *(child for part in parts for child in children(part.pid))])
            end_descendants(END_PATIENCE_SECONDS)
