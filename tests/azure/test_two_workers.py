"""A month on two workers that share PostgreSQL and Blob and no folder; one is lost in the middle of it."""

from __future__ import annotations

import os
import shutil
import signal
from typing import TYPE_CHECKING

import pytest

from tests.integration.live_airflow import FINISHED, find_process, wait_until
from tests.support.azure.azurite import HOST, wasb_connection
from tests.support.azure.postgresql import NoPostgresqlError, postgresql
from tests.support.azure.tables import tables_in, tables_in_blob
from tests.support.azure.two_workers import Deployment, shared_variables

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.conftest import Run
    from tests.support.azure.azurite import Azurite

pytestmark = [pytest.mark.spark, pytest.mark.timeout(900)]
DAG, MONTH = "nytaxi_local", "2018-06"
JAVA = "confidentialspark.Runner"
BEFORE = {"image.resolve_image", "attestation.attest_platform", "spark.resolve_input"}
AFTER = {"validation.verify_evidence", "validation.check_results", "validation.publish"}


@pytest.fixture
def month(shared_data: Path, tmp_path: Path) -> Path:
    """A folder with one real month."""
    part = "puYear=2018/puMonth=6"
    shutil.copytree(shared_data / "yellow" / part, tmp_path / "yellow" / part)
    return tmp_path / "yellow"


@pytest.fixture
def deployment(storage: Azurite, upload, month: Path, tmp_path: Path) -> Iterator[Deployment]:
    """An Airflow without workers, which has the month in Blob and publishes there."""
    trips = upload("trips-of-two", month, "yellow/")
    storage.client().create_container("results-of-two")
    try:
        with postgresql() as database:
            shared = shared_variables(
                database,
                blob_emulator=storage.endpoint,
                blob_conn_id="trips",
                input_uri=f"wasbs://{trips}@{HOST}/yellow",
                results_dir=f"wasbs://results-of-two@{HOST}/spark",
            )
            made = Deployment(tmp_path, {**shared, "AIRFLOW_CONN_TRIPS": wasb_connection(storage.endpoint)})
            try:
                made.begin()
                yield made
            finally:
                made.end()
    except NoPostgresqlError as error:
        pytest.skip(f"!!! NOT TESTED: no PostgreSQL: {error}")


def tries(logs: set[str], task_ids: set[str]) -> set[str]:
    """Return the logs that are of these tasks."""
    return {log for log in logs if log.partition("/")[0].removeprefix("task_id=") in task_ids}


def test_a_month_survives_the_loss_of_a_worker(
    deployment: Deployment, storage: Azurite, month: Path, run_dag, results_dir: Path
) -> None:
    airflow, left = deployment.control, deployment.worker("left")
    run_id = airflow.trigger(DAG, month=MONTH)

    def spark() -> int | None:
        assert airflow.state(DAG, run_id) not in FINISHED
        return find_process(left.folder, JAVA)

    # A month is quick: Spark stands still until its machine is lost.
    os.kill(wait_until(spark, "Spark has started on the first worker"), signal.SIGSTOP)
    assert tries(left.logs, BEFORE) == {f"task_id={task}/attempt=1.log" for task in BEFORE}

    right = deployment.worker("right")
    left.lose()
    assert airflow.wait_for_end(DAG, run_id) == "success"
    assert not left.folder.exists()
    assert tries(right.logs, {"spark.run_spark"}) == {"task_id=spark.run_spark/attempt=2.log"}
    assert tries(right.logs, AFTER) == {f"task_id={task}/attempt=1.log" for task in AFTER}
    assert not tries(right.logs, BEFORE)

    on_files: Run = run_dag(DAG, MONTH, input=month.as_uri())
    assert on_files.state == "success"
    tables = tables_in(results_dir / DAG / f"month={MONTH}")
    assert tables
    assert tables_in_blob(storage.client().get_container_client("results-of-two"), DAG, MONTH) == tables
