"""Each failure of Docker in the table, provoked on a real engine: the words are the engine's, not ours."""

from __future__ import annotations

import secrets
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from confidential_spark.agent.errors import ExitCode
from confidential_spark.core.errors import EnclaveError
from confidential_spark.core.failures import LogWatcher
from confidential_spark.enclave.output import MAX_LOGGED, EnclaveOutput
from confidential_spark.platforms.docker.container import NONCE_LABEL, ContainerSpec
from confidential_spark.platforms.docker.enclave import DockerEnclave
from confidential_spark.platforms.docker.failures import container_diagnosis, docker_failures
from docker.errors import NotFound

from tests.docker.fake_registry import fake_registry
from tests.docker.stub_image import stub_image
from tests.integration.live_airflow import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from confidential_spark.core.failures import Diagnosis
    from docker.models.containers import Container

pytestmark = pytest.mark.docker
LABEL = "org.confidential-spark.test"
NO_DIGEST = "sha256:" + "0" * 64
EAT_MEMORY = "python3 -c 'b\"x\" * (1 << 30)'"
SEED_PCK = r"""
echo '[../qe_logic.cpp:352] p_sgx_get_quote_config returned NULL for p_pck_cert_config.'
echo "thread 'main' panicked at 'IOCTRL IOCTL_GET_DCAP_QUOTE_SIZE failed', occlum_dcap.rs:70:13" >&2
exit 139
"""
SEED_AESM = r"""
echo 'aesm_service[10]: Failed to set logging callback for the quote provider library.'
echo 'aesm_service[10]: The server sock is 0x5624fe742330'
exit 80
"""


@pytest.fixture
def create(engine, base_image) -> Iterator[Callable[..., Container]]:
    """Creates a container of the base image whose program is a line of shell; removed afterwards."""
    created: list[Container] = []

    def make(script: str = "true", **options: Any) -> Container:
        defaults = {"network_mode": "none", "labels": {LABEL: "failures"}, "init": True}
        command = ["/bin/sh", "-c", script]
        with docker_failures():
            created.append(engine.containers.create(base_image, command, **defaults | options))
        return created[-1]

    yield make
    for container in created:
        with suppress(NotFound):
            container.remove(force=True, v=True)


def diagnosis_of(container: Container) -> Diagnosis | None:
    """Wait for the container's end and say what the run operator would say."""
    with docker_failures():
        container.wait(timeout=60)
        watcher = LogWatcher()
        for line in container.logs().decode().splitlines():
            watcher.feed(line)
        container.reload()
    return container_diagnosis(container.attrs["State"], watcher)


def failure_of(container: Container) -> str:
    container.start()
    diagnosis = diagnosis_of(container)
    assert diagnosis is not None
    return diagnosis.failure.name


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (ExitCode.BAD_LAUNCH, "launch-invalid"),
        (ExitCode.INPUT_UNUSABLE, "input-unusable"),
        (ExitCode.INTERNAL, "agent-internal-error"),
        (ExitCode.ATTESTATION_REFUSED, "attestation-refused"),
        (ExitCode.QUOTE_FAILED, "quote-failed"),
        (ExitCode.SERVICE_UNAVAILABLE, "attestation-unreachable"),
        (ExitCode.SPARK_FAILED, "spark-failed"),
        (ExitCode.RESULTS_INCOMPLETE, "results-incomplete"),
        (ExitCode.INPUT_CHANGED, "input-changed"),
        (ExitCode.TERMINATED, "terminated"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_an_exit_code_of_the_agent_comes_through_a_container(create, code, name):
    assert failure_of(create(f"exit {int(code)}")) == name


def test_a_good_end_is_no_failure(create):
    container = create("echo done")
    container.start()
    assert diagnosis_of(container) is None


@pytest.mark.parametrize(
    ("script", "options", "name"),
    [
        pytest.param(EAT_MEMORY, {"init": False}, "killed-out-of-memory", id="out-of-memory-137"),
        pytest.param(f"{EAT_MEMORY}; exit 80", {}, "killed-out-of-memory", id="a-child-out-of-memory"),
        pytest.param(SEED_PCK, {}, "no-pck-certificate", id="the-seeds-fatal-message"),
        pytest.param(SEED_AESM, {}, "spark-failed", id="the-seeds-harmless-message"),
        pytest.param(
            "dd if=/dev/zero of=/scratch/f bs=1M; exit 80",
            {"tmpfs": {"/scratch": "size=2m"}},
            "disk-full",
            id="scratch-space-full",
        ),
    ],
)
def test_what_happens_inside_has_a_name(create, script, options, name):
    limits = {"mem_limit": "64m", "memswap_limit": "64m"}
    assert failure_of(create(script, **limits | options)) == name


def test_the_seeds_harmless_message_is_called_harmless(create):
    container = create(SEED_AESM)
    container.start()
    diagnosis = diagnosis_of(container)

    assert diagnosis is not None
    assert [sighting.failure.name for sighting in diagnosis.benign] == ["aesm-logging-callback"]


def test_killed_by_somebody_is_not_out_of_memory(create):
    container = create("sleep 600")
    container.start()
    container.kill()
    diagnosis = diagnosis_of(container)

    assert diagnosis is not None
    assert (diagnosis.failure.name, diagnosis.exit_code) == ("killed-from-outside", 137)
    assert diagnosis.error().retryable


def test_stopped_by_somebody_is_terminated(create):
    container = create("trap 'exit 143' TERM; echo ready; sleep 600 & wait", init=False)
    container.start()
    # A shell that has not come so far yet ends in ways of its own.
    wait_until(lambda: b"ready" in container.logs(), "the shell waits", 30)
    container.stop(timeout=10)
    diagnosis = diagnosis_of(container)

    assert diagnosis is not None
    assert diagnosis.failure.name == "terminated"


def code_of(action: Callable[[], object]) -> tuple[str, bool]:
    with pytest.raises(EnclaveError) as caught, docker_failures():
        action()
    return caught.value.code, caught.value.retryable


def test_removed_by_somebody(create):
    container = create("sleep 600")
    container.start()
    container.remove(force=True)

    assert code_of(container.wait) == ("container-lost", True)
    assert code_of(container.reload) == ("container-lost", True)


@pytest.mark.parametrize("image", [NO_DIGEST, f"registry.invalid/spark@{NO_DIGEST}", "no-such-image:1"])
def test_the_image_is_absent(engine, image):
    assert code_of(lambda: engine.containers.create(image)) == ("image-not-found", False)


@pytest.mark.parametrize("devices", ["/dev/sgx/enclave", "/dev/sgx_enclave"])
def test_the_sgx_device_is_absent(engine, create, devices):
    if Path(devices).exists():
        pytest.skip(f"this machine has {devices}")
    container = create(devices=[f"{devices}:{devices}:rw"])

    assert code_of(container.start) == ("sgx-device-missing", False)
    container.reload()
    diagnosis = container_diagnosis(container.attrs["State"], LogWatcher())
    assert diagnosis is not None
    assert diagnosis.failure.name == "sgx-device-missing"


def test_the_program_is_absent(create):
    container = create(entrypoint="/no/such/program", init=False)

    assert code_of(container.start) == ("command-not-found", False)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"user": "nobody-of-that-name"}, id="user"),
        pytest.param({"network_mode": "no-such-network"}, id="network"),
        pytest.param({"mem_limit": "1k"}, id="memory-limit"),
        pytest.param({"nano_cpus": 10**15}, id="cpus"),
        pytest.param({"volumes": ["/no/such/folder:relative"]}, id="mount"),
    ],
)
def test_what_the_host_does_not_have_is_refused(create, options):
    assert code_of(lambda: create(**options).start()) == ("docker-refused", False)


def test_a_name_is_taken(create):
    container = create(name="confidential-spark-test-name")

    assert code_of(lambda: create(name=container.name)) == ("container-name-taken", False)


def test_a_port_is_taken(create):
    first = create("sleep 600", network_mode="bridge", ports={"80/tcp": ("127.0.0.1", None)})
    first.start()
    first.reload()
    taken = int(first.ports["80/tcp"][0]["HostPort"])
    second = create("sleep 600", network_mode="bridge", ports={"80/tcp": ("127.0.0.1", taken)})

    assert code_of(second.start) == ("port-in-use", True)


@pytest.mark.parametrize(
    ("status", "error", "greeting", "name"),
    [
        pytest.param(404, "MANIFEST_UNKNOWN", 200, "image-not-found", id="no-such-digest"),
        pytest.param(404, "NAME_UNKNOWN", 200, "image-not-found", id="no-such-repository"),
        pytest.param(403, "DENIED", 200, "image-not-found", id="denied"),
        pytest.param(401, "UNAUTHORIZED", 401, "registry-denied", id="wrong-password"),
        pytest.param(429, "TOOMANYREQUESTS", 200, "image-pull-interrupted", id="rate-limit"),
        pytest.param(503, "UNAVAILABLE", 200, "image-pull-interrupted", id="registry-down"),
    ],
)
@pytest.mark.parametrize(
    "login", [None, {"username": "somebody", "password": "wrong"}], ids=["no-login", "login"]
)
def test_a_registry_refuses(engine, status, error, greeting, name, login):
    with fake_registry(status, error, greeting=greeting) as registry:
        reference = f"{registry}/spark@{NO_DIGEST}"
        assert code_of(lambda: engine.api.pull(reference, auth_config=login))[0] == name


def test_a_registry_is_away(engine):
    with fake_registry(404, "NONE") as registry:
        pass
    assert code_of(lambda: engine.images.pull(f"{registry}/spark@{NO_DIGEST}")) == (
        "image-pull-interrupted",
        True,
    )


def test_a_failure_after_a_flood_of_100_mb_is_still_named(engine, base_image):
    flood = "yes INFO TaskSetManager: $(printf %01000d 7) | head -c 100000000"
    script = f"{flood}; echo 'java.lang.OutOfMemoryError: Java heap space'; exit 80"
    image = stub_image(engine, base_image, script)
    nonce = secrets.token_hex(16)
    spec = ContainerSpec(
        image=image.reference,
        command="run",
        environment={},
        labels={NONCE_LABEL: nonce},
        memory_bytes=1 << 30,
        scratch_bytes=1 << 20,
        instance_bytes=1 << 20,
        cpus=1,
        network="none",
    )
    copied: list[int] = []
    output = EnclaveOutput(log=lambda line: copied.append(len(line)))
    enclave = DockerEnclave(engine.api, nonce, output, stopped=lambda: False)
    try:
        container = enclave.start([spec], [])
        with pytest.raises(EnclaveError) as caught:
            enclave.follow(container)
    finally:
        enclave.container.remove()

    assert caught.value.code == "spark-out-of-memory"
    assert sum(copied) < 2 * MAX_LOGGED
