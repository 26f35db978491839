"""What Airflow's database says of the runs that add up years."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow.models.dagrun import DagRun
from sqlalchemy import case, select

from confidential_spark.core.error_parts import parts_of
from confidential_spark.core.stages import FAILURE_KEY
from confidential_spark.ui.airflow_runs import MAX_RUNS, STARTED, handed_on
from confidential_spark.ui.views.report_view import mapping, text
from confidential_spark.ui.views.run_view import ACTIVE_RUNS

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.orm import Session

TASKS = ("find_months", "publish_year")


@dataclass(frozen=True)
class YearRun:
    """The newest run of a year.

    :param code: why it failed; empty when it did not, or left no reason.
    """

    run_id: str
    state: str
    started: datetime | None
    code: str = ""

    @property
    def is_active(self) -> bool:
        """Whether it is queued or at work."""
        return self.state in ACTIVE_RUNS


def newest_year_runs(session: Session, dag_id: str) -> dict[str, YearRun]:
    """Return the newest run of each year; one that is queued or at work is newer than any other."""
    active = case((DagRun.state.in_(ACTIVE_RUNS), 1), else_=0)
    columns = (DagRun.id, DagRun.run_id, DagRun.state, DagRun.conf, DagRun.partition_key, DagRun.start_date)
    chosen = select(*columns).where(DagRun.dag_id == dag_id).order_by(active.desc(), STARTED.desc())
    newest: dict[str, Any] = {}
    for run in session.execute(chosen.limit(MAX_RUNS)):
        newest.setdefault(text(mapping(run.conf).get("year") or run.partition_key), run)
    codes = failure_codes(session, [run for run in newest.values() if run.state == "failed"])
    return {
        year: YearRun(run.run_id, str(run.state), run.start_date, codes.get(run.id, ""))
        for year, run in newest.items()
    }


def failure_codes(session: Session, runs: list[Any]) -> dict[int, str]:
    """Return why these runs failed, as far as their tasks have said so, by the run's number."""
    if not runs:
        return {}
    found: dict[int, str] = {}
    for task_id in TASKS:
        for number, reason in handed_on(session, runs, task_id, FAILURE_KEY).items():
            found.setdefault(number, parts_of(text(reason)).get("code", ""))
    return found
