"""The services of `docker/compose.yaml` on this machine: a month on two workers, of which one is lost."""

from __future__ import annotations

import os
import secrets
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.error import URLError

import pytest

from tests.azure.conftest import storage, upload  # noqa: F401 - fixtures
from tests.docker.deployment.compose import COMPOSE_FILE, Compose, NoComposeError
from tests.docker.test_dcsv3_blobs import for_containers  # noqa: F401 - a fixture
from tests.integration.live_airflow import FINISHED, LiveAirflow, free_port, wait_until
from tests.support.azure.azurite import ACCOUNT, HOST, wasb_connection
from tests.support.azure.tables import tables_in_blob
from tests.support.places import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from docker.client import DockerClient

    from tests.support.azure.azurite import Azurite

pytestmark = [pytest.mark.docker, pytest.mark.spark, pytest.mark.timeout(2400)]
FILES = ROOT / "tests" / "docker" / "deployment"
DAG, MONTH, PART = "nytaxi_local", "2018-06", "puYear=2018/puMonth=6"
JAVA = "confidentialspark.Runner"
USER = "tester"
# A lost worker is noticed in seconds here, and in minutes by default.
SETTINGS = {
    "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "False",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": "2",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
    "CONFIDENTIAL_SPARK_BLOB_EMULATOR": f"http://127.0.0.1:10000/{ACCOUNT}",
    "CONFIDENTIAL_SPARK_BLOB_CONN_ID": "trips",
    "CONFIDENTIAL_SPARK_RESULTS_DIR": f"wasbs://results-of-compose@{HOST}/spark",
}


@dataclass
class Deployment(LiveAirflow):
    """The services, and what tests ask of them."""

    compose: Compose | None = None
    password: str = ""

    @cached_property
    def token(self) -> str:
        answer = self.request(
            "POST", "/auth/token", {"username": USER, "password": self.password}, token=None
        )
        return str(answer.body["access_token"])

    def state(self, dag_id: str, run_id: str) -> str:
        """Return a run's state; unknown, while the API server has too much to do to tell."""
        with suppress(TimeoutError, URLError):
            return super().state(dag_id, run_id)
        return "unknown"

    def __call__(self, *arguments: str, check: bool = True) -> str:
        assert self.compose is not None
        return self.compose(*arguments, check=check)

    def container(self, service: str) -> list[str]:
        assert self.compose is not None
        return self.compose.containers(service)


@pytest.fixture(scope="module")
def stand_ins(engine: DockerClient, base_image: str) -> dict[str, str]:
    """Debian's PostgreSQL and Redis, where images of them cannot be pulled."""
    names = {}
    for service in ("postgres", "redis"):
        names[service] = f"confidential-spark-test/{service}"
        engine.images.build(
            path=str(FILES),
            dockerfile=f"{service}.Dockerfile",
            tag=names[service],
            buildargs={"BASE_IMAGE": base_image},
            rm=True,
        )
    return names


@pytest.fixture(scope="module")
def trips(upload, shared_data: Path) -> str:  # noqa: F811
    """A container with one real month."""
    return str(upload("trips-of-compose", shared_data / "yellow" / PART, f"yellow/{PART}/"))


@pytest.fixture(scope="module")
def deployment(
    tmp_path_factory,
    airflow_image: str,
    stand_ins: dict[str, str],
    storage: Azurite,  # noqa: F811
    for_containers: str,  # noqa: F811
    trips: str,
) -> Iterator[Deployment]:
    """All services, with two workers, and an administrator."""
    folder = tmp_path_factory.mktemp("deployment")
    subprocess.run([ROOT / "docker/make-secrets.sh", folder / "secrets"], check=True)
    storage.client().create_container("results-of-compose")
    settings = {
        **SETTINGS,
        "CONFIDENTIAL_SPARK_INPUT_URI": f"wasbs://{trips}@{HOST}/yellow",
        "AIRFLOW_CONN_TRIPS": wasb_connection(f"http://127.0.0.1:10000/{ACCOUNT}"),
    }
    (folder / "compose.env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    port = free_port()
    variables = {
        "AIRFLOW_IMAGE": airflow_image,
        "POSTGRES_IMAGE": stand_ins["postgres"],
        "REDIS_IMAGE": stand_ins["redis"],
        "SECRETS_DIR": str(folder / "secrets"),
        "AIRFLOW_ENV_FILE": str(folder / "compose.env"),
        "AIRFLOW_PORT": str(port),
        "RELAY_DIR": str(FILES),
        "RELAY_TO": for_containers.replace(":", " "),
    }
    try:
        compose = Compose(f"deployment{os.getpid()}", [COMPOSE_FILE, FILES / "compose.test.yaml"], variables)
    except NoComposeError as error:
        pytest.skip(f"!!! NOT TESTED: no Compose: {error}")
    running = Deployment(folder, port, compose=compose, password=secrets.token_urlsafe(16))
    try:
        compose("up", "--detach", "--scale", "worker=2")
        name = ("--username", USER, "--firstname", "T", "--lastname", "T", "--email", "t@example.invalid")
        compose.execute(
            "scheduler",
            *("airflow", "users", "create", *name, "--role", "Admin", "--password", running.password),
        )
        wait_until(running.answers, "the API server knows the DAG", 600)
        yield running
    finally:
        print(compose("logs", "--tail", "60", check=False))
        compose("down", "--volumes", "--timeout", "5", check=False)


def test_what_a_worker_has_and_has_not(deployment: Deployment) -> None:
    # Debian's Compose has once listed one of two that were both running.
    wait_until(lambda: len(deployment.container("worker")) == 2, "two workers are listed", 60)
    tried = deployment(
        *("exec", "-T", "worker", "bash", "-c"),
        "ls /run/secrets; getent hosts postgres || echo no database; getent hosts redis >/dev/null"
        " && echo broker; touch /opt/confidential-spark/x 2>&1; id -u",
    )
    assert tried.splitlines() == [
        "api-secret-key",
        "broker-url",
        "no database",
        "broker",
        "touch: cannot touch '/opt/confidential-spark/x': Read-only file system",
        "50000",
    ]


def test_strangers_are_refused(deployment: Deployment) -> None:
    for path in ("/api/v2/dags", "/confidential-spark/"):
        assert deployment.request("GET", path, token=None).status in {401, 403}, path
    assert deployment.request("GET", "/confidential-spark/", token=deployment.token).status == 200


def test_a_month_is_published_though_a_worker_is_lost(
    deployment: Deployment,
    engine: DockerClient,
    storage: Azurite,  # noqa: F811
) -> None:
    deployment.unpause(DAG)
    run_id = deployment.trigger(DAG, month=MONTH)

    def at_work() -> str | None:
        assert deployment.state(DAG, run_id) not in FINISHED
        for container in deployment.container("worker"):
            processes = engine.containers.get(container).top(ps_args="-eo pid,args")["Processes"]
            if any(JAVA in line[-1] for line in processes):
                return container
        return None

    lost = wait_until(at_work, "Spark runs on a worker", 900)
    engine.containers.get(lost).remove(force=True, v=True)

    wait_until(lambda: deployment.state(DAG, run_id) in FINISHED, f"{run_id} has ended", 900)
    tasks = deployment.tasks(DAG, run_id)
    assert deployment.state(DAG, run_id) == "success", {name: task["state"] for name, task in tasks.items()}
    assert tasks["spark.run_spark"]["try_number"] == 2
    assert tables_in_blob(storage.client().get_container_client("results-of-compose"), DAG, MONTH)

    # The API server fetches a log from the worker that is left, which only answers what is signed.
    log = deployment.get(f"dags/{DAG}/dagRuns/{run_id}/taskInstances/validation.publish/logs/1").body
    assert "SIMULATED" in str(log)
