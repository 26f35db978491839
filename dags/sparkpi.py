"""# SparkPi in an enclave

A smoke test of a platform, started by hand: the same four stages as the real job, without input. Two minutes
tell whether enclaves start, attest and sign here.

On `local` the enclave is simulated: **SIMULATED – proves nothing about hardware**.

## If it fails

| task | usual cause | do this |
| --- | --- | --- |
| `image.resolve_image` | agent or job changed, so the measurement is new | review the change, then `make approve-measurement` |
| `attestation.attest_platform` | service away (retried), or refused by policy | read the first FAIL: got / expected |
| `spark.run_spark` | no Java, no memory, Spark failed | the log ends with the failure's name and its cure |
| `validation.verify_evidence` | evidence does not verify | **do not clear it away**: treat as an incident |
| `validation.check_results` | the estimate of π is off | this machine computes wrongly: do not use it |
| `validation.publish` | no disk space, no rights | free space and clear the task |
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from confidential_spark.core.platforms import Platform
from confidential_spark.jobs.sparkpi import SPARKPI
from confidential_spark.pipelines.job import confidential_dag
from confidential_spark.pipelines.params import partitions_param, publish_param

if TYPE_CHECKING:
    from airflow.sdk import DAG


def sparkpi(platform: Platform) -> DAG | None:
    """Return the smoke test of one platform."""
    return confidential_dag(
        SPARKPI,
        platform,
        doc_md=__doc__,
        params={"partitions": partitions_param(), "publish": publish_param()},
    )


sparkpi_local = sparkpi(Platform.LOCAL)
sparkpi_dcsv3 = sparkpi(Platform.DCSV3)
sparkpi_aks = sparkpi(Platform.AKS)
