"""An Airflow whose workers share PostgreSQL and Blob, and no folder: each is a machine of its own."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.integration.live_airflow import LiveAirflow, end_all, own_environment, processes_of, wait_until
from tests.support.places import ROOT

if TYPE_CHECKING:
    from pathlib import Path


@dataclass
class Machine:
    """A folder tree of its own, and the parts of Airflow that run in it.

    :param shared: variables that all machines have.
    """

    folder: Path
    port: int
    shared: dict[str, str]
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def home(self) -> Path:
        return self.folder / "airflow"

    @property
    def logs(self) -> set[str]:
        """The tasks' tries that ran here: `task_id=…/attempt=1.log`."""
        return {
            "/".join(path.parts[-2:]) for path in self.home.glob("logs/dag_id=*/run_id=*/task_id=*/*.log")
        }

    def environment(self) -> dict[str, str]:
        from scripts.local_airflow import environment

        self.home.mkdir(parents=True, exist_ok=True)
        airflow = {
            name: value for name, value in environment(self.home, self.port).items() if "AIRFLOW" in name
        }
        own = {**own_environment(self.folder), "CONFIDENTIAL_SPARK_CACHE_DIR": str(self.folder / "cache")}
        return {**airflow, **own, **self.shared}

    def run(self, *arguments: str) -> None:
        """Run a Python module to its end."""
        done = subprocess.run(
            [sys.executable, "-m", *arguments],
            cwd=ROOT,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]

    def start(self, *part: str) -> None:
        """Start a part of Airflow."""
        variables = self.environment()
        with (self.folder / f"{part[0]}.log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "airflow", *part],
                cwd=ROOT,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.processes.append(process)

    def lose(self) -> None:
        """Kill everything at once, and take its disk away."""
        for _ in range(3):
            for pid in processes_of(self.folder):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        for process in self.processes:
            process.wait()
        shutil.rmtree(self.folder)


def shared_variables(database: str, **ours: object) -> dict[str, str]:
    """Return what every machine of one deployment is told."""
    secret = {name: secrets.token_urlsafe(48) for name in ("API_AUTH__JWT_SECRET", "API__SECRET_KEY")}
    airflow = {
        **secret,
        "DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2://{database}",
        "DATABASE__SQL_ALCHEMY_CONN_ASYNC": f"postgresql+asyncpg://{database}",
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__FERNET_KEY": "",
        # No runs but the tests' own.
        "SCHEDULER__USE_JOB_SCHEDULE": "False",
        # A lost machine is noticed in seconds here, and in minutes by default.
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": "2",
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "15",
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
        "SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "15",
        "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
    }
    return {
        **{f"AIRFLOW__{name}": value for name, value in airflow.items()},
        **{f"CONFIDENTIAL_SPARK_{name.upper()}": str(value) for name, value in ours.items()},
    }


@dataclass
class Deployment:
    """One API server and DAG processor, and workers that come and go.

    A worker is a scheduler with a LocalExecutor: it starts the tasks that it schedules on its own machine.
    """

    folder: Path
    shared: dict[str, str]

    def __post_init__(self) -> None:
        self.control = LiveAirflow(self.folder / "control")
        self.control.folder.mkdir()
        self.machines: dict[str, Machine] = {}

    def machine(self, name: str) -> Machine:
        self.machines[name] = Machine(self.folder / name, self.control.port, self.shared)
        return self.machines[name]

    def begin(self) -> None:
        """Prepare the database and start what is not a worker."""
        control = self.machine("control")
        control.run("airflow", "db", "migrate")
        control.run("scripts.load_settings")
        control.start("api-server")
        control.start("dag-processor")
        wait_until(self._answers, "the API server knows the DAG")

    def worker(self, name: str) -> Machine:
        """Start a worker."""
        machine = self.machine(name)
        machine.start("scheduler", "--skip-serve-logs")
        return machine

    def _answers(self) -> bool:
        if (self.control.home / "simple_auth_manager_passwords.json.generated").exists():
            with suppress(OSError, ValueError):
                return self.control.answers()
        return False

    def end(self) -> None:
        """Kill whatever is left."""
        end_all(self.folder)
        for machine in self.machines.values():
            for process in machine.processes:
                process.wait()
