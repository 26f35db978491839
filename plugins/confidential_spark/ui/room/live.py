"""What runs now, how far it is, and about how long it still takes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from statistics import median
from typing import TYPE_CHECKING

from confidential_spark.ui.room.needs import Link, run_link
from confidential_spark.ui.room.runs import ActiveRun, utc_now
from confidential_spark.ui.views.run_view import Stage, stages

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from confidential_spark.hooks.index.entry import IndexEntry

MOST_RUNS = 6
LATEST = 12


@dataclass(frozen=True)
class LiveRun:
    """One run that is at work.

    :param left: about how long it still takes; None where nothing is known.
    """

    dag_id: str
    name: str
    link: Link
    stages: tuple[Stage, ...]
    stage: str
    elapsed: timedelta | None
    left: timedelta | None


@dataclass(frozen=True)
class Live:
    """The strip of what happens now.

    :param more: how many runs at work are not shown.
    """

    runs: tuple[LiveRun, ...]
    more: int
    queued: tuple[tuple[str, str, Link], ...]
    queued_more: int


def live(active: Sequence[ActiveRun], typical: timedelta | None, dag_id: str) -> Live:
    """Return what happens now.

    :param typical: how long a run of the shown DAG takes.
    :param dag_id: the shown DAG.
    """
    at_work = [run for run in active if run.state != "queued"]
    queued = [run for run in active if run.state == "queued"]
    return Live(
        tuple(_live_run(run, typical if run.dag_id == dag_id else None) for run in at_work[:MOST_RUNS]),
        max(0, len(at_work) - MOST_RUNS),
        tuple(
            (run.dag_id, run.name, run_link(run.dag_id, run.run_id, run.name)) for run in queued[:MOST_RUNS]
        ),
        max(0, len(queued) - MOST_RUNS),
    )


def typical_duration(entries: Iterable[IndexEntry]) -> timedelta | None:
    """Return how long the latest published runs took, in the middle; None when none says."""
    signed = sorted(
        (entry for entry in entries if entry.seconds and entry.signed_at),
        key=lambda entry: entry.signed_at or 0,  # type: ignore[arg-type, return-value]
    )
    seconds = [entry.seconds for entry in signed[-LATEST:] if entry.seconds]
    return timedelta(seconds=median(seconds)) if seconds else None


def _live_run(run: ActiveRun, typical: timedelta | None) -> LiveRun:
    found = stages(run.tasks)
    now = next((stage.name for stage in found if stage.state == "running"), "")
    elapsed = utc_now() - run.started if run.started else None
    left = typical - elapsed if typical and elapsed else None
    whole = timedelta(seconds=round(elapsed.total_seconds())) if elapsed else None
    return LiveRun(
        run.dag_id,
        run.name,
        run_link(run.dag_id, run.run_id, run.name),
        found,
        now,
        whole,
        left if left and left > timedelta(0) else None,
    )
