"""The scripts of the image have its paths as text; they must be the package's."""

import pytest
from confidential_spark.enclave import layout

from tests.support.places import ROOT

SCRIPTS = ROOT / "docker" / "enclave"


def script(name: str) -> str:
    return (SCRIPTS / name).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param("entrypoint.sh", f"enclave={layout.ENCLAVE_DIR}\n", id="enclave"),
        pytest.param("entrypoint.sh", 'instance="$enclave/run/instance"\n', id="run-dir"),
        pytest.param("entrypoint.sh", f"launch_dir={layout.LAUNCH_DIR}\n", id="launch-dir"),
        pytest.param("entrypoint.sh", f"launch_mount={layout.LAUNCH_MOUNT}\n", id="launch-mount"),
        pytest.param(
            "entrypoint.sh", f"launch_delivery={layout.LAUNCH_DELIVERY}\n", id="launch-with-credentials"
        ),
        pytest.param("entrypoint.sh", f"${{{layout.LAUNCH_VARIABLE}-}}", id="launch-variable"),
        pytest.param("entrypoint.sh", f"python={layout.PYTHON}\n", id="python"),
        pytest.param("entrypoint.sh", f"agent={layout.ENTRY_POINT}\n", id="agent"),
        pytest.param("entrypoint.sh", 'supervise occlum run "$agent" "$1"\n', id="enclave-entered"),
        pytest.param("install-application.sh", f"application={layout.APPLICATION_DIR}\n", id="application"),
        pytest.param("install-application.sh", 'agent="$application/bin/enclave-agent"\n', id="agent-made"),
        pytest.param("entrypoint.sh", f"  {layout.BUILD_ENCLAVE_COMMAND})\n", id="build-command"),
        pytest.param("build-enclave.sh", f"enclave={layout.ENCLAVE_DIR}\n", id="built-enclave"),
        pytest.param("build-enclave.sh", f"sign_dir={layout.SIGN_DIR}\n", id="sign-dir"),
        pytest.param("build-enclave.sh", f" {layout.SPARK_HOME} {layout.APPLICATION_DIR}\n", id="content"),
        pytest.param("create-user.sh", f"id={layout.USER_ID}\n", id="user"),
        pytest.param("make-class-archive.sh", f" {layout.CLASS_ARCHIVE} no-server.jar\n", id="classes"),
        pytest.param(
            "make-class-archive.sh", f" {layout.POD_CLASS_ARCHIVE} gate.jar\n", id="classes-of-pods"
        ),
        pytest.param("Dockerfile", f"USER {layout.USER}\n", id="hardware-user"),
        pytest.param("Dockerfile.simulated", f"USER {layout.USER}\n", id="simulated-user"),
        pytest.param("Dockerfile", f"COPY {layout.CONTEXT_APPLICATION}/ {layout.APPLICATION_DIR}/", id="app"),
        pytest.param("Dockerfile.simulated", f"COPY {layout.CONTEXT_JAVA}/ /opt/jre/\n", id="jre"),
    ],
)
def test_scripts_and_package_name_the_same_places(name, text):
    assert text in script(name)


def test_the_hardware_image_contains_no_simulation():
    assert not any(
        "simulation" in pattern or pattern.startswith("core/*") for pattern in layout.HARDWARE_SOURCES
    )
    assert "simulat" not in "".join(
        line for line in script("Dockerfile").splitlines() if line.startswith(("COPY", "RUN"))
    )
