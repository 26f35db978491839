"""What Airflow's database knows of enclave images: questions to people, announced images; read only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.models.asset import AssetEvent, AssetModel
from airflow.models.dagrun import DagRun
from airflow.models.hitl import HITLDetail
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from airflow.utils.types import DagRunTriggeredByType
from sqlalchemy import select

from confidential_spark.core.errors import ConfigurationError
from confidential_spark.core.stages import STAGES
from confidential_spark.enclave.image import EnclaveImage, asset_name, asset_uri
from confidential_spark.image_build.settings import image_settings
from confidential_spark.ui.room.needs import APPROVAL_TASK, IMAGE_DAG
from confidential_spark.ui.room.runs import utc_now
from confidential_spark.ui.views.report_view import mapping, text

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from sqlalchemy.orm import Session

ASKING = ("awaiting_input", "deferred", "running")
LATEST_RUNS = 20
COMMAND_LINE = (DagRunTriggeredByType.CLI, DagRunTriggeredByType.TEST)
(RESOLVE,) = STAGES["image"]


@dataclass(frozen=True)
class Question:
    """A measurement about which a person is, or was, asked.

    :param requester: who started the run; empty where Airflow does not name anybody.
    :param on_command_line: whether that is an account of a machine, and none of Airflow.
    :param answer: the chosen options; empty while there is no answer.
    """

    run: int
    run_id: str
    state: str
    requester: str
    asked_at: datetime
    deadline: datetime
    on_command_line: bool = False
    answer: str = ""
    answered_by: str = ""
    answered_at: datetime | None = None

    @property
    def is_open(self) -> bool:
        """Whether an answer is still waited for."""
        return self.answered_at is None and self.state in ASKING

    @property
    def requested_by(self) -> str:
        """Who started the run, in words."""
        if not self.requester:
            return "nobody known"
        return f"{self.requester}, on a command line" if self.on_command_line else self.requester

    @property
    def age(self) -> timedelta:
        """How long ago the question was asked, in whole minutes."""
        return timedelta(minutes=(utc_now() - self.asked_at) // timedelta(minutes=1))

    @property
    def left(self) -> timedelta:
        """How long it still waits, in whole minutes; zero when the time is over."""
        minutes = (self.deadline - utc_now()) // timedelta(minutes=1)
        return timedelta(minutes=max(0, minutes))


def open_questions(session: Session) -> tuple[Question, ...]:
    """Return what waits for an answer, the oldest first."""
    rows = session.execute(_asked().where(HITLDetail.responded_at.is_(None)).order_by(HITLDetail.created_at))
    return tuple(question for row in rows if (question := _question(row)).is_open)


def question_of(session: Session, run_id: str) -> Question | None:
    """Return the question of a run, answered or not; None when it has none."""
    row = session.execute(_asked().where(TaskInstance.run_id == run_id)).first()
    return _question(row) if row else None


def returned(session: Session, run: int, task_id: str) -> dict[str, Any]:
    """Return the object that a task of a run has returned; empty when there is none.

    :param run: the run's number in the database.
    """
    chosen = select(XComModel.value).where(
        XComModel.dag_run_id == run, XComModel.task_id == task_id, XComModel.key == "return_value"
    )
    return mapping(session.scalar(chosen))


def announced_image(session: Session, trust: str) -> EnclaveImage | None:
    """Return the image of the latest event, which runs of that trust level use; None when there is none."""
    chosen = (
        select(AssetEvent.extra)
        .join(AssetModel, AssetModel.id == AssetEvent.asset_id)
        .where(AssetModel.name == asset_name(trust), AssetModel.uri == asset_uri(trust))
        .order_by(AssetEvent.timestamp.desc(), AssetEvent.id.desc())
        .limit(1)
    )
    return image_or_none(session.scalar(chosen))


def resolved_images(session: Session, dag_ids: Collection[str]) -> tuple[EnclaveImage, ...]:
    """Return the images that the latest runs of these DAGs have resolved, the latest first."""
    chosen = (
        select(XComModel.value)
        .where(XComModel.dag_id.in_(dag_ids), XComModel.task_id == RESOLVE, XComModel.key == "return_value")
        .order_by(XComModel.dag_run_id.desc())
        .limit(LATEST_RUNS)
    )
    return tuple(image for value in session.scalars(chosen) if (image := image_or_none(value)))


def image_or_none(value: object) -> EnclaveImage | None:
    """Return an image as a task or an event describes it; None for anything else."""
    try:
        return EnclaveImage.from_xcom(mapping(value))
    except ConfigurationError:
        return None


def _asked() -> Any:
    return (
        select(
            DagRun.id,
            TaskInstance.run_id,
            TaskInstance.state,
            DagRun.triggering_user_name,
            DagRun.triggered_by,
            HITLDetail.created_at,
            TaskInstance.trigger_timeout,
            HITLDetail.chosen_options,
            HITLDetail.responded_by,
            HITLDetail.responded_at,
        )
        .join(TaskInstance, TaskInstance.id == HITLDetail.ti_id)
        .join(DagRun, (DagRun.dag_id == TaskInstance.dag_id) & (DagRun.run_id == TaskInstance.run_id))
        .where(TaskInstance.dag_id == IMAGE_DAG, TaskInstance.task_id == APPROVAL_TASK)
    )


def _question(row: Any) -> Question:
    run, run_id, state, requester, way, asked_at, deadline, options, user, answered_at = row
    answerer = mapping(user)
    return Question(
        run=run,
        run_id=run_id,
        state=text(state),
        requester=requester or "",
        asked_at=asked_at,
        deadline=deadline or asked_at + timedelta(hours=image_settings().approval_hours),
        on_command_line=way in COMMAND_LINE,
        answer=", ".join(map(str, options or ())),
        answered_by=text(answerer.get("name")) or text(answerer.get("id")),
        answered_at=answered_at,
    )
