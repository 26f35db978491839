"""The table of named failures.

**The order is the rule**: root causes stand above their consequences, and of all rows that match a log the
first is the cause. A new row is one entry, one heading in its runbook and one line in the test's table.
"""

from __future__ import annotations

from confidential_spark.core.failures import docker_rows, job_rows, kubernetes_rows, platform_rows
from confidential_spark.core.failures.model import Failure, fatal

FAILURES: tuple[Failure, ...] = (
    *docker_rows.ENGINE,
    *kubernetes_rows.API,
    *platform_rows.CLUSTER,
    *platform_rows.HARDWARE,
    *job_rows.JAVA_AND_MEMORY,
    *job_rows.DATA,
    *job_rows.CONSEQUENCES,
    # Last, because these lines also stand in the log of a run that waited, retried and then got further.
    *platform_rows.ATTESTATION,
    *platform_rows.START,
    *docker_rows.IMAGES,
    *kubernetes_rows.PODS,
    *docker_rows.CHECK,
    *job_rows.BENIGN,
)

UNNAMED = fatal(
    "failure-without-a-name",
    "failure-without-a-name",
    "The process failed in a way that is not in the failure table yet.",
    "Read the log above the verdict; then add a row to core/failures, so that it has a name.",
)
