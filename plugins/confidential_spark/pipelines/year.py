"""The DAG of a job's years: each month that is published begins a run for its year."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, Asset, PartitionedAssetTimetable, StartOfYearMapper, get_parsing_context

from confidential_spark.core.platforms import Platform
from confidential_spark.pipelines.alerts import deadline_alerts, default_args
from confidential_spark.pipelines.defaults import FIRST_MONTH, job_tag, trust_tag
from confidential_spark.pipelines.job import months_asset
from confidential_spark.pipelines.params import year_param
from confidential_spark.pipelines.year_operators import FindMonthsOperator, PublishYearOperator

if TYPE_CHECKING:
    from confidential_spark.jobs.rollup.rollup import Rollup

MONTH_FORMAT = "%Y-%m"


def year_dag(rollup: Rollup, platform: Platform, *, doc_md: str) -> DAG | None:
    """Return the DAG that adds up a job's years on one platform.

    Not Airflow's own roll-up of twelve partitions: it would wait for twelve new events after one month was
    published again, and would never see months from before it was switched on.

    None in the process of another DAG's task, as for the monthly DAGs.
    """
    if get_parsing_context().dag_id not in (None, rollup.dag_id(platform)):
        return None
    common: dict[str, Any] = {"rollup": rollup, "platform": platform}
    with DAG(
        dag_id=rollup.dag_id(platform),
        dag_display_name=f"{rollup.title} · {platform}",
        description=f"The sum of a year's twelve verified months of {rollup.job.title} on {platform}",
        doc_md=doc_md,
        schedule=PartitionedAssetTimetable(
            assets=months_asset(rollup.job, platform),
            default_partition_mapper=StartOfYearMapper(input_format=MONTH_FORMAT),
        ),
        start_date=FIRST_MONTH,
        catchup=False,
        is_paused_upon_creation=platform is not Platform.LOCAL,
        # A run that read the months earlier must not publish after one that read them later.
        max_active_runs=1,
        dagrun_timeout=timedelta(hours=1),
        default_args=default_args(),
        deadline=deadline_alerts() or None,
        params={"year": year_param()},
        tags={job_tag(rollup.job), trust_tag(platform)},
    ) as dag:
        found = FindMonthsOperator(task_id="find_months", **common)
        published = PublishYearOperator(
            task_id="publish_year", outlets=[year_asset(rollup, platform)], **common
        )
        found >> published
    return dag


def year_asset(rollup: Rollup, platform: Platform) -> Asset:
    """Return the asset that a published year updates."""
    uri = f"confidential-spark://{platform}/{rollup.job.name}/years"
    return Asset(name=rollup.dag_id(platform), uri=uri)
