"""A DAG run as a reader sees it: a verdict, and four stages with their tasks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from confidential_spark.core.stages import STAGES, TASK_IDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

WAITING = "waiting"
ACTIVE_STATES = frozenset({"running", "up_for_retry", "deferred", "restarting", "awaiting_input"})
QUEUED_STATES = frozenset({"queued", "scheduled"})
ACTIVE_RUNS = frozenset({"running", "queued", "restarting"})
FAILED_STATES = frozenset({"failed", "upstream_failed"})
NOT_REACHED = "not reached"
FIRST = "image.resolve_image"
JUDGES = ("validation.verify_evidence", "validation.check_results")
"""Tasks whose failure means that a proof or a figure was refused, not that something broke."""


@dataclass(frozen=True)
class Task:
    """One task of a run."""

    task_id: str
    state: str
    started: datetime | None = None
    ended: datetime | None = None
    tries: int = 0

    @property
    def name(self) -> str:
        """The id without its stage."""
        return self.task_id.rpartition(".")[2]

    @property
    def elapsed(self) -> timedelta | None:
        """How long it ran, up to now while it runs; nothing for a task that was not reached."""
        if self.started is None or self.state == "upstream_failed":
            return None
        return (self.ended or datetime.now(UTC)) - self.started


@dataclass(frozen=True)
class Stage:
    """One of the four stages."""

    name: str
    state: str
    tasks: tuple[Task, ...]

    @property
    def elapsed(self) -> timedelta | None:
        """From its first task's start to its last task's end, or to now; nothing for a stage not reached."""
        if self.state == NOT_REACHED:
            return None
        starts = [task.started for task in self.tasks if task.started]
        ends = [task.ended or datetime.now(UTC) for task in self.tasks if task.started]
        return max(ends) - min(starts) if starts else None


@dataclass(frozen=True)
class Verdict:
    """The big word on a page, the tone in which it is said, and a sentence."""

    word: str
    tone: str
    sentence: str


QUEUED = Verdict(
    "QUEUED", "queued", "The run waits for its turn: no task has started. This page refreshes itself."
)
RUNNING = Verdict("RUNNING", "busy", "Nothing is proven yet. This page refreshes itself.")
PASSED = Verdict(
    "PASSED",
    "idle",
    "Every stage ended well at the time. Nothing that this run made is published now, so nothing of it can "
    "be verified now.",
)

STOPPED = Verdict(
    "NOT STARTED",
    "idle",
    "An earlier month of the same filling of gaps failed, so this one was not started.",
)


def stages(tasks: Sequence[Task]) -> tuple[Stage, ...]:
    """Return the four stages in order; tasks a job does not have are left out."""
    by_id = {task.task_id: task for task in tasks}
    groups = ((name, tuple(by_id[i] for i in ids if i in by_id)) for name, ids in STAGES.items())
    return tuple(Stage(name, stage_state(members), members) for name, members in groups)


def stage_state(tasks: Sequence[Task]) -> str:
    """Return a stage's state: failed, running, queued, success, skipped or waiting."""
    states = {task.state for task in tasks}
    if states & FAILED_STATES:
        return "failed" if "failed" in states else NOT_REACHED
    if states & ACTIVE_STATES:
        return "running"
    if states & QUEUED_STATES:
        return "queued"
    if states > {WAITING} and "success" in states:
        return "running"
    if states and states <= {"success", "skipped"}:
        return "success" if "success" in states else "skipped"
    return WAITING


def verdict(run_state: str, tasks: Mapping[str, str]) -> Verdict:
    """Return what a run came to.

    :param run_state: Airflow's state of the DAG run.
    :param tasks: state of each task by id.
    """
    if run_state in ACTIVE_RUNS:
        waits = run_state == "queued" or not set(tasks.values()) - QUEUED_STATES - {WAITING}
        return QUEUED if waits else RUNNING
    if run_state == "success" and tasks.get(FIRST) == "skipped":
        return STOPPED
    if run_state == "success" and all(tasks.get(judge) == "success" for judge in JUDGES):
        return PASSED
    published = tasks.get("validation.publish") == "success"
    outcome = "The result had been published before." if published else "Nothing was published."
    failed = failed_task(tasks)
    if failed in JUDGES:
        return Verdict("REFUSED", "bad", f"{failed} refused this run. {outcome}")
    if failed:
        return Verdict("FAILED", "bad", f"{failed} failed. {outcome}")
    return Verdict("NOT PROVEN", "bad", "The run ended without verified evidence.")


def failed_task(tasks: Mapping[str, str]) -> str:
    """Return the first task that failed, in the order of the stages; empty when none did.

    :param tasks: state of each task by id.
    """
    return next((task_id for task_id in TASK_IDS if tasks.get(task_id) == "failed"), "")
