"""# NYTaxi in an enclave

Every month: Spark analyses the yellow-taxi trips of that month inside an attested enclave; the evidence is
verified, the figures are recounted independently, and the month is published with `evidence.json`.

**When** – monthly data intervals from 2009-01. Back-fill: `airflow backfill create --dag-id nytaxi_local
--from-date 2018-01-01 --to-date 2018-12-31`. By hand: *Trigger*, with a month or without.

**What a green run proves** – on hardware: this job, with these arguments, over these input files, in this
measured enclave, made these results. On `local`: that the pipeline works; **SIMULATED – proves nothing about
hardware**.

## If it fails

| task | usual cause | do this |
| --- | --- | --- |
| `image.resolve_image` | the agent or a job changed, so the measurement is new | review the change, then approve the measurement |
| `attestation.attest_platform` | attestation service away (it is retried), or the policy refuses | read the first FAIL line: got / expected |
| `spark.resolve_input` | month missing, file truncated, column missing | the error names the file or the column |
| `spark.run_spark` | Spark or the enclave failed | the log ends with the failure's name and its cure |
| `validation.verify_evidence` | evidence does not verify | **do not clear it away**: treat as an incident |
| `validation.check_results` | figures are implausible or disagree | read the FAIL lines; compare with the neighbouring months |
| `validation.publish` | no disk space, no rights | the earlier month is untouched; free space and clear the task |

Policy failures are never retried. Each task has a page in `docs/runbooks/`.
"""

from confidential_spark.core.jobs import NYTAXI
from confidential_spark.core.platforms import Platform
from confidential_spark.defaults import Tag, input_param, month_param, outlier_cap_param, publish_param
from confidential_spark.pipeline import confidential_dag

nytaxi_local = confidential_dag(
    NYTAXI,
    Platform.LOCAL,
    doc_md=__doc__,
    tag=Tag.NYTAXI,
    params={
        "month": month_param(),
        "input": input_param(),
        "publish": publish_param(),
        "outlier_cap_dollars": outlier_cap_param(),
    },
)
