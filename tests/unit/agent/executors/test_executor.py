"""`executor` against a driver's enclave, with a shell script in Java's place."""

from __future__ import annotations

import base64
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from confidential_spark.agent.attestation.attest import attest_key
from confidential_spark.agent.attestation.measurement import IDENTITY_VARIABLE
from confidential_spark.agent.data.files import input_files
from confidential_spark.agent.errors import AgentError, ExitCode
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
MONTH = {"part-0.parquet": b"trips", "part-1 \N{LATIN SMALL LETTER E WITH ACUTE}.parquet": b"x" * 2_000_000}
# Says what Spark's executor would see; the secret itself twice, in the open and as a digest.
JAVA = """#!/bin/sh
touch "$(dirname "$0")/started"
for file in "$HOME"/../../input/*; do echo "input $(sha256sum < "$file") ${file##*/}"; done
for argument; do echo "argument $argument"; done
echo "address $SPARK_LOCAL_IP"
echo "secret $_SPARK_AUTH_SECRET"
printf %s "$_SPARK_AUTH_SECRET" | sha256sum
"""
CLOSED_PORT = "http://127.0.0.1:9"


@pytest.fixture
def volume(tmp_path) -> Path:
    """The folder with the month, which the host serves to driver and executors."""
    folder = tmp_path / "volume"
    folder.mkdir()
    for name, data in MONTH.items():
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture
def spec(cluster, tmp_path, volume):
    """Return a factory of an executor's launches; its `java` leaves the file `started`."""

    def make(script: str = JAVA, **changes):
        java = tmp_path / "java"
        java.write_text(script)
        java.chmod(0o755)
        values = {
            "java": str(java),
            "executor": TOLD,
            "spark_conf": None,
            "work_dir": str(tmp_path / "exec"),
            "input": volume.as_uri(),
        }
        return cluster(**values | changes)

    return make


@pytest.fixture
def driver(cluster, tmp_path, volume) -> Iterator[ExecutorEnclaves]:
    launched, key = cluster(), ec.generate_private_key(ec.SECP256R1())
    own = attest_key(launched, key, DRIVER_JOB)
    work = tmp_path / "driver"
    work.mkdir()
    with executor_enclaves(launched, key, own, work, input_files(volume.as_uri())) as enclaves:
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
    backend = arguments.index("confidentialspark.PodExecutor")
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


def as_read(said: str) -> set[str]:
    return {line.removeprefix("input ") for line in said.splitlines() if line.startswith("input ")}


AS_LISTED = {f"{hashlib.sha256(data).hexdigest()}  - {name}" for name, data in MONTH.items()}


def test_spark_reads_the_drivers_bytes_from_a_private_copy(spec, driver, capsys, tmp_path):
    executor(spec())
    said = capsys.readouterr().out
    assert as_read(said) == AS_LISTED
    assert "as the driver's enclave has read them: 2" in said
    assert list((tmp_path / "exec").iterdir()) == []


def test_what_the_host_serves_later_is_not_read(spec, driver, capsys, volume):
    """Spark opens its files long after the comparison."""
    executor(spec(JAVA.replace("touch", f"rm -r '{volume}'; touch", 1)))
    assert as_read(capsys.readouterr().out) == AS_LISTED


def test_a_file_that_nobody_listed_is_left_where_it_is(spec, driver, capsys, volume):
    (volume / "part-2.parquet").write_bytes(b"more")
    executor(spec())
    assert as_read(capsys.readouterr().out) == AS_LISTED


def replace_by_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def swap(file: Path) -> None:
    """Let each of the two files be the other one."""
    other = next(path for path in file.parent.iterdir() if path != file)
    file.rename(file.with_suffix(".tmp"))
    other.rename(file)
    file.with_suffix(".tmp").rename(other)


@pytest.mark.parametrize(
    ("tamper", "code", "exit_code"),
    [
        pytest.param(
            lambda file: file.write_bytes(b"TRIPS"),
            "executor-input-differs",
            ExitCode.INPUT_CHANGED,
            id="same-size",
        ),
        pytest.param(
            lambda file: file.write_bytes(b"trips!"),
            "executor-input-differs",
            ExitCode.INPUT_CHANGED,
            id="longer",
        ),
        pytest.param(
            lambda file: file.write_bytes(b""), "executor-input-differs", ExitCode.INPUT_CHANGED, id="empty"
        ),
        pytest.param(swap, "executor-input-differs", ExitCode.INPUT_CHANGED, id="swapped"),
        pytest.param(Path.unlink, "input-not-read", ExitCode.INPUT_UNUSABLE, id="gone"),
        pytest.param(replace_by_pipe, "input-not-read", ExitCode.INPUT_UNUSABLE, id="pipe"),
    ],
)
def test_an_executor_that_is_served_another_input_starts_no_spark(
    spec, driver, volume, tmp_path, tamper, code, exit_code
):
    tamper(volume / "part-0.parquet")
    with pytest.raises(AgentError) as caught:
        executor(spec())
    assert (caught.value.code, caught.value.exit_code) == (code, exit_code)
    assert "part-" in str(caught.value)
    assert not (tmp_path / "started").exists()
    assert list((tmp_path / "exec").iterdir()) == []


def test_an_executor_that_is_not_told_where_the_input_is_starts_no_spark(spec, driver, tmp_path):
    with pytest.raises(AgentError, match=r"launch-invalid.*input"):
        executor(spec(input=None))
    assert not (tmp_path / "started").exists()


def test_a_job_without_input_needs_no_volume(spec, cluster, tmp_path, capsys):
    launched, key = cluster(), ec.generate_private_key(ec.SECP256R1())
    with executor_enclaves(launched, key, attest_key(launched, key, DRIVER_JOB), tmp_path, []):
        executor(spec(input=None))
    assert (tmp_path / "started").exists()
