"""# Platform check

Every day, and by hand before a first run: can the platforms of this deployment run enclaves **now**? One task
per platform; each leaves one table in its log, in XCom (`platform_check`) and in
`<results folder>/platform_check/<platform>.txt`.

| status | means |
| --- | --- |
| `OK` | looked at, and good |
| `WARN` | runs work, less well; the line says what to do |
| `FAIL` | a run would fail now; the task fails |
| `NOT HERE` | absent, or could not be looked at; **not passed** |

A skipped task found no such platform on this machine: nothing was checked. On a platform whose policy accepts
simulation, a green task says: simulated enclaves can run. **SIMULATED – proves nothing about hardware**.

## If it fails

| task | usual cause | do this |
| --- | --- | --- |
| `check_local` | agent or job changed, no Java, disk full | the line below each FAIL row |
| `check_dcsv3` | engine down, image not published or not approved, no SGX device | the line below each FAIL row |
| `check_aks` | token expired, quota used up, no room for enclaves, image not published | the line below each FAIL row |

Each row has a paragraph in `docs/runbooks/platform-check.md`.
"""

from datetime import timedelta

import pendulum
from airflow.sdk import CronTriggerTimetable, dag
from confidential_spark.core.platforms import Platform
from confidential_spark.pipelines.alerts import default_args
from confidential_spark.pipelines.defaults import Tag
from confidential_spark.platforms import check_operator_of


@dag(
    dag_display_name="Platform check",
    description="Can the platforms run enclaves now?",
    doc_md=__doc__,
    schedule=CronTriggerTimetable("0 6 * * *", timezone="UTC"),
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=1),
    default_args=default_args(),
    tags={Tag.PLATFORM},
)
def platform_check() -> None:
    """Look at every platform, independently of the others."""
    for platform in Platform:
        check_operator_of(platform)(task_id=f"check_{platform}", platform=platform)


platform_check()
