"""How Spark is started: JVM options and settings by input size, cores and memory.

The choices were measured (`make bench`): a month of 10,000 rows lives from a quick start, one
of 9 million rows from the optimising compiler.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from confidential_spark.core.errors import ConfigurationError
from confidential_spark.enclave.java import find_java

if TYPE_CHECKING:
    from confidential_spark.enclave.java import JavaRuntime

MEBIBYTE = 1024 * 1024
UNITS = {"k": 1024, "m": MEBIBYTE, "g": 1024 * MEBIBYTE}
# About four million rows; below, the optimising compiler costs more CPU time than it saves.
SMALL_INPUT_BYTES = 64 * MEBIBYTE
MAX_CORES = 256

# Forty times the JVM's own, and ten times for loops. What a query does for each row is called millions of
# times and reaches the optimising compiler all the same; planning, which runs once, no longer does. A loop
# over rows that is optimised too early is thrown away when a row takes a branch that none took before:
# the JVM itself would optimise the aggregation four times over.
LATE_OPTIMISATION = (
    "-XX:Tier4InvocationThreshold=200000",
    "-XX:Tier4MinInvocationThreshold=24000",
    "-XX:Tier4CompileThreshold=600000",
    "-XX:Tier4BackEdgeThreshold=400000",
)

# What Spark's launcher scripts pass for Java 17 and later; `org.apache.spark.launcher.JavaModuleOptions`.
OPENED_PACKAGES = (
    "java.base/java.lang",
    "java.base/java.lang.invoke",
    "java.base/java.lang.reflect",
    "java.base/java.io",
    "java.base/java.net",
    "java.base/java.nio",
    "java.base/java.util",
    "java.base/java.util.concurrent",
    "java.base/java.util.concurrent.atomic",
    "java.base/jdk.internal.ref",
    "java.base/sun.nio.ch",
    "java.base/sun.nio.cs",
    "java.base/sun.security.action",
    "java.base/sun.util.calendar",
    "java.security.jgss/sun.security.krb5",
)


@dataclass(frozen=True)
class SparkInstallation:
    """Where Java, Spark and Python are: on this machine, or inside an enclave image.

    :param archive: class archive of :mod:`.class_archive`, where there is one.
    """

    java: Path
    spark_home: Path
    python: Path
    archive: Path | None = None


@dataclass(frozen=True)
class SparkRuntime:
    """Everything a launch file says about how Spark is started."""

    java: Path
    spark_home: Path
    python: Path
    jvm_options: tuple[str, ...]
    spark_conf: dict[str, str]
    memory: MemoryPlan


@dataclass(frozen=True)
class MemoryPlan:
    """Where a Spark job's memory goes, in MiB. The defaults were measured on the monthly job.

    :param python: the agent. A job's own Python lives before Spark and after it, when the JVM is not there.
    """

    heap: int
    metaspace: int = 128
    native: int = 192
    python: int = 192

    @property
    def total(self) -> int:
        """MiB the process tree may need."""
        return self.heap + self.metaspace + self.native + self.python


# Spark refuses to start with a heap below 450 MiB; the collector keeps a part of it for itself.
SMALLEST_PLAN = MemoryPlan(heap=512)
LARGEST_HEAP = 16 * 1024


def host_installation(*, java: JavaRuntime | None = None, archive: Path | None = None) -> SparkInstallation:
    """Return what is installed on this machine.

    :param archive: ignored when it is not there.
    :raises ConfigurationError: no Java, no Spark.
    """
    java = java or find_java()
    return SparkInstallation(
        java=java.path,
        spark_home=find_spark_home(),
        python=Path(sys.executable),
        archive=archive if archive and archive.is_file() else None,
    )


def choose_runtime(
    *, input_bytes: int, cores: int, memory: str, installation: SparkInstallation | None = None
) -> SparkRuntime:
    """Choose how to start Spark for one job.

    :param input_bytes: size of the input's files; 0 for jobs without input.
    :param cores: threads of Spark's local mode.
    :param memory: all the memory the job may take, e.g. ``2g``.
    :param installation: what runs it; by default, what is installed on this machine.
    :raises ConfigurationError: no Java, no Spark, cores or memory out of range.
    """
    if not 1 <= cores <= MAX_CORES:
        raise ConfigurationError(
            "The number of cores is out of range.",
            code="cores-invalid",
            got=cores,
            expected=f"1 to {MAX_CORES}",
            action="correct CONFIDENTIAL_SPARK_SPARK_CORES",
        )
    small = input_bytes < SMALL_INPUT_BYTES
    plan = memory_plan(memory, small=small)
    installation = installation or host_installation()
    return SparkRuntime(
        java=installation.java,
        spark_home=installation.spark_home,
        python=installation.python,
        jvm_options=(*jvm_options(plan, small=small), *class_sharing(installation.archive)),
        spark_conf=spark_settings(cores=cores),
        memory=plan,
    )


def memory_plan(memory: str, *, small: bool) -> MemoryPlan:
    """Divide the memory among heap, metaspace, the JVM's own needs and Python.

    :raises ConfigurationError: ``memory-malformed`` or ``memory-too-small``, before anything is started.
    """
    limit = memory_bytes(memory) // MEBIBYTE
    if limit < SMALLEST_PLAN.total:
        parts = vars(SMALLEST_PLAN)
        raise ConfigurationError(
            "The memory is too small for a Spark job.",
            code="memory-too-small",
            got=memory,
            expected=f"at least {SMALLEST_PLAN.total}m: "
            + " + ".join(f"{name} {size}m" for name, size in parts.items()),
            action="give the job more memory",
        )
    if small:
        return SMALLEST_PLAN
    return MemoryPlan(heap=min(limit - SMALLEST_PLAN.total + SMALLEST_PLAN.heap, LARGEST_HEAP))


def memory_bytes(text: str) -> int:
    """Read a memory size as the JVM writes it: a whole number and k, m or g.

    :raises ConfigurationError: ``memory-malformed``.
    """
    match = re.fullmatch(r"([1-9][0-9]{0,8})([kmg])", text.lower(), re.ASCII)
    if match is None:
        raise ConfigurationError(
            "The memory size is malformed.",
            code="memory-malformed",
            got=text,
            expected="a whole number and k, m or g, e.g. 2g",
            action="correct the setting",
        )
    return int(match[1]) * UNITS[match[2]]


def jvm_options(plan: MemoryPlan, *, small: bool) -> list[str]:
    """Return the JVM's options, from the closed list that the agent admits."""
    return [
        *(f"--add-opens={package}=ALL-UNNAMED" for package in OPENED_PACKAGES),
        f"-Xmx{plan.heap}m",
        f"-XX:MaxMetaspaceSize={plan.metaspace}m",
        # One collector thread: as fast as any on two cores, and the smallest in memory.
        "-XX:+UseSerialGC",
        *(["-XX:TieredStopAtLevel=1"] if small else LATE_OPTIMISATION),
        "-XX:-UsePerfData",
        "-XX:+ExitOnOutOfMemoryError",
        "-Duser.timezone=UTC",
        "-Djava.awt.headless=true",
        # Occlum has no fork.
        "-Djdk.lang.Process.launchMechanism=vfork",
    ]


def class_sharing(archive: Path | None) -> list[str]:
    """Return the options that use a class archive; the JVM runs without when it does not fit."""
    if archive is None:
        return []
    return ["-Xshare:auto", "-Xlog:cds=off", f"-XX:SharedArchiveFile={archive}"]


def spark_settings(*, cores: int) -> dict[str, str]:
    """Return Spark's settings: local mode on loopback, everything it sends or spills encrypted."""
    return {
        "spark.master": f"local[{cores}]",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.authenticate": "true",
        "spark.network.crypto.enabled": "true",
        "spark.io.encryption.enabled": "true",
        "spark.sql.session.timeZone": "UTC",
        # One short shuffle of known size: planning it anew at run time costs more than it saves.
        "spark.sql.adaptive.enabled": "false",
        # What is shuffled are groups, some ten thousand rows whatever the input's size.
        "spark.sql.shuffle.partitions": str(cores),
    }


def find_spark_home() -> Path:
    """Return the folder of the installed PySpark, without importing it.

    :raises ConfigurationError: ``spark-missing``.
    """
    spec = find_spec("pyspark")
    home = Path(spec.origin).parent if spec and spec.origin else None
    if home is None or not (home / "jars").is_dir():
        raise ConfigurationError(
            "Spark is not installed.",
            code="spark-missing",
            got=home or "no pyspark",
            expected="the pyspark package with its jars",
            action="install requirements.txt",
        )
    return home
