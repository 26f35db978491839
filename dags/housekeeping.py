"""# Housekeeping

Every week, and by hand: what is older than it is kept, and how many bytes removing it would free: replaced
versions, dead and refused tries, used nonces, drafts and old builds in the caches, old logs, and enclave images of
the deployment's Docker engine that newer ones have replaced. **Nothing is removed
unless the Param `remove` is on**; how long each thing is kept stands in `docs/results.md`.

Every run of a job removes what its results folder keeps no longer anyway. On a terminal:
`confidential-spark housekeeping`.

## If it fails

| task | usual cause | do this |
| --- | --- | --- |
| `remove_stale` | the deployment's settings are wrong | correct the variable that the error names |

What cannot be removed is a warning in the log, and stays for the next time.
"""

from datetime import timedelta

import pendulum
from airflow.sdk import CronTriggerTimetable, dag
from confidential_spark.pipelines.alerts import default_args
from confidential_spark.pipelines.defaults import Tag
from confidential_spark.pipelines.housekeeping import HousekeepingOperator
from confidential_spark.pipelines.params import remove_param


@dag(
    dag_display_name="Housekeeping",
    description="What is older than it is kept?",
    doc_md=__doc__,
    schedule=CronTriggerTimetable("0 5 * * 0", timezone="UTC"),
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=1),
    default_args=default_args(),
    tags={Tag.PLATFORM},
    params={"remove": remove_param()},
)
def housekeeping() -> None:
    """Look, and remove when told to."""
    HousekeepingOperator(task_id="remove_stale")


housekeeping()
