"""A filling of gaps as Airflow tells it: its runs, how far they are, and about how long they still take."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from airflow.models.dagrun import DagRun
from sqlalchemy import select

from confidential_spark.core.stages import FILL_KEY, FILL_PREFIX, fill_run_id
from confidential_spark.ui.gaps.plan import lasting, waiting
from confidential_spark.ui.room.needs import Link, run_link
from confidential_spark.ui.room.runs import COLUMNS, Run, tasks_of
from confidential_spark.ui.views.report_view import mapping
from confidential_spark.ui.views.run_view import STOPPED, Verdict, verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta
    from typing import Any

    from sqlalchemy.orm import Session

    from confidential_spark.core.months import Month

FILL_ID = re.compile(r"[0-9]{8}T[0-9]{6}Z", re.ASCII)
MAX_RUNS = 500
MAX_FILLINGS = 5


@dataclass(frozen=True)
class FillRun:
    """One month of a filling."""

    month: Month
    link: Link
    run_id: str
    state: str
    verdict: Verdict


@dataclass(frozen=True)
class Filling:
    """All months of a filling, in their order.

    :param left: about how long it still takes.
    """

    dag_id: str
    id: str
    stops: bool
    runs: tuple[FillRun, ...]
    left: timedelta | None
    warnings: tuple[str, ...]

    @property
    def ended(self) -> int:
        """How many runs are over."""
        return sum(run.state not in ("queued", "running") for run in self.runs)

    @property
    def is_over(self) -> bool:
        """Whether all are."""
        return self.ended == len(self.runs)

    @property
    def counts(self) -> tuple[tuple[str, str], ...]:
        """How many runs came to what, as text and tone of a tag."""
        tones = {run.verdict.word: run.verdict.tone for run in self.runs} | {"PASSED": "good"}
        words = Counter(run.verdict.word for run in self.runs)
        return tuple((f"{count} {word.lower()}", tones[word]) for word, count in words.items())

    @property
    def remaining(self) -> tuple[Month, ...]:
        """The months whose runs came to nothing."""
        return tuple(run.month for run in self.runs if run.verdict is STOPPED or run.state == "failed")


def new_fill_id() -> str:
    """Return the name of a new filling: the time at which it is asked for."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"


def conf_of(fill: str, month: Month, months: Sequence[Month], *, stop: bool) -> dict[str, Any]:
    """Return what a run of a filling is triggered with."""
    names = [str(each) for each in months]
    return {"month": str(month), FILL_KEY: {"id": fill, "stop": stop, "months": names}}


def filling(session: Session, dag_id: str, fill: str, typical: timedelta | None) -> Filling | None:
    """Return a filling, or None when Airflow knows no run of it."""
    if not FILL_ID.fullmatch(fill):
        return None
    prefix = fill_run_id(fill, "")
    chosen = select(*COLUMNS).where(
        DagRun.dag_id == dag_id, DagRun.run_id.startswith(prefix, autoescape=True)
    )
    rows = session.execute(chosen.order_by(DagRun.run_after, DagRun.id).limit(MAX_RUNS))
    runs = [Run(row[0], row[1], row[2], str(row[3]), *row[4:]) for row in rows]
    tasks = tasks_of(session, [run for run in runs if run.state != "queued"])
    found = []
    for run in runs:
        if month := run.month:
            states = {task.task_id: task.state for task in tasks.get(run.id, ())}
            link = run_link(dag_id, run.run_id, str(month))
            found.append(FillRun(month, link, run.run_id, run.state, verdict(run.state, states)))
    if not found:
        return None
    at_once, warnings = waiting(session, dag_id, {run.run_id for run in found})
    left = sum(run.state in ("queued", "running") for run in found)
    stops = _stops(runs[0].conf)
    return Filling(
        dag_id, fill, stops, tuple(found), lasting(left, at_once, typical), warnings if left else ()
    )


def fillings(session: Session, dag_id: str) -> tuple[str, ...]:
    """Return the latest fillings of a DAG that Airflow knows, the latest first."""
    prefix = f"{FILL_PREFIX}__"
    chosen = select(DagRun.run_id).where(
        DagRun.dag_id == dag_id, DagRun.run_id.startswith(prefix, autoescape=True)
    )
    ids = session.scalars(chosen.order_by(DagRun.run_after.desc()).limit(MAX_RUNS * MAX_FILLINGS))
    found = dict.fromkeys(run_id.split("__")[1] for run_id in ids)
    return tuple(fill for fill in found if FILL_ID.fullmatch(fill))[:MAX_FILLINGS]


def _stops(conf: Any) -> bool:
    fill: Mapping[str, Any] = mapping(mapping(conf).get(FILL_KEY))
    return fill.get("stop") is True
