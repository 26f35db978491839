"""What every DAG of this project must have."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
from confidential_spark.core.platforms import Platform
from confidential_spark.jobs import JOBS
from confidential_spark.jobs.rollup.rollup import ROLLUPS

JOB_TASKS = {
    *("image.resolve_image", "attestation.mint_nonce", "attestation.attest_platform", "spark.run_spark"),
    *("validation.verify_evidence", "validation.check_results", "validation.publish"),
    "validation.clean_staging",
}
TASKS = {
    job.dag_id(platform): JOB_TASKS | ({"spark.resolve_input"} if job.monthly else set())
    for job in JOBS.values()
    for platform in Platform
}
JOB_DAG_IDS = sorted(TASKS)
TASKS["enclave_image"] = {
    *("resolve_inputs", "build_image", "sign_enclave", "measure_enclave", "compare_with_ledger"),
    *("approve_measurement", "record_approval", "publish_image"),
}
TASKS["platform_check"] = {"check_local", "check_dcsv3", "check_aks"}
TASKS |= {
    rollup.dag_id(platform): {"find_months", "publish_year"}
    for rollup in ROLLUPS.values()
    for platform in Platform
}
TASKS["housekeeping"] = {"remove_stale"}
DAG_IDS = sorted(TASKS)


def test_imports_without_errors(dag_bag) -> None:
    assert dag_bag.import_errors == {}
    assert sorted(dag_bag.dag_ids) == DAG_IDS


@pytest.fixture(params=DAG_IDS)
def dag(request, dag_bag):
    return dag_bag.get_dag(request.param)


@pytest.fixture(params=JOB_DAG_IDS)
def job_dag(request, dag_bag):
    return dag_bag.get_dag(request.param)


def test_has_its_tasks(dag) -> None:
    assert set(dag.task_dict) == TASKS[dag.dag_id]


def test_a_job_has_the_four_stages(job_dag) -> None:
    stages = {"image", "attestation", "spark", "validation"}
    assert set(job_dag.task_group.get_task_group_dict()) - {None} == stages


def test_allows_only_known_tags(dag) -> None:
    from confidential_spark.pipelines.defaults import Tag, job_tag

    assert dag.tags
    assert dag.tags <= {*Tag, *map(job_tag, JOBS.values())}


def test_a_job_says_what_it_can_prove(job_dag) -> None:
    assert len([tag for tag in job_dag.tags if tag.startswith("trust/")]) == 1


def test_is_bounded(dag) -> None:
    assert dag.catchup is False
    assert dag.max_active_runs >= 1
    assert dag.dagrun_timeout is not None
    for task in dag.tasks:
        assert task.execution_timeout is not None, task.task_id
        assert task.owner == "confidential-spark"
        assert task.retries >= 1 or task.is_teardown


def test_every_param_is_described(dag) -> None:
    for name in dag.params:
        param = dag.params.get_param(name)
        assert param.schema.get("title"), name
        assert param.schema.get("type"), name
        assert param.schema.get("description_md"), name


def test_documents_what_to_do_when_each_task_fails(dag) -> None:
    documented = set(re.findall(r"^\| `([a-z0-9_.]+)` \|", dag.doc_md, re.MULTILINE))
    silent = {"attestation.mint_nonce", "validation.clean_staging"}
    assert documented == TASKS[dag.dag_id] - silent


def upstream(dag, task_id: str) -> set[str]:
    return dag.get_task(task_id).get_flat_relative_ids(upstream=True)


def test_spark_never_runs_unattested(job_dag) -> None:
    assert {"image.resolve_image", "attestation.mint_nonce", "attestation.attest_platform"} <= upstream(
        job_dag, "spark.run_spark"
    )


def test_nothing_is_published_unverified_or_unchecked(job_dag) -> None:
    assert {"spark.run_spark", "validation.verify_evidence", "validation.check_results"} <= upstream(
        job_dag, "validation.publish"
    )


def test_staging_is_cleaned_whatever_happens(job_dag) -> None:
    clean = job_dag.get_task("validation.clean_staging")
    assert clean.is_teardown
    assert clean.trigger_rule == "all_done_setup_success"


def test_a_failed_publish_fails_the_run(job_dag) -> None:
    assert job_dag.get_task("validation.clean_staging").on_failure_fail_dagrun is False
    assert "validation.publish" in upstream(job_dag, "validation.clean_staging")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        pytest.param("month", "2018-13", id="month-13"),
        pytest.param("month", "2018-5", id="month-one-digit"),
        pytest.param("month", "1999-01", id="month-before-records"),
        pytest.param("month", 201805, id="month-number"),
        pytest.param("input", "/data/yellow", id="input-path-without-scheme"),
        pytest.param("input", "http://example.com/x", id="input-http"),
        pytest.param("outlier_cap_dollars", 0, id="cap-zero"),
        pytest.param("outlier_cap_dollars", "lots", id="cap-text"),
        pytest.param("outlier_cap_dollars", 1000.5, id="cap-not-whole"),
        pytest.param("publish", "yes", id="publish-text"),
    ],
)
def test_bad_choices_are_refused_in_the_form(dag_bag, field, value) -> None:
    from airflow.sdk.exceptions import ParamValidationError

    with pytest.raises(ParamValidationError, match=r"is not|does not match|is less"):
        dag_bag.get_dag("nytaxi_local").params.get_param(field).resolve(value)


def test_a_run_that_has_begun_goes_before_one_that_has_not(job_dag) -> None:
    """Else a back-fill would do the early tasks of all runs before it starts the first enclave."""
    from airflow.serialization.serialized_objects import DagSerialization

    dag = DagSerialization.deserialize_dag(DagSerialization.serialize_dag(job_dag))
    weight = {task.task_id: task.weight_rule.get_weight(SimpleNamespace(task=task)) for task in dag.tasks}
    later = [
        (task.task_id, following)
        for task in dag.tasks
        for following in task.get_flat_relative_ids(upstream=False)
    ]
    assert later
    assert [pair for pair in later if weight[pair[0]] >= weight[pair[1]]] == []
