"""The four stages of a run, wired: image → attestation → spark → validation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, Asset, TaskGroup, get_parsing_context

from confidential_spark.core.platforms import Platform
from confidential_spark.jobs import JOBS
from confidential_spark.operators.attestation import MintNonceOperator
from confidential_spark.operators.check import CheckResultsOperator
from confidential_spark.operators.inputs import ResolveInputOperator
from confidential_spark.operators.publish import PublishOperator
from confidential_spark.operators.verify import VerifyEvidenceOperator
from confidential_spark.pipelines.alerts import deadline_alerts, default_args
from confidential_spark.pipelines.defaults import (
    FIRST_MONTH,
    MONTHLY,
    attestation_pool,
    enclave_pool,
    job_tag,
    run_timeout,
    spark_timeout,
    start_timeout,
    trust_tag,
)
from confidential_spark.platforms import operators_of
from confidential_spark.platforms.docker.settings import docker_settings

if TYPE_CHECKING:
    from airflow.sdk import Param
    from airflow.sdk.types import Operator

    from confidential_spark.jobs.job import SparkJob


def confidential_dag(
    job: SparkJob, platform: Platform, *, doc_md: str, params: dict[str, Param]
) -> DAG | None:
    """Return the DAG of one job on one platform: monthly for monthly jobs, else started by hand.

    None in the process of another DAG's task, which would load libraries of a platform that it does not use.
    """
    if get_parsing_context().dag_id not in (None, job.dag_id(platform)):
        return None
    with DAG(
        dag_id=job.dag_id(platform),
        dag_display_name=f"{job.title} · {platform}",
        description=f"{job.title} in an attested enclave on {platform}",
        doc_md=doc_md,
        schedule=MONTHLY if job.monthly else None,
        start_date=FIRST_MONTH,
        catchup=False,
        # Costs money elsewhere; here it costs nothing, and a back-fill of a paused DAG would wait for ever.
        is_paused_upon_creation=platform is not Platform.LOCAL,
        max_active_runs=4,
        dagrun_timeout=run_timeout(),
        default_args=default_args(),
        deadline=deadline_alerts() or None,
        params=params,
        tags={job_tag(job), trust_tag(platform)},
        render_template_as_native_obj=True,
    ) as dag:
        wire_stages(job, platform)
        if platform is Platform.DCSV3 and (vm := docker_settings().vm):
            wire_vm(dag, vm)
    return dag


def wire_stages(job: SparkJob, platform: Platform) -> None:
    """Put the four stages into the DAG being defined."""
    common: dict[str, Any] = {"job": job, "platform": platform}
    operators = operators_of(platform)
    with TaskGroup("image", tooltip="Which enclave, and is its measurement approved?"):
        image = operators.resolve_image(
            task_id="resolve_image", execution_timeout=start_timeout(platform), **common
        )
    with TaskGroup("attestation", tooltip="Can an enclave here prove what it is, for our nonce?"):
        nonce = MintNonceOperator(task_id="mint_nonce", job=job)
        attested = operators.attest(
            task_id="attest_platform",
            image=result_of(image),
            nonce=result_of(nonce),
            pool=attestation_pool(platform),
            execution_timeout=start_timeout(platform),
            **common,
        )
        image >> nonce
    with TaskGroup("spark", tooltip="Run the job in an enclave that attests itself"):
        month_input = ResolveInputOperator(task_id="resolve_input", **common) if job.monthly else None
        manifest = result_of(month_input) if month_input else None
        spark = operators.run_spark(
            task_id="run_spark",
            image=result_of(image),
            manifest=manifest,
            pool=enclave_pool(platform),
            execution_timeout=spark_timeout(),
            **common,
        )
    attested >> (month_input or spark)
    wire_validation(common, image, spark, manifest)


def wire_validation(common: dict[str, Any], image: Operator, spark: Operator, manifest: Any) -> None:
    """Put the validation stage after ``spark``; the try's staging is removed whatever happens."""
    months = months_asset(**common) if common["job"].monthly else None
    with TaskGroup("validation", tooltip="Believe nothing: verify the evidence, check the results, publish"):
        verified = VerifyEvidenceOperator(
            task_id="verify_evidence", run_result=result_of(spark), image=result_of(image), **common
        )
        checked = CheckResultsOperator(
            task_id="check_results",
            run_result=result_of(spark),
            verification=result_of(verified),
            manifest=manifest,
            **common,
        )
        published = PublishOperator(
            task_id="publish",
            run_result=result_of(spark),
            verification=result_of(verified),
            outlets=[result_asset(**common), *([months] if months else [])],
            by_month=months,
            **common,
        )
        cleaned = operators_of(common["platform"]).clean(task_id="clean_staging", job=common["job"])
        # A teardown without a setup: it also runs when the enclave failed and left half of its files.
        verified >> checked >> published >> cleaned.as_teardown()


def wire_vm(dag: DAG, vm: str) -> None:
    """Start the VM before anything else of the run, and deallocate it after everything else.

    :param vm: ``resource-group/name``.
    """
    # Imported late: Azure's libraries are large, and most deployments have a VM that is always on.
    from airflow.providers.microsoft.azure.operators.compute import AzureVirtualMachineStartOperator

    from confidential_spark.platforms.docker.vm import DeallocateIdleVmOperator

    group, name = vm.split("/")
    roots, leaves = dag.roots, dag.leaves
    common: dict[str, Any] = {
        "resource_group_name": group,
        "vm_name": name,
        "azure_conn_id": docker_settings().azure_conn_id,
        "dag": dag,
    }
    dags = [each.dag_id(Platform.DCSV3) for each in JOBS.values()]
    start_vm = AzureVirtualMachineStartOperator(task_id="start_vm", **common)
    deallocate_vm = DeallocateIdleVmOperator(task_id="deallocate_vm", dag_ids=dags, **common)
    start_vm >> roots
    leaves >> deallocate_vm.as_teardown(setups=start_vm)


def result_of(task: Operator) -> Any:
    """Return what ``task`` will have returned when another task uses it."""
    return task.output


def result_asset(job: SparkJob, platform: Platform) -> Asset:
    """Return the asset that a published result updates; its event names the month and where it is."""
    return Asset(name=job.dag_id(platform), uri=f"confidential-spark://{platform}/{job.name}")


def months_asset(job: SparkJob, platform: Platform) -> Asset:
    """Return the asset whose events have the published month as their partition, ``YYYY-MM``.

    It is another one than :func:`result_asset`: Airflow starts no plain consumer by a partition's event.
    """
    return Asset(
        name=f"{job.dag_id(platform)}_months", uri=f"confidential-spark://{platform}/{job.name}/months"
    )
