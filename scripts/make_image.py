"""Build the enclave image on this machine's Docker engine, and ask on the terminal for its approval.

It starts Airflow, triggers its DAG `enclave_image`, shows the tasks, passes the question of
`approve_measurement` on to whoever sits here, and ends Airflow again. On a machine without SGX the image is
simulated. A deployment does the same on Airflow's own pages.
"""

from __future__ import annotations

import argparse
import getpass
import json
import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests
from confidential_spark.agent.protocol import SIMULATED_NOTICE, TRUST_SIMULATED
from confidential_spark.core.errors import ConfidentialSparkError, ConfigurationError
from confidential_spark.image_build.settings import ImageSettings, image_settings
from confidential_spark.platforms.docker.settings import docker_settings
from confidential_spark.settings import Settings, get_settings
from confidential_spark.verification import load_policy
from docker.client import DockerClient
from docker.errors import DockerException

from scripts.debian_base import cache_folder, ensure_base
from scripts.local_airflow import PASSWORDS, ROOT, VAR, environment, make_private, open_lock, prepare
from scripts.process_tree import end_descendants, end_with_parent, take_charge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DAG = "enclave_image"
QUESTION = "approve_measurement"
SIMULATED_POLICY = "simulation-image"
POLICY_VARIABLE = ImageSettings.variable("policy")
PLATFORM_POLICY_VARIABLE = Settings.variable("dcsv3_policy")
FINISHED = {"success", "failed", "skipped", "upstream_failed", "removed"}
MARKS = {"success": "✔", "failed": "✘", "skipped": "–", "running": "▶", "awaiting_input": "?"}
START_PATIENCE_SECONDS = 660.0
POLL_SECONDS = 1.0
END_PATIENCE_SECONDS = 40.0


def main() -> int:
    """Return 0 when an approved image was announced to the job DAGs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--approve", choices=["ask", "yes"], default="ask", help="yes: do not ask")
    parser.add_argument("--home", type=Path, default=VAR / "airflow", help="Airflow's own folder")
    arguments = parser.parse_args()
    take_charge()
    started = time.monotonic()
    try:
        home = arguments.home.resolve()
        require_approver(approve=arguments.approve == "yes")
        choose_policy(home)
        with airflow(home) as api:
            published = run(api, approve=arguments.approve == "yes")
    except (ConfidentialSparkError, DockerException, requests.RequestException) as error:
        print(f"REFUSED  {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped; nothing was announced.", file=sys.stderr)
        return 130
    print(f"{'Finished' if published else 'Failed'} after {time.monotonic() - started:.1f} s", flush=True)
    return 0 if published else 1


def require_approver(*, approve: bool) -> None:
    """Refuse to build what nobody here may approve.

    :raises ConfigurationError: ``second-person-needed``.
    """
    if approve and image_settings().second_person:
        raise ConfigurationError(
            "A second person has to approve the image, and this command has one user.",
            code="second-person-needed",
            got=f"APPROVE=yes, {ImageSettings.variable('second_person')} is on",
            expected="two users of one Airflow",
            action="trigger DAG enclave_image on Airflow's page, and let another person answer there",
        )


def choose_policy(home: Path) -> None:
    """Take the deployment's policy, or the simulation's where none is set, and make its base image.

    :raises EnclaveError: ``docker-…``: there is no engine to build on.
    """
    os.environ.setdefault(POLICY_VARIABLE, os.environ.get(PLATFORM_POLICY_VARIABLE, SIMULATED_POLICY))
    policy = load_policy(get_settings().policy_file(image_settings().policy))
    base = image_settings().base
    print(f"Policy {policy.label}", flush=True)
    engine = docker_engine(home)
    if policy.trust == TRUST_SIMULATED:
        print(f"{SIMULATED_NOTICE}\nLooking for the base image {base} …", flush=True)
        ensure_base(engine, base, cache_folder())


def docker_engine(home: Path) -> DockerClient:
    """Return a client of the engine on which the DAG will build: the connection's, not only this machine's.

    :raises ConfigurationError: ``docker-connection-invalid``.
    :raises EnclaveError: ``docker-…``.
    """
    open_lock(home, "cli.lock").close()
    prepare(home)
    # Airflow reads it when it is first imported, which is why that happens here.
    os.environ["AIRFLOW_HOME"] = str(home)
    from confidential_spark.platforms.docker.engine import EngineAddress

    address = EngineAddress.of_connection(docker_settings().conn_id)
    address.connect().close()
    return DockerClient(base_url=address.url, tls=address.tls, version="auto")


@dataclass
class Api:
    """Airflow's REST API, for its one user."""

    port: int
    session: requests.Session = field(default_factory=requests.Session)

    def log_in(self, home: Path) -> None:
        """Take a token of the user that Airflow has generated."""
        passwords = json.loads((home / PASSWORDS).read_text())
        [(user, password)] = passwords.items()
        token = self.call("POST", "/auth/token", {"username": user, "password": password})["access_token"]
        self.session.headers["Authorization"] = f"Bearer {token}"

    def knows_the_dag(self) -> bool:
        """Say whether Airflow has read the DAG's file."""
        try:
            return bool(self.call("GET", f"/api/v2/dags/{DAG}"))
        except requests.HTTPError:
            return False

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Return the JSON answer.

        :raises requests.RequestException: Airflow refuses, or is away.
        """
        url = f"http://127.0.0.1:{self.port}{path}"
        answer = self.session.request(method, url, json=body, timeout=90)
        answer.raise_for_status()
        return answer.json()


@contextmanager
def airflow(home: Path) -> Iterator[Api]:
    """Run Airflow for as long as this block, with no other runs than ours.

    :raises ConfigurationError: ``airflow-not-ready``, with its own words.
    """
    api = Api(free_port())
    command = [sys.executable, "-m", "scripts.ui", "--port", str(api.port), "--home", str(home)]
    env = {**environment(home, api.port), "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "False"}
    log = home / "make-image.log"
    # Airflow announces its password in it.
    make_private(log)
    print("Starting Airflow (half a minute) …", flush=True)
    with log.open("w") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=env, stdout=output, stderr=output, preexec_fn=end_with_parent
        )
    try:
        wait_for(lambda: "Airflow is ready" in log.read_text(errors="replace"), process, log)
        api.log_in(home)
        # A new Airflow is ready before it has read its DAG files.
        wait_for(api.knows_the_dag, process, log)
        yield api
    finally:
        end_descendants(END_PATIENCE_SECONDS)


def wait_for(ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until Airflow is ready.

    :raises ConfigurationError: ``airflow-not-ready``, with its own words.
    """
    deadline = time.monotonic() + START_PATIENCE_SECONDS
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise ConfigurationError(
                "Airflow does not start.",
                code="airflow-not-ready",
                got=log.read_text(errors="replace")[-500:].strip(),
                expected="an Airflow of our own",
                action="end `make ui`, or trigger the DAG enclave_image on its page instead",
            )
        time.sleep(POLL_SECONDS)


def free_port() -> int:
    """Return a loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run(api: Api, *, approve: bool) -> bool:
    """Run the DAG to its end, show its tasks, and say whether an image was published."""
    run_id = unfinished_run(api) or new_run(api)
    path = f"/api/v2/dags/{DAG}/dagRuns/{run_id}"
    shown: dict[str, str | None] = {}
    started = time.monotonic()
    while api.call("GET", path)["state"] not in FINISHED:
        show(api, path, shown, started)
        if shown.get(QUESTION) == "awaiting_input":
            answer(api, path, approve=approve)
        time.sleep(POLL_SECONDS)
    show(api, path, shown, started)
    for task in (name for name, state in shown.items() if state == "failed"):
        print(
            f"\n{xcom(api, path, task, 'failure') or task}\nWhat to do: docs/runbooks/{task}.md",
            file=sys.stderr,
        )
    if shown.get("publish_image") != "success":
        return False
    image = xcom(api, path, "publish_image", "return_value")
    print(
        f"\n  Image      {image['digest']}\n  MRENCLAVE  {image['mrenclave']}\n  Trust      {image['trust']}"
    )
    print("  Run it     make run PLATFORM=dcsv3\n")
    return True


def new_run(api: Api) -> str:
    """Trigger the DAG and return the run's id."""
    return str(api.call("POST", f"/api/v2/dags/{DAG}/dagRuns", {"logical_date": None})["dag_run_id"])


def unfinished_run(api: Api) -> str | None:
    """Return a run that was interrupted, at its question perhaps: the DAG has one at a time."""
    runs = api.call("GET", f"/api/v2/dags/{DAG}/dagRuns?state=running&state=queued&limit=1")["dag_runs"]
    if not runs:
        return None
    print(f"Going on with the run of {runs[0]['run_after']}, which was interrupted", flush=True)
    return str(runs[0]["dag_run_id"])


def show(api: Api, path: str, shown: dict[str, str | None], started: float) -> None:
    """Print what has changed."""
    for task in api.call("GET", f"{path}/taskInstances")["task_instances"]:
        name, state = task["task_id"], task["state"]
        if shown.get(name) != state and state in MARKS:
            print(f"{time.monotonic() - started:6.1f} s  {MARKS[state]} {name} {state}", flush=True)
        shown[name] = state


def answer(api: Api, path: str, *, approve: bool) -> None:
    """Ask whoever sits here, and tell Airflow; without a terminal the answer is no."""
    details = f"{path}/taskInstances/{QUESTION}/-1/hitlDetails"
    asked = api.call("GET", details)
    if asked.get("response_received"):
        return
    print(f"\n{asked['subject']}\n{asked['body']}\n")
    if not approve and not sys.stdin.isatty():
        print("Nobody can be asked here, so it is rejected; APPROVE=yes approves without asking.")
    elif not approve:
        approve = input(f"{getpass.getuser()}, approve this measurement? [y/N] ").strip().lower() == "y"
    option = "Approve" if approve else "Reject"
    api.call("PATCH", details, {"chosen_options": [option], "params_input": {}})


def xcom(api: Api, path: str, task: str, key: str) -> Any:
    """Return a task's XCom value, or None."""
    try:
        return api.call("GET", f"{path}/taskInstances/{task}/xcomEntries/{key}")["value"]
    except requests.HTTPError:
        return None


if __name__ == "__main__":
    raise SystemExit(main())
