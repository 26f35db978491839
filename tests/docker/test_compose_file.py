"""`docker/compose.yaml` as Compose itself understands it, and who gets which secret."""

from __future__ import annotations

import os
import stat
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.docker.deployment.compose import COMPOSE_FILE, Compose, NoComposeError
from tests.support.places import ROOT

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.docker
SECRETS = {
    "database-password": {"postgres"},
    "redis.conf": {"redis"},
    "database-url": {"migration", "api-server", "scheduler", "dag-processor", "triggerer"},
    "fernet-key": {"migration", "api-server", "scheduler", "dag-processor", "triggerer"},
    "jwt-secret": {"api-server", "scheduler"},
    "broker-url": {"scheduler", "worker"},
    "api-secret-key": {"migration", "api-server", "scheduler", "dag-processor", "triggerer", "worker"},
}
AIRFLOW = {"migration", "api-server", "scheduler", "dag-processor", "triggerer", "worker"}
NETWORKS = {
    "worker": {"queue", "api", "outside"},
    "dag-processor": {"database", "outside"},
    "postgres": {"database"},
    "redis": {"queue"},
}


@pytest.fixture(scope="module")
def secrets(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("deployment") / "secrets"
    subprocess.run([ROOT / "docker/make-secrets.sh", folder], check=True)
    return folder


@pytest.fixture(scope="module")
def services(secrets: Path) -> dict[str, Any]:
    environment = secrets.parent / "compose.env"
    environment.write_text((ROOT / "docker/compose.env.example").read_text())
    variables = {
        "AIRFLOW_IMAGE": "airflow@sha256:0",
        "POSTGRES_IMAGE": "postgres@sha256:0",
        "REDIS_IMAGE": "redis@sha256:0",
        "SECRETS_DIR": str(secrets),
        "AIRFLOW_ENV_FILE": str(environment),
    }
    try:
        compose = Compose("described", [COMPOSE_FILE], variables)
    except NoComposeError as error:
        pytest.skip(f"!!! NOT TESTED: no Compose: {error}")
    described: dict[str, Any] = compose.config()["services"]
    return described


def test_compose_accepts_the_file_and_the_example_of_its_settings(services) -> None:
    assert set(services) == AIRFLOW | {"postgres", "redis"}
    assert services["worker"]["environment"]["CONFIDENTIAL_SPARK_BLOB_CONN_ID"] == "trips"
    assert '"vault_url"' in services["worker"]["environment"]["AIRFLOW__SECRETS__BACKEND_KWARGS"]


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_reaches_only_those_who_need_it(services, secret: str) -> None:
    holders = {
        name
        for name, service in services.items()
        if secret
        in [each if isinstance(each, str) else each["source"] for each in service.get("secrets", [])]
    }
    assert holders == SECRETS[secret]


def test_a_command_reads_only_secrets_that_its_service_has(services) -> None:
    for name, service in services.items():
        has = {each if isinstance(each, str) else each["source"] for each in service.get("secrets", [])}
        for variable, value in (service.get("environment") or {}).items():
            if variable.endswith(("_CMD", "_FILE")):
                assert str(value).rpartition("/")[2] in has, (name, variable)


@pytest.mark.parametrize("service", NETWORKS)
def test_a_service_reaches_only_what_it_needs(services, service: str) -> None:
    assert set(services[service]["networks"]) == NETWORKS[service]


@pytest.mark.parametrize("service", sorted(AIRFLOW))
def test_airflow_runs_without_rights_on_a_read_only_root(services, service: str) -> None:
    described = services[service]
    assert described["user"] == "50000:0"
    assert described["read_only"] is True
    assert described["cap_drop"] == ["ALL"]
    assert described["security_opt"] == ["no-new-privileges:true"]
    # Anonymous volumes only: nothing is shared between two containers, or with the machine.
    assert {
        str(each.get("source", "")) if isinstance(each, dict) else "" for each in described["volumes"]
    } == {""}
    assert not any(":" in each for each in described["volumes"] if isinstance(each, str))


def test_two_workers_and_one_port_on_the_loopback(services) -> None:
    assert services["worker"]["deploy"]["replicas"] == 2
    ports = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert list(ports) == ["api-server"]
    assert "127.0.0.1" in str(ports["api-server"])


def test_secrets_are_made_once_and_shielded(secrets: Path) -> None:
    before = {path.name: path.read_text() for path in secrets.iterdir()}
    subprocess.run([ROOT / "docker/make-secrets.sh", secrets], check=True, env={"PATH": os.environ["PATH"]})

    assert {path.name: path.read_text() for path in secrets.iterdir()} == before
    assert set(before) == set(SECRETS)
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    values = [
        before[name].strip() for name in ("database-password", "jwt-secret", "api-secret-key", "fernet-key")
    ]
    assert len(set(values)) == len(values)
    assert f":{before['database-password']}@postgres:" in before["database-url"]
    # Airflow would take a newline for a part of the secret.
    assert not any(value.endswith("\n") for value in before.values())
