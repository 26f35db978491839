"""Airflow is ended and killed, whole and in parts, during a back-fill of quick runs: no month is lost.

`RESTARTS=6` adds restarts.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
from typing import TYPE_CHECKING

import pytest
from confidential_spark.pipelines.defaults import INTERRUPTIONS, RETRIES

from tests.integration.live_airflow import (
    LiveAirflow,
    end_all,
    find_process,
    processes_of,
    wait_until,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.scheduler, pytest.mark.timeout(1800)]
DAG = "quick_months"
TASKS = 2
MONTHS = 5
SIGNALS = [signal.SIGKILL, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM]
RESTARTS = int(os.environ.get("RESTARTS", "2"))
# Its tasks stay at work until somebody removes the file, so that a restart always finds some of them at it.
DAG_FILE = """
import os, time
from pathlib import Path
from airflow.sdk import DAG
from confidential_spark.operators.base import ConfidentialOperator
from confidential_spark.jobs.nytaxi import NYTAXI
from confidential_spark.pipelines.defaults import DEFAULT_ARGS, FIRST_MONTH, MONTHLY

class Step(ConfidentialOperator):
    def run(self, context, scope):
        while Path({held!r}).exists():
            time.sleep(0.1)

with DAG({dag!r}, schedule=MONTHLY, start_date=FIRST_MONTH, catchup=False, default_args=DEFAULT_ARGS,
         is_paused_upon_creation=False, max_active_runs=4) as dag:
    steps = [Step(task_id="step_" + str(number), job=NYTAXI) for number in range({tasks})]
    for before, after in zip(steps, steps[1:]):
        before >> after
"""


@pytest.fixture(scope="module")
def airflow(tmp_path_factory) -> Iterator[LiveAirflow]:
    folder: Path = tmp_path_factory.mktemp("restarts")
    dags = folder / "dags"
    dags.mkdir()
    (dags / "quick.py").write_text(DAG_FILE.format(held=str(folder / "held"), dag=DAG, tasks=TASKS))
    bundle = {
        "name": "dags-folder",
        "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
        "kwargs": {"path": str(dags)},
    }
    variables = {"AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps([bundle])}
    airflow = LiveAirflow(folder, dag_id=DAG, variables=variables)
    try:
        yield airflow
    finally:
        end_all(folder)


def hold(airflow: LiveAirflow) -> None:
    (airflow.folder / "held").touch()


def release(airflow: LiveAirflow) -> None:
    (airflow.folder / "held").unlink()


def wait_for_work(airflow: LiveAirflow, after: int = 0) -> int:
    """Return the scheduler's job, a later one than ``after``, when two of its tasks are at work."""

    def at_work() -> int:
        [(count, job)] = airflow.rows(
            "select count(*), max(queued_by_job_id) from task_instance "
            "where state = 'running' and queued_by_job_id > ?",
            after,
        )
        return int(job) if count >= 2 else 0

    return wait_until(at_work, f"two tasks are at work, given by a scheduler after job {after}")


def wait_for_back_fill(airflow: LiveAirflow, months: int) -> None:
    """Require every month, and that no task was given up."""

    def ended() -> bool:
        [(count,)] = airflow.rows(
            "select count(*) from dag_run where run_type = 'backfill' and state in ('success', 'failed')"
        )
        return count == months

    wait_until(ended, "the back-fill has ended", 300)
    rows = airflow.rows("select state, count(*) from dag_run where run_type = 'backfill' group by state")
    assert rows == [("success", months)], airflow.rows(
        "select run_id, task_id, state, try_number, max_tries from task_instance"
    )


def back_fill(airflow: LiveAirflow) -> None:
    """Start the back-fill, or resume it, as the README says."""
    span = ("--from-date", "2018-01-01", "--to-date", f"2018-{MONTHS:02d}-01")
    options = (*span, "--max-active-runs", "3", "--reprocess-behavior", "failed")
    airflow.cli("backfill", "create", "--dag-id", DAG, *options)


def kill_part(airflow: LiveAirflow, *words: str) -> int:
    pid = wait_until(lambda: find_process(airflow.folder, *words), " ".join(words))
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: pid not in processes_of(airflow.folder), "it is gone")
    return pid


def require_resumed(airflow: LiveAirflow) -> None:
    """Let one month have failed, and require that the same command runs that month again, and no other."""
    ended = "select count(*) = 0 from backfill where completed_at is null"
    wait_until(lambda: airflow.rows(ended) == [(1,)], "the back-fill is marked as completed")
    [(run,)] = airflow.rows("select max(run_id) from dag_run where run_type = 'backfill'")
    assert airflow.patch(f"dags/{DAG}/dagRuns/{run}", {"state": "failed"}).status == 200
    back_fill(airflow)
    wait_until(lambda: airflow.state(DAG, run) == "success", "the failed month has been run again")
    assert airflow.rows("select run_id from dag_run where clear_number > 0") == [(run,)]


def test_no_month_of_a_back_fill_is_lost(airflow: LiveAirflow) -> None:
    airflow.start()
    hold(airflow)
    back_fill(airflow)
    job = 0
    for number in itertools.islice(itertools.cycle(SIGNALS), RESTARTS):
        job = wait_for_work(airflow, after=job)
        if number is signal.SIGKILL:
            assert airflow.end(number) == -number
        else:
            assert airflow.end(number) == 0
            assert processes_of(airflow.folder) == {}
        airflow.start()
    job = wait_for_work(airflow, after=job)
    kill_part(airflow, "airflow api_server")
    wait_until(airflow.answers, "the API server is started again")
    for words in (["-m airflow scheduler"], ["LocalExecutor", "<idle>"]):
        kill_part(airflow, *words)
        job = wait_for_work(airflow, after=job)
    release(airflow)
    wait_for_back_fill(airflow, MONTHS)
    given_back = "select count(*) from task_instance where max_tries > ?"
    assert airflow.rows(given_back, RETRIES + INTERRUPTIONS) != [(0,)]
    require_resumed(airflow)
    assert airflow.end() == 0
    assert processes_of(airflow.folder) == {}
