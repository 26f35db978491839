"""What a launch on a Docker engine says, without an engine."""

from __future__ import annotations

import json
import tarfile
from dataclasses import asdict, replace
from io import BytesIO
from typing import Any

import pytest
from confidential_spark.agent.launch.launch_file import LaunchSpec
from confidential_spark.agent.protocol import b64url
from confidential_spark.core.errors import ConfigurationError
from confidential_spark.core.platforms import Platform
from confidential_spark.enclave.image import EnclaveImage
from confidential_spark.jobs.sparkpi import SPARKPI
from confidential_spark.operators.attempt import EnclaveRun
from confidential_spark.operators.base import RunScope
from confidential_spark.operators.launch import quote_source
from confidential_spark.platforms.docker.enclave import (
    GIBIBYTE,
    SGX_DEVICES,
    DockerEnclave,
    container_spec,
    sgx_devices,
    spark_memory,
)
from confidential_spark.platforms.docker.settings import DockerSettings
from confidential_spark.platforms.docker.spark import EnclaveSparkDockerOperator
from confidential_spark.settings import Settings

SIMULATED = EnclaveImage(
    reference=f"sha256:{'a' * 64}",
    digest=f"sha256:{'a' * 64}",
    trust="simulated",
    mrenclave="b" * 64,
    mrsigner="c" * 64,
    product_id=1,
    svn=1,
    debuggable=False,
    inputs_sha256="d" * 64,
)
HARDWARE = replace(SIMULATED, trust="hardware")


def spec_of(image: EnclaveImage, **settings: Any) -> Any:
    source = quote_source(SIMULATED, Platform.DCSV3, Settings())
    launch = LaunchSpec(nonce=b64url(bytes(32)), run_id="r", results_dir="/r", **asdict(source))
    return container_spec(DockerSettings(**settings), image, "run", launch, {"label": "x"}, ())


def test_only_a_hardware_enclave_has_a_network_and_the_hosts_aesm() -> None:
    settings = {"network": "sgx", "aesm_dir": "/var/run/aesmd"}
    simulated, hardware = spec_of(SIMULATED, **settings), spec_of(HARDWARE, **settings)
    assert (simulated.network, simulated.aesm_dir) == ("none", None)
    assert (hardware.network, hardware.aesm_dir) == ("sgx", "/var/run/aesmd")


@pytest.mark.parametrize(
    ("image", "setting", "devices"),
    [
        pytest.param(SIMULATED, "auto", ((),), id="simulated"),
        pytest.param(SIMULATED, "/dev/sgx/enclave", ((),), id="simulated-whatever-is-set"),
        pytest.param(HARDWARE, "auto", SGX_DEVICES, id="both-namings"),
        pytest.param(HARDWARE, "/dev/sgx_enclave,/dev/sgx_provision", (SGX_DEVICES[1],), id="one-naming"),
    ],
)
def test_devices(image, setting, devices) -> None:
    assert tuple(sgx_devices(image, DockerSettings(sgx_devices=setting))) == devices


BLOB = {"name": "a.parquet", "bytes": 1, "etag": "0x8D4", "sas": "sv=2021-12-02&sig=CANARY"}


def test_a_launch_with_credentials_is_no_variable_and_its_enclave_reaches_the_account() -> None:
    source = quote_source(SIMULATED, Platform.DCSV3, Settings())
    blobs: dict[str, Any] = {"input": "https://trips.blob.core.windows.net/c", "input_files": [BLOB]}
    launch = LaunchSpec(nonce=b64url(bytes(32)), run_id="r", results_dir="/r", **blobs, **asdict(source))
    spec = container_spec(DockerSettings(network="sgx"), SIMULATED, "run", launch, {}, ())
    assert (spec.environment, spec.network) == ({}, "sgx")
    assert "CANARY" not in repr(launch)


class UnpackedContainer:
    """Takes the stream that an engine would unpack."""

    def __init__(self) -> None:
        self.names: dict[str, bytes] = {}

    def create(self, _: Any) -> str:
        return "id"

    def put(self, _container: str, _folder: Any, tar: Any) -> None:
        with tarfile.open(fileobj=BytesIO(b"".join(tar()))) as archive:
            for member in archive:
                file = archive.extractfile(member)
                self.names[member.name] = file.read() if file else b""

    def start(self, _: str) -> None:
        assert self.names


def test_a_launch_with_credentials_is_a_file_on_the_volume(tmp_path) -> None:
    (tmp_path / "launch.json").write_text("{}")
    enclave = DockerEnclave(None, "nonce", None, stopped=lambda: False)  # type: ignore[arg-type]
    enclave.__dict__["container"] = UnpackedContainer()
    assert enclave.start([spec_of(SIMULATED)], [], tmp_path / "launch.json") == "id"
    assert enclave.container.names == {
        "input": b"",
        "results": b"",
        "launch": b"",
        "launch/launch.json": b"{}",
    }


def test_what_may_be_secret_is_not_shown() -> None:
    spec = spec_of(SIMULATED)
    assert json.loads(spec.environment["ENCLAVE_LAUNCH"])["run_id"] == "r"
    assert "ENCLAVE_LAUNCH" not in repr(spec)


def test_spark_gets_the_limit_without_the_scratch_space() -> None:
    settings = DockerSettings(memory="3g")
    assert spark_memory(settings) == f"{2 * GIBIBYTE // 1024}k"
    assert spec_of(SIMULATED, memory="3g").memory_bytes == 3 * GIBIBYTE


@pytest.mark.parametrize(
    ("variables", "code"),
    [
        pytest.param({"dcsv3_memory": "1g"}, "memory-too-small", id="less-than-the-scratch-space"),
        pytest.param({"dcsv3_memory": "1500m"}, "memory-too-small", id="little-for-spark"),
        pytest.param({"dcsv3_memory": "4gb"}, "memory-malformed", id="malformed"),
        pytest.param({"enclave_user_space_size": "3GB"}, "enclave-memory-too-small", id="small-enclave"),
    ],
)
def test_memory_that_cannot_work_is_refused_before_anything_starts(deploy, variables, code) -> None:
    deploy(**variables)
    operator = EnclaveSparkDockerOperator(
        task_id="run_spark", job=SPARKPI, platform=Platform.DCSV3, image=SIMULATED.to_xcom(), manifest=None
    )
    scope = RunScope("d", "r", 1, None, {"partitions": 1})
    run = EnclaveRun("d/r", b64url(bytes(32)), "2026-11-23T10:00:00+00:00", "run=r", "/staging")
    with pytest.raises(ConfigurationError) as refusal:
        operator.launch(scope, SIMULATED, run)
    assert refusal.value.code == code


def test_a_setting_that_names_no_digest_is_refused() -> None:
    with pytest.raises(ValueError, match="image"):
        DockerSettings(image="registry.example/enclave:latest")
