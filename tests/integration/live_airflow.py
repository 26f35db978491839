"""One real Airflow for a test session: `scripts.ui` in a folder of its own, and what tests ask of it."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tests.support.places import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")
CACHE = os.environ.get("CONFIDENTIAL_SPARK_CACHE_DIR", str(ROOT / "var" / "cache"))
KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "JAVA_HOME")
FINISHED = {"success", "failed"}
TCP_LISTEN = "0A"
# As /proc/net/tcp and tcp6 write 127.0.0.1, ::1 and ::ffff:127.0.0.1.
LOOPBACK = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}


def wait_until(ask: Callable[[], T], what: str, patience: float = 400.0) -> T:
    """Return the first true answer; the patience is generous, because machines are slow at times."""
    deadline = time.monotonic() + patience
    while not (answer := ask()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {patience:.0f} s: {what}")
        time.sleep(0.2)
    return answer


def own_environment(folder: Path) -> dict[str, str]:
    """Return an environment in which everything this project writes goes below ``folder``."""
    for name in ("home", "tmp"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    return {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ} | {
        "HOME": str(folder / "home"),
        "TMPDIR": str(folder / "tmp"),
        "CONFIDENTIAL_SPARK_RESULTS_DIR": str(folder / "results"),
        "CONFIDENTIAL_SPARK_INPUTS_DIR": str(folder / "inputs"),
        "CONFIDENTIAL_SPARK_CACHE_DIR": CACHE,
        "CONFIDENTIAL_SPARK_SYNTHETIC_ROWS": "2000",
    }


def processes_of(folder: Path) -> dict[int, str]:
    """Return the processes that work with ``folder``, by id with their command lines, children included."""
    commands, parents = {}, {}
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            with suppress(OSError):
                # The dead who were not buried yet have no command line.
                if command := (process / "cmdline").read_bytes():
                    commands[int(process.name)] = command
                    parents[int(process.name)] = parent_of(int(process.name))
    # Airflow renames its processes, which destroys arguments and environment; open files and parents remain.
    found = {pid for pid in parents if names(pid, os.fsencode(folder))}
    while children := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= children
    return {pid: commands[pid].replace(b"\0", b" ").decode(errors="replace") for pid in found}


def names(pid: int, folder: bytes) -> bool:
    """Say whether a process has the folder in its arguments, its environment or its open files."""
    process = Path(f"/proc/{pid}")
    with suppress(OSError):
        if folder in (process / "cmdline").read_bytes() + (process / "environ").read_bytes():
            return True
        return any(folder in os.fsencode(file.readlink()) for file in (process / "fd").iterdir())
    return False


def find_process(folder: Path, *words: str) -> int | None:
    """Return a process of ``folder`` with all these words in its command line."""
    commands = processes_of(folder).items()
    return next((pid for pid, command in commands if all(word in command for word in words)), None)


def parent_of(pid: int) -> int:
    """Return a process' parent."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def end_all(folder: Path) -> None:
    """Kill whatever a failed test left behind."""
    for pid in processes_of(folder):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def public_ports(pids: Iterable[int]) -> set[int]:
    """Return the TCP ports on which these processes listen beyond the loopback."""
    sockets = set()
    for pid in pids:
        with suppress(OSError):
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                with suppress(OSError):
                    sockets.add(str(descriptor.readlink()))
    ports = set()
    for table in ("tcp", "tcp6"):
        for row in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = row.split()
            address, _, port = fields[1].partition(":")
            ours = f"socket:[{fields[9]}]" in sockets
            if ours and fields[3] == TCP_LISTEN and address not in LOOPBACK:
                ports.add(int(port, 16))
    return ports


def free_port() -> int:
    """Return a loopback port that nobody listens on, outside the kernel's own range.

    Any of them: a test session beside this one looks for one too, and neither listens yet.
    """
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port


@dataclass(frozen=True)
class Answer:
    """An HTTP answer."""

    status: int
    body: Any


@dataclass
class LiveAirflow:
    """A running `python -m scripts.ui`.

    :param scheduled: whether schedules and assets start runs; else there are none but the tests' own.
    """

    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    dag_id: str = "nytaxi_local"
    variables: dict[str, str] = field(default_factory=dict)
    scheduled: bool = False

    @property
    def home(self) -> Path:
        return self.folder / "airflow"

    @property
    def results(self) -> Path:
        return self.folder / "results"

    @property
    def log(self) -> str:
        return (self.folder / "ui.log").read_text(errors="replace")

    @cached_property
    def environment(self) -> dict[str, str]:
        from scripts.local_airflow import environment

        # A dead worker is noticed in seconds here, and in minutes by default.
        tuned = {
            "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": str(self.scheduled),
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": "2",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "15",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
        }
        ours = environment(self.home, self.port)
        airflow = {name: value for name, value in ours.items() if name.startswith("AIRFLOW")}
        return {**airflow, **own_environment(self.folder), **tuned, **self.variables}

    def start(self) -> None:
        self.__dict__.pop("token", None)
        command = [sys.executable, "-m", "scripts.ui", "--port", str(self.port), "--home", str(self.home)]
        with (self.folder / "ui.log").open("w") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=self.environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        wait_until(self.ready, "Airflow is ready", 400)

    def ensure_running(self) -> None:
        """Start it, unless it is at work; what the scheduler starts by itself is over when this returns."""
        if self.process is None or self.process.poll() is not None:
            self.start()
            wait_until(self.idle, "the runs that the schedule or an earlier test started have ended")

    def idle(self) -> bool:
        [(unfinished,)] = self.rows("select count(*) from dag_run where state in ('queued', 'running')")
        return unfinished == 0

    def ready(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise RuntimeError(f"scripts.ui ended:\n{self.log}")
        return "Airflow is ready" in self.log and self.answers()

    def answers(self) -> bool:
        """Say whether the API server is there and knows the DAG."""
        with suppress(OSError):
            return self.get(f"dags/{self.dag_id}").status == 200
        return False

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        """End it as Ctrl-C does and return its exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(120)

    def cli(self, *arguments: str) -> str:
        """Run an `airflow` command beside the scheduler and return its output."""
        done = subprocess.run(
            [sys.executable, "-m", "airflow", *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @cached_property
    def passwords(self) -> dict[str, str]:
        file = self.home / "simple_auth_manager_passwords.json.generated"
        return dict(json.loads(file.read_text()))

    @cached_property
    def token(self) -> str:
        return self.token_of(next(iter(self.passwords)))

    def token_of(self, user: str) -> str:
        body = {"username": user, "password": self.passwords[user]}
        return str(self.request("POST", "/auth/token", body, token=None).body["access_token"])

    def get(self, path: str) -> Answer:
        return self.request("GET", f"/api/v2/{path}", token=self.token)

    def post(self, path: str, body: dict[str, Any]) -> Answer:
        return self.request("POST", f"/api/v2/{path}", body, token=self.token)

    def patch(self, path: str, body: dict[str, Any]) -> Answer:
        return self.request("PATCH", f"/api/v2/{path}", body, token=self.token)

    def pause(self, dag_id: str, *, paused: bool = True) -> None:
        """Switch a DAG off, or on; SQLite may be busy for a moment."""
        address, body = f"dags/{dag_id}?update_mask=is_paused", {"is_paused": paused}
        wait_until(lambda: self.patch(address, body).status == 200, f"{dag_id} is paused: {paused}")

    def unpause(self, dag_id: str) -> None:
        self.pause(dag_id, paused=False)

    def request(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        token: str | None,
    ) -> Answer:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Content-Type": "application/json",
                **({"Authorization": f"Bearer {token}"} if token else {}),
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=120) as reply:  # noqa: S310 - our loopback
                return Answer(reply.status, decoded(reply.read()))
        except urllib.error.HTTPError as refusal:
            return Answer(refusal.code, decoded(refusal.read()))

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Ask the database, which only the tests may do."""
        with closing(
            sqlite3.connect(f"file:{self.home}/airflow.db?mode=ro", uri=True, timeout=30)
        ) as database:
            return database.execute(query, values).fetchall()

    def trigger(self, dag_id: str, **conf: object) -> str:
        answer = self.post(f"dags/{dag_id}/dagRuns", {"logical_date": None, "conf": conf})
        assert answer.status == 200, answer
        return str(answer.body["dag_run_id"])

    def state(self, dag_id: str, run_id: str) -> str:
        return str(self.get(f"dags/{dag_id}/dagRuns/{run_id}").body["state"])

    def wait_for_end(self, dag_id: str, run_id: str) -> str:
        wait_until(lambda: self.state(dag_id, run_id) in FINISHED, f"{run_id} has ended")
        return self.state(dag_id, run_id)

    def tasks(self, dag_id: str, run_id: str) -> dict[str, dict[str, Any]]:
        answer = self.get(f"dags/{dag_id}/dagRuns/{run_id}/taskInstances")
        return {task["task_id"]: task for task in answer.body["task_instances"]}

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value") -> Any:
        answer = self.get(f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}")
        return answer.body["value"] if answer.status == 200 else None

    def staged(self, month: str = "*") -> list[Path]:
        """Return what unpublished tries have left."""
        return sorted(self.results.glob(f"*/.staging/month={month}/*"))


def decoded(body: bytes) -> Any:
    """Return JSON as a value and anything else as text."""
    try:
        return json.loads(body)
    except ValueError:
        return body.decode(errors="replace")
