"""A measurement that waits for a person, in the database and in a ledger, without a scheduler."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING

from confidential_spark.enclave.image import asset_name, asset_uri
from confidential_spark.image_build.approval import new_approval
from confidential_spark.image_build.context import record_inputs
from confidential_spark.image_build.ledger import append_approval
from confidential_spark.verification import load_policy

from tests.support.places import ROOT
from tests.unit.ui.measurements.conftest import ASK, DAG, IN_USE, NEW, OLD, PROPOSED

if TYPE_CHECKING:
    from pathlib import Path

POLICY = "simulation-image"
RUN = "manual__2026-11-29T10:00:00+00:00"
NOW_IN_USE = replace(IN_USE, mrenclave=sha256(b"in use").hexdigest(), mrsigner=sha256(b"key").hexdigest())
NEXT = replace(PROPOSED, mrenclave=sha256(b"proposed").hexdigest(), mrsigner=NOW_IN_USE.mrsigner)


def include_folder(folder: Path) -> Path:
    """Make a copy of the deployment's folder whose ledger has approved two images; return it."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "include", folder, ignore=shutil.ignore_patterns("*.jsonl"))
    ledger = load_policy(folder / "policies" / f"{POLICY}.yaml").approvals_path
    first = replace(NOW_IN_USE, mrenclave=sha256(b"first").hexdigest())
    for image, revision, at in ((first, "37f307a", "2026-10-02"), (NOW_IN_USE, "8c02d11", "2026-11-20")):
        people = {"approved_by": "grace", "requested_by": "ann"}
        entry = new_approval(image, revision, approved_at=f"{at}T10:00:00Z", rebuilt=True, **people)
        append_approval(ledger, entry)
    for context in (OLD, NEW):
        record_inputs(ledger, context)
    return folder


def ask() -> None:
    """Announce the image in use, and let a run ask about the next one; unless one does already."""
    from airflow.models.asset import AssetEvent, AssetModel
    from airflow.models.dag import DagModel
    from airflow.models.dag_version import DagVersion
    from airflow.models.dagbundle import DagBundleModel
    from airflow.models.dagrun import DagRun
    from airflow.models.hitl import HITLDetail
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import insert, select

    began = datetime.now(UTC) - timedelta(hours=2)
    measured = {"image": NEXT.to_xcom(), "revision": "11c8e19"}
    compared = {"approved": False, "by": "nobody yet", "policy": POLICY, "approvals": 2}
    with create_session() as session:
        if session.scalar(select(DagRun.id).where(DagRun.dag_id == DAG, DagRun.run_id == RUN)) is not None:
            return
        version = session.scalar(select(DagVersion).where(DagVersion.dag_id == DAG).limit(1))
        if version is None:
            for row in (DagBundleModel(name="pictures"), DagModel(dag_id=DAG, bundle_name="pictures")):
                session.merge(row)
                session.flush()
            version = DagVersion(dag_id=DAG, version_number=1, bundle_name="pictures")
        run = DagRun(dag_id=DAG, run_id=RUN, run_type="manual", run_after=began, state="running")
        run.triggering_user_name = "ann"
        name, uri = asset_name(IN_USE.trust), asset_uri(IN_USE.trust)
        of_images = select(AssetModel).where(AssetModel.name == name, AssetModel.uri == uri)
        asset = session.scalar(of_images) or AssetModel(name=name, uri=uri, group="asset")
        session.add_all([version, run, asset])
        session.flush()
        session.add(AssetEvent(asset_id=asset.id, extra=NOW_IN_USE.to_xcom()))
        of_task = {"dag_id": DAG, "run_id": RUN, "map_index": -1, "pool": "default_pool", "try_number": 1}
        states = {"measure_enclave": "success", "compare_with_ledger": "success", ASK: "awaiting_input"}
        for task_id, state in states.items():
            columns = {**of_task, "task_id": task_id, "state": state, "dag_version_id": version.id}
            times = {"start_date": began, "trigger_timeout": began + timedelta(hours=72)}
            session.execute(insert(TaskInstance).values(**columns, **times))
        of_run = {"dag_id": DAG, "run_id": RUN, "dag_run_id": run.id, "key": "return_value"}
        for task_id, value in (("measure_enclave", measured), ("compare_with_ledger", compared)):
            session.add(XComModel(task_id=task_id, value=value, **of_run))
        asks = (TaskInstance.dag_id == DAG, TaskInstance.run_id == RUN, TaskInstance.task_id == ASK)
        number = session.scalar(select(TaskInstance.id).where(*asks))
        details = {"options": ["Approve", "Reject"], "multiple": False, "params": {}, "created_at": began}
        subject = f"Approve enclave {NEXT.mrenclave[:12]}…?"
        session.add(HITLDetail(ti_id=number, subject=subject, **details))
