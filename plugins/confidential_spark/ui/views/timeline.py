"""When the tasks of a run worked: one line a task, bars computed here and drawn by a template."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

from confidential_spark.core.stages import TASK_IDS

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import timedelta

    from confidential_spark.ui.views.run_view import Task

# Lengths in SVG user units; the shortest bar can still be seen.
WIDTH, SHORTEST = 1000, 6
STYLES = {"success": "success", "failed": "failed", "running": "running"}


@dataclass(frozen=True)
class TimelineRow:
    """One task.

    :param css: name of the bar's style.
    :param after: from the first task's start to this one's; None for a task that did not start.
    :param x: where its bar begins.
    :param length: of its bar.
    :param log: address of Airflow's page of the task with its log, relative to Airflow's root; empty for a
        task that did not start.
    """

    task_id: str
    state: str
    css: str
    tries: int
    after: timedelta | None
    elapsed: timedelta | None
    x: int
    length: int
    log: str


@dataclass(frozen=True)
class Timeline:
    """The tasks of one run in the order of the stages."""

    rows: tuple[TimelineRow, ...]
    elapsed: timedelta
    width: int = WIDTH


def timeline(dag_id: str, run_id: str, tasks: Iterable[Task], now: datetime | None = None) -> Timeline | None:
    """Return when a run's tasks worked, or None where none has started.

    :param now: where bars of tasks at work end.
    """
    ordered = sorted(tasks, key=lambda task: (place(task.task_id), task.task_id))
    present = now or datetime.now(UTC)
    times = [(task.started, task.ended or present) for task in ordered if task.started and has_worked(task)]
    if not times:
        return None
    first, last = min(start for start, _ in times), max(end for _, end in times)
    run = f"dags/{quote(dag_id, safe='')}/runs/{quote(run_id, safe='')}"

    def row(task: Task) -> TimelineRow:
        css = STYLES.get(task.state, "other")
        if task.started is None or not has_worked(task):
            return TimelineRow(task.task_id, task.state, css, task.tries, None, None, 0, 0, "")
        after, took = task.started - first, (task.ended or present) - task.started
        unit = WIDTH / max((last - first).total_seconds(), 0.001)
        x = min(round(after.total_seconds() * unit), WIDTH - SHORTEST)
        length = min(max(round(took.total_seconds() * unit), SHORTEST), WIDTH - x)
        log = f"{run}/tasks/{quote(task.task_id, safe='')}"
        return TimelineRow(task.task_id, task.state, css, task.tries, after, took, x, length, log)

    return Timeline(tuple(row(task) for task in ordered), last - first)


def has_worked(task: Task) -> bool:
    """Whether it did anything: Airflow also notes a start for tasks that it never began."""
    return task.started is not None and task.state not in ("upstream_failed", "skipped", "removed")


def place(task_id: str) -> int:
    """Return where the task stands in the order of the stages; a foreign one is the last."""
    return TASK_IDS.index(task_id) if task_id in TASK_IDS else len(TASK_IDS)
