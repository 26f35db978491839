"""# SparkPi in an enclave

A smoke test of a platform, started by hand: the same four stages as the real job, without input. Two minutes
tell whether enclaves start, attest and sign here.

On `local` the enclave is simulated: **SIMULATED – proves nothing about hardware**.

## If it fails

| task | usual cause | do this |
| --- | --- | --- |
| `image.resolve_image` | the agent or a job changed, so the measurement is new | review the change, then approve the measurement |
| `attestation.attest_platform` | attestation service away (it is retried), or the policy refuses | read the first FAIL line: got / expected |
| `spark.run_spark` | no Java, no memory, Spark failed | the log ends with the failure's name and its cure |
| `validation.verify_evidence` | evidence does not verify | **do not clear it away**: treat as an incident |
| `validation.check_results` | the estimate of π is off | something computes wrongly: do not use this machine |
| `validation.publish` | no disk space, no rights | free space and clear the task |
"""

# Airflow's discovery reads only files in which the words "airflow" and "dag" occur.
from confidential_spark.core.jobs import SPARKPI
from confidential_spark.core.platforms import Platform
from confidential_spark.defaults import Tag, partitions_param, publish_param
from confidential_spark.pipeline import confidential_dag

sparkpi_local = confidential_dag(
    SPARKPI,
    Platform.LOCAL,
    doc_md=__doc__,
    tag=Tag.SPARKPI,
    params={"partitions": partitions_param(), "publish": publish_param()},
)
