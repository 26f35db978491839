"""DAG `enclave_image` under a real scheduler: a person rejects, then approves, and is not asked again."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from confidential_spark.enclave.image import EnclaveImage, asset_name
from confidential_spark.verification.policy.ledger import read_ledger

from tests.docker.image_tasks import SIMULATED_POLICY
from tests.integration.live_airflow import LiveAirflow, end_all, wait_until
from tests.support.places import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1800)]
DAG = "enclave_image"
ASK = "approve_measurement"
PATIENCE = 400.0


@dataclass
class ImageDag:
    """The DAG of one Airflow, with a ledger of its own."""

    airflow: LiveAirflow
    include: Path

    @property
    def ledger(self) -> Path:
        return self.include / "policies" / "approvals-simulated.jsonl"

    def run_until_asked(self) -> str:
        run_id = self.airflow.trigger(DAG)
        # Not the task's state: an answer before the executor's own word that the task waits makes Airflow
        # 3.3.2 take the task for lost, and ask again.
        waits = re.compile(rf"Finished: .*task_id={ASK}, run_id={re.escape(run_id)}, .*state=awaiting_input")
        log = self.airflow.home / "scheduler.log"
        wait_until(lambda: waits.search(log.read_text(errors="replace")), "somebody is asked", PATIENCE)
        return run_id

    def states(self, run_id: str) -> dict[str, Any]:
        return {name: task["state"] for name, task in self.airflow.tasks(DAG, run_id).items()}

    def answer(self, run_id: str, option: str) -> str:
        path = f"dags/{DAG}/dagRuns/{run_id}/taskInstances/{ASK}/-1/hitlDetails"
        reply = self.airflow.patch(path, {"chosen_options": [option], "params_input": {}})
        assert reply.status == 200, reply
        return self.end(run_id)

    def end(self, run_id: str) -> str:
        ended = {"success", "failed"}
        wait_until(lambda: self.airflow.state(DAG, run_id) in ended, f"{run_id} has ended", PATIENCE)
        return self.airflow.state(DAG, run_id)

    def events(self) -> list[dict[str, Any]]:
        query = (
            "select e.extra from asset_event e join asset a on a.id = e.asset_id "
            "where a.name = ? order by e.id"
        )
        return [json.loads(extra) for (extra,) in self.airflow.rows(query, asset_name("simulated"))]

    def logs(self) -> str:
        return "".join(path.read_text() for path in (self.airflow.home / "logs").rglob("*.log"))


@pytest.fixture(scope="module")
def image_dag(enclave_image, tmp_path_factory) -> Iterator[ImageDag]:
    folder = tmp_path_factory.mktemp("image-dag")
    include = folder / "include"
    shutil.copytree(ROOT / "include", include, ignore=shutil.ignore_patterns("*.jsonl"))
    airflow = LiveAirflow(folder)
    airflow.environment.update(
        CONFIDENTIAL_SPARK_INCLUDE_DIR=str(include),
        CONFIDENTIAL_SPARK_IMAGE_POLICY=SIMULATED_POLICY,
        **{name: os.environ[name] for name in ("DOCKER_HOST", "PYTHONPATH") if name in os.environ},
    )
    try:
        airflow.ensure_running()
        yield ImageDag(airflow, include)
    finally:
        end_all(folder)


def test_a_person_decides_once(image_dag: ImageDag, enclave_image: EnclaveImage) -> None:
    rejected = image_dag.run_until_asked()
    assert image_dag.answer(rejected, "Reject") == "failed"
    states = image_dag.states(rejected)
    assert states[ASK] == "failed"
    assert states["record_approval"] == states["publish_image"] == "upstream_failed"
    assert "approval-rejected" in image_dag.airflow.xcom(DAG, rejected, ASK, "failure")
    assert not image_dag.ledger.exists()
    assert image_dag.events() == []

    approved = image_dag.run_until_asked()
    assert image_dag.answer(approved, "Approve") == "success"
    [entry] = read_ledger(image_dag.ledger).approvals
    assert (entry.approved_by, entry.mrenclave) == ("admin", enclave_image.mrenclave)
    assert image_dag.events() == [enclave_image.to_xcom()]

    known = image_dag.airflow.trigger(DAG)
    assert image_dag.end(known) == "success"
    assert image_dag.states(known)[ASK] == image_dag.states(known)["record_approval"] == "skipped"
    assert len(read_ledger(image_dag.ledger).approvals) == 1
    assert image_dag.events() == [enclave_image.to_xcom()] * 2

    # As after a worker's death between the ledger and the event: both tasks run again.
    again = image_dag.airflow.post(
        f"dags/{DAG}/clearTaskInstances",
        {"dry_run": False, "dag_run_id": approved, "task_ids": ["record_approval", "publish_image"],
         "only_failed": False, "reset_dag_runs": True},
    )  # fmt: skip
    assert again.status == 200, again
    wait_until(lambda: len(image_dag.events()) == 3, "the image is announced again", PATIENCE)
    assert len(read_ledger(image_dag.ledger).approvals) == 1
