"""The simulated enclave image on a real engine, started as an operator starts it."""

import io
import json
import tarfile
from dataclasses import asdict

import pytest
from confidential_spark.agent.launch.launch_file import LaunchSpec
from confidential_spark.agent.protocol import b64url
from confidential_spark.enclave import layout

pytestmark = pytest.mark.docker

TMPFS = {
    str(path): f"rw,exec,uid={layout.USER_ID},gid={layout.GROUP_ID},mode=0700"
    for path in layout.WRITABLE_DIRS
}
SECONDS = 120


@pytest.fixture
def container(engine, enclave_image, request):
    """Creates containers with the least rights, and removes each with its volumes."""
    made = []

    def create(command, *, environment=None, tmpfs=TMPFS, user=layout.USER, read_only=True, **more):
        container = engine.containers.create(
            enclave_image.reference,
            command,
            user=user,
            read_only=read_only,
            environment=environment or {},
            network_mode="none",
            cap_drop=["ALL"],
            security_opt=["no-new-privileges:true"],
            volumes=[str(layout.DATA_DIR)],
            tmpfs=tmpfs,
            **more,
        )
        made.append(container)
        return container

    yield create
    for container in made:
        container.remove(v=True, force=True)


@pytest.fixture
def finished(container):
    """Runs a command to its end; returns exit code and log."""

    def run(command, **arguments):
        started = container(command, **arguments)
        started.start()
        code = started.wait(timeout=SECONDS)["StatusCode"]
        return code, started.logs().decode()

    return run


def launch(**changes) -> dict[str, str]:
    values = {
        "nonce": b64url(bytes(32)),
        "run_id": "test/run",
        "results_dir": str(layout.RESULTS_DIR),
        "attestation_url": layout.SIMULATED_ATTESTATION_URL,
        "attestation_api_version": "2022-08-01",
        "quote_provider": "software",
    }
    spec = LaunchSpec(**(values | changes))
    return {layout.LAUNCH_VARIABLE: json.dumps(asdict(spec))}


def test_the_image_attests_without_network_rights_or_a_writable_root(container, enclave_image):
    started = container("attest", environment=launch())
    started.start()

    assert started.wait(timeout=SECONDS)["StatusCode"] == 0
    log = started.logs().decode()
    assert f"SIMULATED – proves nothing about hardware · MRENCLAVE {enclave_image.mrenclave}" in log
    _, size = started.get_archive(f"{layout.RESULTS_DIR}/attestation.json")
    assert size["size"] > 1000


def test_measure_says_what_the_labels_say(finished, enclave_image):
    code, log = finished("measure")

    measured = json.loads(log)
    assert code == 0
    assert {
        name: measured[name] for name in ("mrenclave", "mrsigner", "product_id", "svn", "debuggable")
    } == {
        "mrenclave": enclave_image.mrenclave,
        "mrsigner": enclave_image.mrsigner,
        "product_id": enclave_image.product_id,
        "svn": enclave_image.svn,
        "debuggable": False,
    }


@pytest.mark.parametrize(
    "program",
    [
        pytest.param("/opt/python/bin/python3 -c 'print(6 * 7)'", id="interpreter"),
        pytest.param("/opt/confidential-spark/jobs/sparkpi.py", id="another-script"),
        pytest.param("/opt/confidential-spark/bin/../../python/bin/python3 -c 'print(6 * 7)'", id="parent"),
    ],
)
def test_the_enclave_is_entered_at_its_agent_only(finished, program):
    code, log = finished(["-c", f"occlum run {program}"], entrypoint=["/bin/sh"])

    assert code == 1
    assert "[entry-point-refused]" in log
    assert "42" not in log.splitlines()


@pytest.mark.parametrize(
    "arguments", ["", "measure --jobs-dir /opt", "run --launch /etc/passwd", "-c 'print(42)'"]
)
def test_the_agent_takes_one_word(finished, arguments):
    code, log = finished(["-c", f"occlum run {layout.ENTRY_POINT} {arguments}"], entrypoint=["/bin/sh"])

    assert code == 64
    assert "[command-unknown]" in log


def archive_of(path: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        header = tarfile.TarInfo(path.removeprefix("/"))
        header.size = len(content)
        tar.addfile(header, io.BytesIO(content))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/opt/spark/jars/evil.jar", id="jar-added"),
        pytest.param("/opt/confidential-spark/jobs/sparkpi.py", id="job-changed"),
        pytest.param("/opt/python/lib/evil.pth", id="path-added"),
        pytest.param("/opt/enclave/Occlum.json", id="configuration-changed"),
    ],
)
def test_a_tampered_image_does_not_start(container, path):
    started = container("attest", environment=launch(), read_only=False)
    started.put_archive("/", archive_of(path, b"evil"))
    started.start()

    assert started.wait(timeout=SECONDS)["StatusCode"] == 1
    assert "[enclave-changed]" in started.logs().decode()


@pytest.mark.parametrize(
    ("command", "arguments", "code", "said"),
    [
        pytest.param("attest", {}, 65, "[launch-missing]", id="no-launch-file"),
        pytest.param("shell", {}, 64, "[command-unknown]", id="unknown-command"),
        pytest.param("measure", {"tmpfs": {}}, 65, "[run-dir-read-only]", id="nowhere-to-write"),
        pytest.param(
            "attest", {"environment": {layout.LAUNCH_VARIABLE: "{"}}, 65, "[launch-invalid]", id="no-json"
        ),
    ],
)
def test_what_is_missing_is_named(finished, command, arguments, code, said):
    got, log = finished(command, **arguments)

    assert (got, said in log) == (code, True), log


def test_a_stopped_run_is_no_success(container):
    """Nobody answers on port 9, so the agent is still there."""
    started = container("attest", environment=launch(attestation_url="http://127.0.0.1:9"))
    started.start()
    next(line for line in started.logs(stream=True) if b"asking for a quote" in line)
    started.stop(timeout=30)

    assert started.wait(timeout=SECONDS)["StatusCode"] == 143


def test_a_job_cannot_read_the_launch_file_from_the_first_process(container):
    """It may carry storage credentials; nobody answers on port 9, so the agent is still there."""
    started = container("attest", environment=launch(attestation_url="http://127.0.0.1:9"))
    started.start()
    for line in started.logs(stream=True):
        if b"asking for a quote" in line:
            break

    code, environment = started.exec_run(["cat", "/proc/1/environ"])

    assert code == 0
    assert b"PATH=" in environment
    assert layout.LAUNCH_VARIABLE.encode() not in environment


@pytest.mark.parametrize(
    ("archive", "lock"),
    [
        pytest.param(layout.CLASS_ARCHIVE, "no-server.jar", id="one-process"),
        pytest.param(layout.POD_CLASS_ARCHIVE, "gate.jar", id="pods"),
    ],
)
def test_the_class_archives_fit_the_images_own_java(finished, archive, lock):
    runner = f"{layout.APPLICATION_DIR}/confidential_spark/enclave/jvm"
    java = (
        "java=/opt/jre/bin/java; jars=$(find /opt/spark/jars -name '*.jar' | LC_ALL=C sort | paste -sd :); "
        "signed=$(ls /opt/spark/jars/commons-compiler-*.jar /opt/spark/jars/janino-*.jar | paste -sd :); "
        f"exec $java -Xshare:on -XX:+UseSerialGC -XX:SharedArchiveFile={archive} -Xbootclasspath/a:$signed "
        f"-cp {runner}/{lock}:{runner}/runner.jar:$jars -version"
    )

    code, log = finished(["-c", java], entrypoint=["/bin/bash"])

    assert code == 0, log
    assert "sharing" in log
