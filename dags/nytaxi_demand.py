"""# NYTaxi demand in an enclave

Every month: Spark counts the yellow-taxi trips of each day and pick-up zone inside an attested enclave; the
evidence is verified, the counts are repeated independently, and the month is published with `evidence.json`:
the busiest zones, the totals of each day, and a profile of the week.

**When** – monthly data intervals from 2009-01; zones are recorded since 2016-07. Back-fill: `airflow backfill
create --dag-id nytaxi_demand_local --from-date 2018-01-01 --to-date 2018-12-31`. By hand: *Trigger*, with a month, or with
a logical date: it stands for the last month that is over by then, any day of June for May. Where `nytaxi` has published the month on the same platform, from the same files with the
same outlier cap, both must have counted the same trips.

**What a green run proves** – on hardware: this job, with these arguments, over these input files, in this
measured enclave, made these results. On `local`: that the pipeline works; **SIMULATED – proves nothing about
hardware**.

## If it fails

| task | usual cause | do this |
| --- | --- | --- |
| `image.resolve_image` | agent or job changed, so the measurement is new | review the change, then `make approve-measurement` |
| `attestation.attest_platform` | service away (retried), or refused by policy | read the first FAIL: got / expected |
| `spark.resolve_input` | month, file or column missing | the error names it |
| `spark.run_spark` | Spark or the enclave failed | the log ends with the failure's name and its cure |
| `validation.verify_evidence` | evidence does not verify | **do not clear it away**: treat as an incident |
| `validation.check_results` | a day without trips, zones missing, or other trips than `nytaxi` | read the FAIL lines; for `nytaxi_trips` run both jobs again |
| `validation.publish` | no disk space, no rights | the old month is untouched; free space, clear the task |

Policy failures are never retried. Each task has a page in `docs/runbooks/`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from confidential_spark.core.platforms import Platform
from confidential_spark.jobs.nytaxi_demand import NYTAXI_DEMAND
from confidential_spark.pipelines.job import confidential_dag
from confidential_spark.pipelines.params import input_param, month_param, outlier_cap_param, publish_param

if TYPE_CHECKING:
    from airflow.sdk import DAG


def nytaxi_demand(platform: Platform) -> DAG | None:
    """Return the monthly DAG of one platform."""
    return confidential_dag(
        NYTAXI_DEMAND,
        platform,
        doc_md=__doc__,
        params={
            "month": month_param(),
            "input": input_param(),
            "publish": publish_param(),
            "outlier_cap_dollars": outlier_cap_param(),
        },
    )


nytaxi_demand_local = nytaxi_demand(Platform.LOCAL)
nytaxi_demand_dcsv3 = nytaxi_demand(Platform.DCSV3)
nytaxi_demand_aks = nytaxi_demand(Platform.AKS)
