"""What is computed, from what, and when it is right: a folder per job, and what they share.

Jobs are added by one entry here; `docs/add-a-job.md` walks through it.
"""

from __future__ import annotations

from confidential_spark.jobs.nytaxi import NYTAXI
from confidential_spark.jobs.nytaxi_demand import NYTAXI_DEMAND
from confidential_spark.jobs.sparkpi import SPARKPI

JOBS = {
    job.name: job
    for job in (
        NYTAXI,
        NYTAXI_DEMAND,
        SPARKPI,
    )
}
