"""Where things are inside the enclave image: the agent takes no other, whatever a launch file says."""

from __future__ import annotations

from pathlib import PurePosixPath

# The only folder of the container that the enclave sees, under the same name: readable, neither measured
# nor protected.
HOST_DIR = PurePosixPath("/host")
LAUNCH_DIR = HOST_DIR / "launch"
LAUNCH_FILE = LAUNCH_DIR / "launch.json"

# Measured: what runs inside the enclave.
JAVA = PurePosixPath("/opt/jre/bin/java")
PYTHON = PurePosixPath("/opt/python/bin/python3")
SPARK_HOME = PurePosixPath("/opt/spark")
APPLICATION_DIR = PurePosixPath("/opt/confidential-spark")
JOBS_DIR = APPLICATION_DIR / "jobs"
# The one program that Occlum starts: `entry_point.py`, under this name.
ENTRY_POINT = APPLICATION_DIR / "bin" / "enclave-agent"
# Simulated image only: Spark's classes, parsed when the image is built (make-class-archive.sh); one archive
# for each class path, of one process and of pods.
CLASS_ARCHIVE = SPARK_HOME / "spark-classes.jsa"
POD_CLASS_ARCHIVE = SPARK_HOME / "spark-classes-pods.jsa"
