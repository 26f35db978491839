"""The Airflow image on a Debian base, as a container of `docker/compose.yaml` starts it."""

from __future__ import annotations

import io
import json
import re
import tarfile
from typing import TYPE_CHECKING

import pytest

from scripts.airflow_image import context
from tests.docker.conftest import REVISION
from tests.support.places import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from docker.client import DockerClient

pytestmark = [pytest.mark.docker, pytest.mark.timeout(2400)]
PROJECT = "/opt/confidential-spark"
# What Compose and the Helm chart give a container: a read-only root, and room for what is written.
LEAST_RIGHTS = {
    "user": "50000:0",
    "read_only": True,
    "network_mode": "none",
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges:true"],
    "volumes": ["/opt/airflow/logs", "/opt/airflow/var"],
    "tmpfs": {"/tmp": "rw,exec,mode=1777", "/home/airflow": "rw,uid=50000,mode=0750"},  # noqa: S108
}
SQLITE = {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "sqlite:////opt/airflow/var/airflow.db"}
MIGRATED = "airflow db migrate >/dev/null 2>&1"
KEY_BLOCK = re.compile(rb"-----BEGIN (RSA |EC |ENCRYPTED )?PRIVATE KEY-----")


@pytest.fixture
def run(engine: DockerClient, airflow_image: str) -> Iterator[Callable[..., tuple[int, str]]]:
    """Runs a command in a container with the least rights; returns exit code and output."""
    made = []

    def run(*command: str, **environment: str) -> tuple[int, str]:
        container = engine.containers.create(
            airflow_image, list(command), environment=environment, **LEAST_RIGHTS
        )
        made.append(container)
        container.start()
        return container.wait(timeout=600)["StatusCode"], container.logs().decode()

    yield run
    for container in made:
        container.remove(v=True, force=True)


def test_every_dag_is_there_and_none_has_an_import_error(run) -> None:
    code, output = run(
        *("bash", "-ec"),
        f"{MIGRATED}; airflow dags list-import-errors --local; echo; airflow dags list --local -o json",
        **SQLITE,
    )

    assert code == 0, output[-3000:]
    assert "No data found" in output
    dags = {entry["dag_id"] for entry in json.loads(output[output.index("[{") :])}
    assert {"nytaxi_local", "nytaxi_dcsv3", "nytaxi_aks", "enclave_image", "platform_check"} <= dags


def test_the_plugin_and_the_connection_type_are_registered_once(run) -> None:
    code, output = run("bash", "-ec", "airflow plugins -o json; airflow providers list -o json", **SQLITE)

    assert code == 0, output[-3000:]
    assert output.count('"name": "confidential_spark"') == 1
    assert output.count('"package_name": "confidential-spark-airflow"') == 1


def test_pools_and_connections_are_loaded_without_a_checkout(run) -> None:
    code, output = run(
        *("bash", "-ec"),
        f"{MIGRATED}; python {PROJECT}/load_settings.py {PROJECT}/airflow_settings.yaml",
        **SQLITE,
    )

    assert code == 0, output[-3000:]
    assert "pool enclave_local: 2 slots" in output
    assert "connection maa_default: created" in output


def test_the_user_has_no_rights_and_owns_nothing_of_the_project(engine, airflow_image, run) -> None:
    configuration = engine.images.get(airflow_image).attrs["Config"]
    assert configuration["User"] == "50000:0"

    code, output = run(
        "bash",
        "-c",
        f"id -u; find {PROJECT} /entrypoint ! -type l '(' ! -user root -o -perm /022 ')'; touch {PROJECT}/x",
    )

    assert output.splitlines()[0] == "50000"
    assert output.splitlines()[1:] == [f"touch: cannot touch '{PROJECT}/x': Read-only file system"]
    assert code == 1


def test_the_project_is_read_only_to_the_user_even_where_the_root_is_not(engine, airflow_image) -> None:
    output = engine.containers.run(
        airflow_image,
        [
            "bash",
            "-c",
            f"for folder in {PROJECT} {PROJECT}/dags {PROJECT}/plugins /opt/confidential-spark/venv/bin; do"
            " test -w $folder && echo $folder; done; true",
        ],
        remove=True,
        network_mode="none",
    )
    assert output == b""


def test_neither_configuration_nor_history_has_a_secret(engine, airflow_image) -> None:
    image = engine.images.get(airflow_image)
    told = json.dumps([image.attrs["Config"], image.history()])

    assert not re.search(r"(PASSWORD|SECRET|TOKEN|FERNET_KEY|CONN)(_CMD)?=[^\"]", told)
    assert "sig=" not in told
    assert image.labels["org.opencontainers.image.revision"] == REVISION


def test_no_file_of_the_project_is_a_key_or_a_secret(engine, airflow_image) -> None:
    container = engine.containers.create(airflow_image)
    try:
        stream, _ = container.get_archive(PROJECT)
        found = list(suspicious_files(b"".join(stream)))
    finally:
        container.remove()
    assert found == []


def suspicious_files(archive: bytes) -> Iterator[str]:
    """Yield the project's own files that contain a private key, and any that is named like a secret."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            if not member.isfile() or "/venv/" in member.name:
                continue
            file = tar.extractfile(member)
            if KEY_BLOCK.search(file.read() if file else b""):
                yield member.name
            if re.search(r"\.(env|pem\.key|key|pfx|p12)$|(^|/)(secrets?|\.git|\.env)(/|$)", member.name):
                yield member.name


def test_nothing_else_of_a_checkout_can_reach_the_image() -> None:
    with context() as archive, tarfile.open(fileobj=archive) as tar:
        names = {member.name for member in tar if member.isfile()}

    allowed = ("dags/", "docker/airflow/", "docker/enclave/", "docs/runbooks/", "include/", "plugins/")
    single = {"airflow_settings.yaml", "scripts/load_settings.py", "LICENSE"}
    assert {name for name in names - single if not name.startswith(allowed)} == set()
    assert {
        name
        for name in names
        if "__pycache__" in name or "approvals-simulated." in name or name.endswith(".env")
    } == set()


@pytest.mark.parametrize("base", ["apache/airflow:3.3.2", "debian", ""], ids=["tag", "name", "empty"])
def test_a_base_without_a_digest_is_refused(base: str) -> None:
    import subprocess

    done = subprocess.run(
        [ROOT / "docker/airflow/require-digest.sh", base], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "[base-not-by-digest]" in done.stderr
