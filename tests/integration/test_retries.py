"""Real tries of real tasks, without a scheduler: which of them use up a task's retries."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from confidential_spark.operators.outcomes import retries

ROOT = Path(__file__).resolve().parents[2]
DAG_FILE = """
from datetime import timedelta
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowException
from confidential_spark.core.errors import AttestationServiceError, ConfigurationError
from confidential_spark.jobs.sparkpi import SPARKPI
from confidential_spark.operators.base import ConfidentialOperator
from confidential_spark.operators.outcomes.retries import InterruptedTaskError
from confidential_spark.pipelines.defaults import DEFAULT_ARGS

ERRORS = {
    "own": AttestationServiceError("away", code="away", retryable=True),
    "final": ConfigurationError("wrong", code="wrong"),
    "interrupted": InterruptedTaskError("TERM"),
    "other": AirflowException("somebody else's"),
}

class Faulty(ConfidentialOperator):
    def run(self, context, scope):
        errors = self.task_id.split("-")
        if scope.try_number <= len(errors):
            raise ERRORS[errors[scope.try_number - 1]]

with DAG("faulty", schedule=None, default_args={**DEFAULT_ARGS, "retry_delay": timedelta(0)}) as dag:
    for task in TASKS:
        Faulty(task_id=task, job=SPARKPI)
"""
# A task is called by the errors of its tries; then its last state, and how many tries it took.
TASKS = {
    "own-own": ("success", 3),
    "own-own-own": ("failed", 3),
    "other-other-other": ("failed", 3),
    "interrupted-interrupted-interrupted-interrupted": ("success", 5),
    "interrupted-own-interrupted-own-interrupted": ("success", 6),
    "interrupted-own-interrupted-own-own": ("failed", 5),
    "interrupted-interrupted-final": ("failed", 3),
}


@pytest.fixture(scope="module")
def run(airflow_database, tmp_path_factory) -> dict[str, tuple[str, int]]:
    from airflow.dag_processing.dagbag import DagBag

    folder = tmp_path_factory.mktemp("faulty")
    (folder / "faulty.py").write_text(DAG_FILE.replace("TASKS", repr(list(TASKS))))
    bundles = [bundle("faulty", folder), bundle("dags-folder", ROOT / "dags")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", json.dumps(bundles))
        patch.setattr(retries, "FIRST_DELAY", timedelta(0))
        dag_run = DagBag(str(folder)).get_dag("faulty").test(logical_date=datetime.now(UTC))
        return {task.task_id: (str(task.state), task.try_number) for task in dag_run.get_task_instances()}


def bundle(name: str, folder: Path) -> dict[str, object]:
    classpath = "airflow.dag_processing.bundles.local.LocalDagBundle"
    return {"name": name, "classpath": classpath, "kwargs": {"path": str(folder)}}


@pytest.mark.parametrize("task", TASKS)
def test_interruptions_use_up_no_retries(run, task: str) -> None:
    assert run[task] == TASKS[task]
