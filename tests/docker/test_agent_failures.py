"""How the real agent fails in the real image, by the names that the run operator gives."""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest
from confidential_spark.agent.launch.launch_file import LaunchSpec
from confidential_spark.agent.protocol import b64url
from confidential_spark.core.errors import EnclaveError
from confidential_spark.enclave import layout
from confidential_spark.enclave.image import PREFIX
from confidential_spark.enclave.output import EnclaveOutput
from confidential_spark.enclave.spark import choose_runtime
from confidential_spark.hooks.attestation import DEFAULT_API_VERSION
from confidential_spark.operators.launch import image_installation
from confidential_spark.platforms.docker.container import NONCE_LABEL, ContainerSpec
from confidential_spark.platforms.docker.enclave import (
    SCRATCH_BYTES,
    DockerEnclave,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]
GIBIBYTE = 1024**3
NYTAXI = {
    "job": "nytaxi",
    "job_file": str(layout.JOBS_DIR / "nytaxi.py"),
    "arguments": ["--month", "2018-05", "--outlier-cap-cents", "100000"],
    "month": "2018-05",
    "input": f"file://{layout.INPUT_DIR}",
}
SILENT = "http://127.0.0.1:1"


@dataclass
class Agent:
    """One container of the image with an agent's command; gives what its end is called."""

    enclave: DockerEnclave
    spec: ContainerSpec
    launch: dict[str, Any]
    lines: list[str] = field(default_factory=list)

    def fails(
        self, *inputs: Path, command: str = "attest", memory: int = 2 * GIBIBYTE, **changes: Any
    ) -> EnclaveError:
        launch = json.dumps({**self.launch, **changes})
        environment = {layout.LAUNCH_VARIABLE: launch}
        spec = replace(self.spec, command=command, environment=environment, memory_bytes=memory)
        container = self.enclave.start([spec], inputs)
        with pytest.raises(EnclaveError) as caught:
            self.enclave.follow(container)
        return caught.value


@pytest.fixture
def agent(engine, enclave_image) -> Iterator[Agent]:
    nonce = b64url(secrets.token_bytes(32))
    lines: list[str] = []
    enclave = DockerEnclave(engine.api, nonce, EnclaveOutput(log=lines.append), stopped=lambda: False)
    runtime = choose_runtime(
        input_bytes=0, cores=1, memory="1g", installation=image_installation(enclave_image, in_pods=False)
    )
    launch = LaunchSpec(
        nonce=nonce,
        run_id="sparkpi_dcsv3/test",
        results_dir=str(layout.RESULTS_DIR),
        attestation_url=layout.SIMULATED_ATTESTATION_URL,
        attestation_api_version=DEFAULT_API_VERSION,
        quote_provider="software",
        jobs_dir=str(layout.JOBS_DIR),
        job="sparkpi",
        job_file=str(layout.JOBS_DIR / "sparkpi.py"),
        arguments=["--partitions", "1"],
        work_dir=str(layout.WORK_DIR),
        image_digest=enclave_image.digest,
        java=str(runtime.java),
        spark_home=str(runtime.spark_home),
        python=str(runtime.python),
        jvm_options=list(runtime.jvm_options),
        spark_conf=runtime.spark_conf,
    )
    spec = ContainerSpec(
        image=enclave_image.reference,
        command="attest",
        environment={},
        labels={NONCE_LABEL: nonce, f"{PREFIX}run": "test-agent-failures"},
        memory_bytes=2 * GIBIBYTE,
        scratch_bytes=SCRATCH_BYTES,
        instance_bytes=1 << 26,
        cpus=2,
        network="none",
    )
    yield Agent(enclave, spec, asdict(launch), lines)
    enclave.container.remove()


@pytest.mark.parametrize(
    ("changes", "code", "retryable"),
    [
        pytest.param({"surprise": 1}, "launch-invalid", False, id="65-unknown-key"),
        pytest.param({"nonce": "short"}, "launch-invalid", False, id="65-bad-nonce"),
        pytest.param({"attestation_url": SILENT}, "attestation-unreachable", True, id="75-service-away"),
        pytest.param({"attestation_url": "http://192.0.2.1"}, "launch-invalid", False, id="65-plain-http"),
        pytest.param({"quote_provider": "occlum"}, "quote-failed", False, id="72-no-hardware"),
    ],
)
def test_attest_fails_by_name(agent, changes, code, retryable):
    error = agent.fails(**changes)

    assert (error.code, error.retryable) == (code, retryable), "\n".join(agent.lines)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        pytest.param({"arguments": ["--partitions", "none"]}, "job-arguments-refused", id="65-bad-argument"),
        pytest.param({"java": "/opt/python/bin/python3"}, "launch-invalid", id="65-another-java"),
        pytest.param(NYTAXI, "month-missing", id="66-no-input"),
    ],
)
def test_run_fails_by_name(agent, changes, code):
    error = agent.fails(command="run", **changes)

    assert error.code == code, "\n".join(agent.lines)


def test_a_container_that_is_too_small_is_killed_for_memory(agent):
    error = agent.fails(command="run", memory=120 * 1024**2)

    assert error.code == "killed-out-of-memory", "\n".join(agent.lines)
