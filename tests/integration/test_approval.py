"""A measurement under a real scheduler: approved on the control room's page, refused in Airflow's own form.

The image's build needs a Docker engine (`tests/docker`); here a task says what it would have measured, and
the tasks after it are the real ones.
"""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING

import pytest
from confidential_spark.verification.policy.ledger import read_ledger

from tests.integration.live_airflow import LiveAirflow, end_all, wait_until
from tests.integration.test_fill_gaps import page, send
from tests.support.places import ROOT
from tests.unit.ui.measurements.conftest import PROPOSED

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.scheduler, pytest.mark.timeout(1500)]
DAG, ASK, POLICY = "enclave_image", "approve_measurement", "simulation-image"
MEASURED = {"image": PROPOSED.to_xcom(), "revision": "0123456"}
DAG_FILE = f'''
from airflow.sdk import DAG, task
from confidential_spark.image_build.approval import (
    ApproveMeasurementOperator, CompareWithLedgerOperator, PublishImageOperator, RecordApprovalOperator,
)
from confidential_spark.pipelines.image import approval_timeout
from confidential_spark.pipelines.job import result_of

with DAG("{DAG}", schedule=None, is_paused_upon_creation=False, render_template_as_native_obj=True):
    @task
    def measure_enclave():
        return {MEASURED!r}

    said = measure_enclave()
    compared = CompareWithLedgerOperator(task_id="compare_with_ledger", measured=said)
    approved = ApproveMeasurementOperator(
        task_id="{ASK}", measured=said, comparison=result_of(compared), response_timeout=approval_timeout()
    )
    recorded = RecordApprovalOperator(task_id="record_approval", measured=said, decision=result_of(approved))
    published = PublishImageOperator(task_id="publish_image", measured=said, trigger_rule="none_failed")
    compared >> approved >> recorded >> published
'''


@pytest.fixture(scope="module")
def live(tmp_path_factory) -> Iterator[LiveAirflow]:
    live = LiveAirflow(tmp_path_factory.mktemp("approval"), dag_id=DAG)
    dags, include = live.folder / "dags", live.folder / "include"
    dags.mkdir()
    (dags / "enclave_image.py").write_text(DAG_FILE)
    shutil.copytree(ROOT / "include", include, ignore=shutil.ignore_patterns("*.jsonl"))
    bundle = {
        "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
        "kwargs": {"path": str(dags)},
    }
    live.variables.update(
        # The folder itself is the project's, whatever a caller says.
        AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST=json.dumps([{"name": "dags-folder", **bundle}]),
        CONFIDENTIAL_SPARK_INCLUDE_DIR=str(include),
        CONFIDENTIAL_SPARK_IMAGE_POLICY=POLICY,
        CONFIDENTIAL_SPARK_DCSV3_POLICY=POLICY,
    )
    try:
        live.ensure_running()
        yield live
    finally:
        end_all(live.folder)


def run_until_asked(live: LiveAirflow) -> str:
    run_id = live.trigger(DAG)
    # Not the task's state: an answer before the executor's own word that the task waits makes Airflow
    # 3.3.2 take the task for lost, and ask again.
    waits = re.compile(rf"Finished: .*task_id={ASK}, run_id={re.escape(run_id)}, .*state=awaiting_input")
    log = live.home / "scheduler.log"
    wait_until(lambda: waits.search(log.read_text(errors="replace")), "somebody is asked", 180)
    return run_id


def test_a_measurement_is_refused_then_approved(live: LiveAirflow) -> None:
    ledger = live.folder / "include" / "policies" / "approvals-simulated.jsonl"
    refused = run_until_asked(live)
    details = f"dags/{DAG}/dagRuns/{refused}/taskInstances/{ASK}/-1/hitlDetails"
    asked = live.get(details).body
    assert list(asked["params"]) == ["rebuilt_mrenclave"], "Airflow's own form has the field"
    other = {"chosen_options": ["Approve"], "params_input": {"rebuilt_mrenclave": "09" * 32}}
    assert live.patch(details, other).status == 200
    assert live.wait_for_end(DAG, refused) == "failed"
    assert "approval-measurement-mismatch" in live.xcom(DAG, refused, ASK, "failure")
    assert not ledger.exists()

    run_id = run_until_asked(live)
    place = f"/confidential-spark/measurements/{run_id}"
    assert "Approve 070707070707…" in page(live, place)
    form = {"mrenclave": PROPOSED.mrenclave, "reviewed": "on", "rebuilt": PROPOSED.mrenclave}
    status, _, said = send(live, place, [("answer", "Approve"), *(form | {"rebuilt": "09" * 32}).items()])
    assert (status, "Your own build has measured" in said) == (409, True)
    status, _, said = send(live, place, [("answer", "Approve"), *form.items()])
    assert status == 303, said
    assert live.wait_for_end(DAG, run_id) == "success"

    [entry] = read_ledger(ledger).approvals
    assert (entry.requested_by, entry.approved_by, entry.rebuilt) == ("admin", "admin", True)
    assert (entry.mrenclave, entry.git_revision) == (PROPOSED.mrenclave, "0123456")
    shown = page(live, "/confidential-spark/measurements")
    assert "chain verified now" in shown
    assert "rebuilt by the approver" in shown
    assert "Runs now on dcsv3." in shown
