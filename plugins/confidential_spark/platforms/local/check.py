"""The platform check of `local`: Java, Spark, memory and the simulated enclave of this machine."""

from __future__ import annotations

import os
import resource
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from confidential_spark.agent.attestation.measurement import simulated_measurement
from confidential_spark.core.check_rows import CheckRow, attempt, gib
from confidential_spark.enclave.java import SUPPORTED_VERSIONS, find_java
from confidential_spark.enclave.spark import find_spark_home, memory_bytes
from confidential_spark.hooks.results.location import is_folder
from confidential_spark.operators.image import IF_CHANGED_ON_PURPOSE
from confidential_spark.operators.platform_check import PlatformCheckOperator, approval_row
from confidential_spark.platforms.local.open_files import NEEDED, is_enough

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow.sdk import Context

    from confidential_spark.hooks.results.store import Location
    from confidential_spark.settings import Settings
    from confidential_spark.verification import Policy

A_JAVA = f"a Java of version {' or '.join(map(str, SUPPORTED_VERSIONS))}"
A_SPARK = "the pyspark package with its jars"
RESULTS_BYTES = 1024**3
"""Many months of results and a class archive."""


class LocalCheckOperator(PlatformCheckOperator):
    """Look at this machine, on which enclaves are simulated."""

    def rows(self, context: Context, policy: Policy) -> Iterator[CheckRow]:
        """Yield the machine's rows."""
        settings = self.settings
        yield attempt("java", A_JAVA, java_row)
        yield attempt("spark", A_SPARK, spark_row)
        yield attempt("memory", "enough for one job", lambda: memory_row(settings))
        yield CheckRow.advise(
            "cpus",
            os.cpu_count(),
            f"{settings.spark_cores} or more",
            passed=(os.cpu_count() or 1) >= settings.spark_cores,
            action="lower CONFIDENTIAL_SPARK_SPARK_CORES: more threads than cores are slower",
        )
        yield open_files_row()
        yield disk_row(working_folder(settings.results_dir))
        yield attempt("measurement", "an allowed enclave", lambda: measurement_row(settings, policy))
        yield CheckRow.absent(
            "sgx-devices",
            "this platform uses no SGX",
            "/dev/sgx_enclave and /dev/sgx_provision",
            "nothing here; hardware enclaves run on dcsv3 and aks",
        )


def java_row() -> CheckRow:
    """Say which Java runs Spark.

    :raises ConfigurationError: ``java-missing`` or ``java-unsupported``.
    """
    java = find_java()
    return CheckRow.judge("java", f"Java {java.version}: {java.path}", A_JAVA, passed=True, action="")


def spark_row() -> CheckRow:
    """Say where Spark is.

    :raises ConfigurationError: ``spark-missing``.
    """
    return CheckRow.judge("spark", find_spark_home(), A_SPARK, passed=True, action="")


def memory_row(settings: Settings) -> CheckRow:
    """Compare the machine's memory with what one job may take.

    :raises ConfigurationError: the setting is no size.
    """
    needed = memory_bytes(settings.spark_memory)
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return CheckRow.judge(
        "memory",
        gib(installed),
        f"{gib(needed)} or more: one job",
        passed=installed >= needed,
        action="lower CONFIDENTIAL_SPARK_SPARK_MEMORY, or use a larger machine",
    )


def open_files_row() -> CheckRow:
    """Look at the limit of open files, as far as a run may raise it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return CheckRow.judge(
        "open-files",
        "no limit" if hard == resource.RLIM_INFINITY else hard,
        f"{NEEDED} or more",
        passed=is_enough(hard),
        action="raise `ulimit -n` where Airflow is started, or LimitNOFILE= of its service",
    )


def working_folder(results: Location) -> Path:
    """Return where a try's files are while they are worked on: with results in Blob, a temporary folder."""
    return Path(results) if is_folder(results) else Path(tempfile.gettempdir())


def disk_row(folder: Path) -> CheckRow:
    """Look at the space where results are written; the folder may not exist yet."""
    existing = next(path for path in (folder, *folder.parents) if path.is_dir())
    free = shutil.disk_usage(existing).free
    writable = os.access(existing, os.W_OK)
    return CheckRow.judge(
        "disk",
        f"{gib(free)} free" if writable else f"{existing} is not writable",
        f"{gib(RESULTS_BYTES)} or more in a folder that may be written",
        passed=writable and free >= RESULTS_BYTES,
        action="free space, or correct CONFIDENTIAL_SPARK_RESULTS_DIR or its owner",
    )


def measurement_row(settings: Settings, policy: Policy) -> CheckRow:
    """Measure the simulated enclave and ask the policy.

    :raises VerificationError: the policy does not allow it.
    """
    # Imported late: DAG files import this module, and need no cryptography to be parsed.
    from confidential_spark.verification.attestation.identity import EnclaveClaims

    measured = simulated_measurement(settings.jobs_dir)
    identity = EnclaveClaims(
        debuggable=False,
        mrenclave=measured.mrenclave,
        mrsigner=measured.mrsigner,
        product_id=measured.product_id,
        svn=measured.svn,
    )
    return approval_row(identity, policy, IF_CHANGED_ON_PURPOSE)
