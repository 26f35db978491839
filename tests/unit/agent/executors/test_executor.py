"""`executor` against a driver's enclave, with a shell script in Java's place."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

import pytest
from confidential_spark.agent.attestation.attest import attest_key
from confidential_spark.agent.attestation.measurement import IDENTITY_VARIABLE
from confidential_spark.agent.errors import AgentError
from confidential_spark.agent.executors.driver import executor_enclaves
from confidential_spark.agent.executors.executor import executor
from confidential_spark.agent.launch.allowed_settings import FIXED_SETTINGS
from cryptography.hazmat.primitives.asymmetric import ec

from tests.unit.agent.executors.peers import DRIVER_JOB

if TYPE_CHECKING:
    from collections.abc import Iterator

    from confidential_spark.agent.executors.driver import ExecutorEnclaves

TOLD = {
    "app_id": "spark-0123",
    "cores": "2",
    "driver_url": "spark://CoarseGrainedScheduler@127.0.0.1:7078",
    "executor_id": "7",
    "memory": "1g",
    "pod_name": "nytaxi-exec-7",
    "resource_profile_id": "0",
}
# Says what Spark's executor would see; the secret itself twice, in the open and as a digest.
JAVA = """#!/bin/sh
touch "$(dirname "$0")/started"
for argument; do echo "argument $argument"; done
echo "address $SPARK_LOCAL_IP"
echo "secret $_SPARK_AUTH_SECRET"
printf %s "$_SPARK_AUTH_SECRET" | sha256sum
"""
CLOSED_PORT = "http://127.0.0.1:9"


@pytest.fixture
def spec(cluster, tmp_path):
    """Return a factory of an executor's launches; its `java` leaves the file `started`."""

    def make(script: str = JAVA, **changes):
        java = tmp_path / "java"
        java.write_text(script)
        java.chmod(0o755)
        values = {"java": str(java), "executor": TOLD, "spark_conf": None, "work_dir": str(tmp_path / "exec")}
        return cluster(**values | changes)

    return make


@pytest.fixture
def driver(cluster, tmp_path) -> Iterator[ExecutorEnclaves]:
    launched, key = cluster(), ec.generate_private_key(ec.SECP256R1())
    own = attest_key(launched, key, DRIVER_JOB)
    work = tmp_path / "driver"
    work.mkdir()
    with executor_enclaves(launched, key, own, work) as enclaves:
        yield enclaves


def test_sparks_executor_gets_the_drivers_secret_and_nobody_reads_it(spec, driver, capsys):
    executor(spec())
    secret = base64.b64encode(driver.secret_file.read_bytes())
    said = capsys.readouterr().out
    assert f"{hashlib.sha256(secret).hexdigest()}  -" in said
    assert f"secret {'*' * len(secret)}" in said
    assert secret.decode() not in said
    assert [record["id"] for record in driver.records()] == ["7"]


def test_sparks_executor_is_told_what_the_launch_file_says(spec, driver, capsys):
    executor(spec())
    said = capsys.readouterr().out.splitlines()
    arguments = [line.removeprefix("argument ") for line in said if line.startswith("argument ")]
    backend = arguments.index("org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend")
    given = iter(arguments[backend + 1 :])
    assert dict(zip(given, given, strict=True)) == {
        "--driver-url": TOLD["driver_url"],
        "--executor-id": "7",
        "--cores": "2",
        "--app-id": "spark-0123",
        "--hostname": "127.0.0.1",
        "--resourceProfileId": "0",
        "--podName": "nytaxi-exec-7",
    }
    assert "address 127.0.0.1" in said


def test_what_the_host_must_not_choose_is_on_the_command_line(spec, driver, capsys):
    executor(spec())
    options = set(capsys.readouterr().out.replace("argument ", "").splitlines())
    wanted = {f"-D{name}={value}" for name, value in FIXED_SETTINGS.items()}
    assert wanted | {"-XX:+UseSerialGC", "-Xmx1g", "-Dspark.master=k8s://https://none"} <= options


def test_another_program_gets_no_secret_and_starts_no_spark(spec, driver, tmp_path):
    jobs = tmp_path / "other-jobs"
    jobs.mkdir()
    (jobs / "nytaxi.py").write_text("print('evil')\n")
    with pytest.raises(AgentError, match=r"release-refused.*peer-measurement"):
        executor(spec(jobs_dir=str(jobs), job_file=str(jobs / "nytaxi.py")))
    assert not (tmp_path / "started").exists()
    with pytest.raises(AgentError, match="peer-measurement"):
        driver.records()


def test_an_executor_without_its_driver_can_be_tried_again(spec, tmp_path):
    with pytest.raises(AgentError, match="driver-unreachable") as caught:
        executor(spec())
    assert caught.value.exit_code == 75
    assert not (tmp_path / "started").exists()


def test_the_driver_is_sought_beside_sparks_and_spark_listens_on_the_pods_address(spec, driver, capsys):
    executor(spec(pod_ip="127.0.0.2"))
    assert [record["id"] for record in driver.records()] == ["7"]
    assert "address 127.0.0.2" in capsys.readouterr().out


def test_a_failed_executor_is_a_failure_of_spark(spec, driver):
    with pytest.raises(AgentError, match=r"spark-failed.*exit code 3"):
        executor(spec("#!/bin/sh\nexit 3\n"))


@pytest.mark.parametrize("key", ["executor", "pod_ip", "release_port", "work_dir", "java", "jvm_options"])
def test_an_executor_needs_each_of_its_keys(spec, key):
    with pytest.raises(AgentError, match=rf"launch-invalid.*missing \['{key}'\]"):
        executor(spec(**{key: None}, attestation_url=CLOSED_PORT))


def test_an_image_runs_no_java_of_the_host_and_attests_nothing_for_it(spec, tmp_path, monkeypatch):
    monkeypatch.setenv(IDENTITY_VARIABLE, "{}")
    with pytest.raises(AgentError, match=r"not usable: java\."):
        executor(spec(attestation_url=CLOSED_PORT))
    assert not (tmp_path / "started").exists()
