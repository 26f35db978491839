"""Where things are inside the enclave image: the same for hardware and simulation, in Occlum and beside it.

The scripts in `docker/enclave/` have these paths too; `tests/unit/enclave/test_layout.py` compares them.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from confidential_spark.agent.attestation.measurement import IDENTITY_VARIABLE
from confidential_spark.agent.launch.image_paths import (
    APPLICATION_DIR,
    CLASS_ARCHIVE,
    ENTRY_POINT,
    HOST_DIR,
    JAVA,
    JOBS_DIR,
    LAUNCH_DIR,
    LAUNCH_FILE,
    POD_CLASS_ARCHIVE,
    PYTHON,
    SPARK_HOME,
)

# What the agent insists on, which is why it is defined there.
__all__ = [
    "APPLICATION_DIR",
    "CLASS_ARCHIVE",
    "ENTRY_POINT",
    "HOST_DIR",
    "JAVA",
    "JOBS_DIR",
    "LAUNCH_DIR",
    "LAUNCH_FILE",
    "POD_CLASS_ARCHIVE",
    "PYTHON",
    "SPARK_HOME",
]

USER_ID = 10_001
GROUP_ID = 10_001
USER = f"{USER_ID}:{GROUP_ID}"

# The Occlum instance. What Occlum writes when it starts is below RUN_DIR.
ENCLAVE_DIR = PurePosixPath("/opt/enclave")
RUN_DIR = ENCLAVE_DIR / "run"
SIGNED_ENCLAVE = ENCLAVE_DIR / "build/lib/libocclum-libos.signed.so"

DATA_DIR = HOST_DIR / "data"
INPUT_DIR = DATA_DIR / "input"
RESULTS_DIR = DATA_DIR / "results"

# How the launch file arrives: as a variable; with credentials, which no listing of variables may show, as a
# file on the data volume, removed when it was read; or as a file that Kubernetes mounts.
LAUNCH_VARIABLE = "ENCLAVE_LAUNCH"
LAUNCH_DELIVERY = DATA_DIR / "launch"
LAUNCH_MOUNT = PurePosixPath("/run/enclave-launch")
# On Kubernetes: token and CA of the driver's service account, and where the enclave finds their copies.
SERVICE_ACCOUNT_MOUNT = PurePosixPath("/var/run/secrets/kubernetes.io/serviceaccount")
SERVICE_ACCOUNT_DIR = LAUNCH_DIR / "service-account"

# Whom the enclaves trust, see `enclave/container/attestation_anchor.py`.
ANCHOR_FILE = APPLICATION_DIR / "attestation-anchor.json"

# On hardware: in Occlum's encrypted layer, whose blocks are files below RUN_DIR. In simulation: a tmpfs.
TEMPORARY_DIR = PurePosixPath("/tmp")  # noqa: S108 - the container's, on a tmpfs
WORK_DIR = TEMPORARY_DIR / "work"

# Folders that must be a tmpfs where the root file system is read-only.
WRITABLE_DIRS = (TEMPORARY_DIR, LAUNCH_DIR, RUN_DIR)

# Where the simulated image's own attestation service listens: the container needs no network.
SIMULATED_ATTESTATION_URL = "http://127.0.0.1:49080"
# For the `occlum` stand-in: ``PORT:HOST:PORT``, a port of the loopback that leads to a storage emulator.
EMULATOR_VARIABLE = "STORAGE_EMULATOR"
# Set by the `occlum` stand-in: who the simulated enclave is (JSON), as the CPU would know it.
SIMULATED_ENCLAVE_VARIABLE = IDENTITY_VARIABLE

# The sign key is a line-oriented PEM on the standard input of this command, and nowhere else.
BUILD_ENCLAVE_COMMAND = "build-enclave"
SIGN_DIR = PurePosixPath("/run/enclave-sign")

# The build context: what `docker/enclave/Dockerfile*` copy from, by folder.
CONTEXT_SCRIPTS = "scripts"  # docker/enclave/*.sh
CONTEXT_PROVIDER = "scripts/attestation-provider.json"  # the policy's attestation provider
CONTEXT_WHEELS = "wheels"  # *.whl of requirements*.txt
CONTEXT_JAVA = "jre"  # simulated image only: a Java runtime
CONTEXT_SPARK = "spark"  # the files that `image_build/installed_files.py` keeps
CONTEXT_JARS = "jars"  # *.jar of pom.xml; may be empty for the simulated image
CONTEXT_APPLICATION = "application"  # confidential_spark/ and jobs/
CONTEXT_DEBS = "debs"  # hardware image only: *.deb of the Azure DCAP client
CONTEXT_OCCLUM_JSON = "Occlum.json"
RUNNER_SOURCES = ("enclave/jvm/*.jar", "enclave/jvm/jars.sha256")
# Of our package, relative to it. The hardware image gets no simulation: it could not make a software quote.
HARDWARE_SOURCES = (
    "__init__.py",
    "agent/**/*.py",
    "core/__init__.py",
    "core/errors.py",
    "enclave/__init__.py",
    "enclave/container/*.py",
    *RUNNER_SOURCES,
)
SIMULATED_SOURCES = (
    "__init__.py",
    "agent/**/*.py",
    "core/*.py",
    "enclave/**/*.py",
    *RUNNER_SOURCES,
    "verification/**/*.py",
    "simulation/**/*.py",
    "simulation/**/*.txt",
)
