"""A deployment with ledgers, and Airflow's rows of images and questions."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from confidential_spark.enclave.image import EnclaveImage, asset_name, asset_uri
from confidential_spark.image_build.approval import new_approval
from confidential_spark.image_build.context import BuildContext, ContextFile, record_inputs
from confidential_spark.image_build.ledger import append_approval
from confidential_spark.verification import load_policy

from tests.support.places import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DAG, ASK = "enclave_image", "approve_measurement"
RUN = "manual__2026-11-29T10:00:00+00:00"
ASKED = datetime.now(UTC) - timedelta(hours=2, minutes=5)
DEADLINE = ASKED + timedelta(hours=72)
OLD_FILES = {"application/a.py": b"1", "scripts/b.sh": b"2", "spark/c.jar": b"3"}
NEW_FILES = {"application/a.py": b"9", "jre/<d>": b"4", "spark/c.jar": b"3"}


def context_of(files: dict[str, bytes]) -> BuildContext:
    made = {path: ContextFile.containing(content) for path, content in files.items()}
    return BuildContext(made, {"BASE_IMAGE": "sha256:base"}, "sha256:base")


OLD, NEW = context_of(OLD_FILES), context_of(NEW_FILES)
DIGEST = "sha256:" + "ab" * 32
IN_USE = EnclaveImage(
    DIGEST, DIGEST, "simulated", "01" * 32, "02" * 32, 1, 2, debuggable=False, inputs_sha256=OLD.inputs_sha256
)
PROPOSED = replace(IN_USE, mrenclave="07" * 32, inputs_sha256=NEW.inputs_sha256)


@pytest.fixture
def image_deployment(
    tmp_path_factory: pytest.TempPathFactory, deploy: Callable[..., None]
) -> SimpleNamespace:
    """A deployment whose `dcsv3` and `aks` simulate, with an empty ledger; `local` as it is shipped."""
    include = tmp_path_factory.mktemp("include")
    shutil.copytree(ROOT / "include/policies", include / "policies", ignore=shutil.ignore_patterns("*.jsonl"))
    shutil.copytree(ROOT / "include/jobs", include / "jobs")
    policy = "simulation-image"
    deploy(include_dir=include, image_policy=policy, dcsv3_policy=policy, aks_policy=policy)
    path = include / "policies" / f"{policy}.yaml"
    return SimpleNamespace(
        policies=include / "policies", policy=path, ledger=load_policy(path).approvals_path
    )


@pytest.fixture
def approve(image_deployment: SimpleNamespace) -> Callable[..., None]:
    """Add an approval to the ledger."""

    def approve(
        image: EnclaveImage = IN_USE, by: str = "ada", revision: str = "0123abc", **more: Any
    ) -> None:
        at = "2026-11-20T10:00:00Z"
        entry = new_approval(image, revision, approved_by=by, approved_at=at, **more)
        append_approval(image_deployment.ledger, entry)

    return approve


@pytest.fixture
def in_use(image_deployment: SimpleNamespace, approve: Callable[..., None], announce: Any) -> None:
    """An approved, announced image; the inputs of it and of the proposed one are recorded."""
    approve()
    announce(IN_USE)
    for context in (OLD, NEW):
        record_inputs(image_deployment.ledger, context)


@pytest.fixture
def announce(airflow_database: Path) -> Iterator[Callable[..., None]]:
    """Write an event of the images' asset, as DAG `enclave_image` does."""
    from airflow.models.asset import AssetEvent, AssetModel
    from airflow.utils.session import create_session
    from sqlalchemy import delete, select

    def asset(session: Any, trust: str) -> AssetModel:
        wanted = (AssetModel.name == asset_name(trust), AssetModel.uri == asset_uri(trust))
        found = session.scalar(select(AssetModel).where(*wanted))
        if found is None:
            found = AssetModel(name=asset_name(trust), uri=asset_uri(trust), group="asset")
            session.add(found)
            session.flush()
        return found

    def forget() -> None:
        with create_session() as session:
            ids = [asset(session, trust).id for trust in ("simulated", "hardware")]
            session.execute(delete(AssetEvent).where(AssetEvent.asset_id.in_(ids)))

    def announce(image: EnclaveImage, **extra: Any) -> None:
        with create_session() as session:
            event = AssetEvent(asset_id=asset(session, image.trust).id, extra=image.to_xcom() | extra)
            session.add(event)

    forget()
    yield announce
    forget()


@pytest.fixture
def ask(dag_run: Callable[..., None]) -> Iterator[Callable[..., None]]:
    """Write a run of DAG `enclave_image` that asks a person, as a scheduler and a worker would have."""
    from airflow.models.hitl import HITLDetail
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from airflow.utils.types import DagRunTriggeredByType
    from sqlalchemy import delete, select, update

    asked = []

    def ask(
        image: Any = PROPOSED,
        *,
        run_id: str = RUN,
        requester: str | None = "ann",
        triggered_by: str = "UI",
        revision: str = "11c8e19",
        state: str = "awaiting_input",
        deadline: datetime | None = DEADLINE,
        subject: str = "Approve?",
        dag_id: str = DAG,
        **answer: Any,
    ) -> None:
        described = image.to_xcom() if isinstance(image, EnclaveImage) else image
        measured = {"image": described, "revision": revision}
        compared = {"approved": False, "by": "nobody yet", "policy": "simulation-image", "approvals": 1}
        xcoms = {
            ("measure_enclave", "return_value"): measured,
            ("compare_with_ledger", "return_value"): compared,
        }
        tasks = {"measure_enclave": "success", "compare_with_ledger": "success", ASK: state}
        by = {"triggering_user_name": requester, "triggered_by": DagRunTriggeredByType[triggered_by]}
        dag_run("running", tasks, dag_id=dag_id, run_id=run_id, xcoms=xcoms, **by)
        with create_session() as session:
            mine = (TaskInstance.dag_id == dag_id, TaskInstance.run_id == run_id, TaskInstance.task_id == ASK)
            number = session.scalar(select(TaskInstance.id).where(*mine))
            session.execute(update(TaskInstance).where(*mine).values(trigger_timeout=deadline))
            details = {"options": ["Approve", "Reject"], "subject": subject, "multiple": False, "params": {}}
            session.add(HITLDetail(ti_id=number, created_at=ASKED, **details, **answer))
            asked.append(number)

    yield ask
    with create_session() as session:
        session.execute(delete(HITLDetail).where(HITLDetail.ti_id.in_(asked)))
