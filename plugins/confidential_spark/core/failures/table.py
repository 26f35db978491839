"""The table of named failures.

**The order is the rule**: of all rows that match a log, the first is the cause.

1. What an enclave refused. No other line makes such a run worth a retry.
2. Causes: what the machine, the input or the job lacks; each above its own consequences.
3. How the agent itself says it ended, where no line says more.
4. What became of the process or its executors. Spark survives some of it, so it comes after what ends a run.
5. What a run waits for: these lines also stand in the log of a run that got further.

A new row is one entry, one heading in its runbook and one line in the test's table.
"""

from __future__ import annotations

from confidential_spark.core.failures import (
    docker_rows,
    job_rows,
    kubernetes_rows,
    platform_rows,
    results_rows,
    storage_rows,
)
from confidential_spark.core.failures.model import Failure, fatal

FAILURES: tuple[Failure, ...] = (
    *kubernetes_rows.PEERS,
    *platform_rows.ATTESTATION_REFUSED,
    *docker_rows.ENGINE,
    *kubernetes_rows.API,
    *platform_rows.CLUSTER,
    *platform_rows.HARDWARE,
    *job_rows.JAVA_AND_MEMORY,
    *results_rows.RESULTS,
    *storage_rows.STORAGE,
    *job_rows.DATA,
    *job_rows.AGENT,
    *kubernetes_rows.POD_ENDS,
    *job_rows.ENDS,
    *platform_rows.ENCLAVE_START,
    *job_rows.CONSEQUENCES,
    *platform_rows.ATTESTATION_AWAY,
    *platform_rows.NODES,
    *kubernetes_rows.OBSTACLES,
    *docker_rows.IMAGES,
    *kubernetes_rows.PODS,
    *job_rows.NO_EXECUTORS,
    *docker_rows.CHECK,
    *job_rows.BENIGN,
)

UNNAMED = fatal(
    "failure-without-a-name",
    "failure-without-a-name",
    "The process failed in a way that is not in the failure table yet.",
    "Read the log above the verdict; then add a row to core/failures, so that it has a name.",
)
