"""The enclave image's way from sources to job DAGs: resolve → build → sign → measure → approve → publish."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG

from confidential_spark.image_build.approval import (
    ApproveMeasurementOperator,
    CompareWithLedgerOperator,
    PublishImageOperator,
    RecordApprovalOperator,
)
from confidential_spark.image_build.operators import (
    BuildImageOperator,
    MeasureEnclaveOperator,
    ResolveInputsOperator,
    SignEnclaveOperator,
)
from confidential_spark.image_build.settings import image_settings
from confidential_spark.pipelines.alerts import default_args
from confidential_spark.pipelines.defaults import FIRST_MONTH, Tag
from confidential_spark.pipelines.job import result_of

DAG_ID = "enclave_image"
# Gigabytes go through one engine and one registry.
BUILD_TIMEOUT = timedelta(hours=2)
WORK_TIMEOUT = timedelta(hours=12)


def approval_timeout() -> timedelta:
    """Return how long a measurement waits for a person."""
    return timedelta(hours=image_settings().approval_hours)


def enclave_image_dag(*, doc_md: str) -> DAG:
    """Return the DAG; two runs never build, ask or record at the same time."""
    with DAG(
        dag_id=DAG_ID,
        dag_display_name="Enclave image",
        description="Build, measure, approve and publish the enclave image",
        doc_md=doc_md,
        # A deployment changes the sources, no clock does; see the DAG's own page.
        schedule=None,
        start_date=FIRST_MONTH,
        catchup=False,
        is_paused_upon_creation=False,
        max_active_runs=1,
        dagrun_timeout=approval_timeout() + WORK_TIMEOUT,
        default_args={**default_args(), "execution_timeout": BUILD_TIMEOUT},
        tags={Tag.PLATFORM},
        render_template_as_native_obj=True,
    ) as dag:
        wire()
    return dag


def wire() -> None:
    """Put the tasks into the DAG being defined."""
    inputs = ResolveInputsOperator(task_id="resolve_inputs")
    built = BuildImageOperator(task_id="build_image", inputs=result_of(inputs))
    signed = SignEnclaveOperator(task_id="sign_enclave", inputs=result_of(inputs), image=result_of(built))
    measured = MeasureEnclaveOperator(task_id="measure_enclave", image=result_of(signed))
    compared = CompareWithLedgerOperator(task_id="compare_with_ledger", measured=result_of(measured))
    approved = ApproveMeasurementOperator(
        task_id="approve_measurement",
        measured=result_of(measured),
        comparison=result_of(compared),
        response_timeout=approval_timeout(),
    )
    recorded = RecordApprovalOperator(
        task_id="record_approval", measured=result_of(measured), decision=result_of(approved)
    )
    published = PublishImageOperator(
        task_id="publish_image",
        measured=result_of(measured),
        # The two tasks before it are skipped when the measurement was approved before.
        trigger_rule="none_failed",
    )
    compared >> approved >> recorded >> published
