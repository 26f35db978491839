"""# Years of the monthly jobs

The sum of a year's twelve months, of every job whose months can be added up. Each month's evidence is verified
once more, and the year is published together with its months and a statement that names them:
`confidential-spark year verify` proves, offline, that the year is the sum of exactly those months.

**When** – whenever the job publishes a month on the same platform. Unless all twelve months of its year are
published then, the run ends as skipped and names the missing ones. A month that is published again makes its
year anew. By hand: *Trigger*, with a year.

**What a green run proves** – that the year is the sum of twelve months, each of which proves what its own
evidence proves. **The sum itself was computed outside of any enclave**: anybody can repeat it, and the command
does. On `local`: that the pipeline works; **SIMULATED – proves nothing about hardware**.

## If it fails

| task | usual cause | do this |
| --- | --- | --- |
| `find_months` | a year was asked for by hand that lacks months | run the months that the error names |
| `publish_year` | a month does not verify, or was computed otherwise than its neighbours | the error names it; run that month again |

Each error has its heading in `docs/runbooks/nytaxi_year.md`.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

from confidential_spark.core.platforms import Platform
from confidential_spark.jobs.rollup.rollup import ROLLUPS
from confidential_spark.pipelines.year import year_dag

if TYPE_CHECKING:
    from airflow.sdk import DAG

DAGS: dict[str, DAG | None] = {
    rollup.dag_id(platform): year_dag(rollup, platform, doc_md=__doc__)
    for rollup, platform in product(ROLLUPS.values(), Platform)
}
globals().update(DAGS)
