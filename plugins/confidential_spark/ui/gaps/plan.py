"""Which months a filling of gaps would run, in which order, and what would keep it waiting."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from airflow.models.pool import Pool
from sqlalchemy import select

from confidential_spark.operators.outcomes.filling import MAX_MONTHS
from confidential_spark.ui.airflow_runs import JOB_OF, MONTHLY, PLATFORMS
from confidential_spark.ui.room.known_state import known_state
from confidential_spark.ui.room.live import typical_duration
from confidential_spark.ui.room.matrix import AT_WORK, ranges
from confidential_spark.ui.room.page import known_of, matrix_of
from confidential_spark.ui.room.runs import active_runs, dag_facts

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import timedelta

    from sqlalchemy.orm import Session

    from confidential_spark.core.months import Month
    from confidential_spark.ui.results.published import PublishedResults
    from confidential_spark.ui.room.matrix import Matrix
    from confidential_spark.ui.room.verifier import Verifier


class Order(StrEnum):
    """Which gap is filled first."""

    NEWEST = "newest"
    OLDEST = "oldest"


@dataclass(frozen=True)
class PlannedMonth:
    """One month of the preview.

    :param why: what is known of it: missing, failed, or what is published now.
    :param is_published: whether a run would replace a result.
    """

    month: Month
    why: str
    is_published: bool


@dataclass(frozen=True)
class Plan:
    """The preview.

    :param months: what would run, in this order.
    :param left_out: how many months of the range are beyond the most that one filling may have.
    :param at_once: how many runs Airflow lets go on at the same time.
    :param warnings: what would keep the runs waiting.
    :param lasts: about how long it takes; None where no run has told.
    """

    dag_id: str
    first: Month
    last: Month
    order: Order
    again: bool
    months: tuple[PlannedMonth, ...]
    left_out: int
    at_once: int
    warnings: tuple[str, ...]
    lasts: timedelta | None

    @property
    def named(self) -> str:
        """The months in short."""
        return " ".join(ranges(tuple(sorted(planned.month for planned in self.months))))


def plan(
    session: Session,
    dag_id: str,
    published: PublishedResults,
    verifier: Verifier,
    *,
    first: Month | None,
    last: Month | None,
    order: Order = Order.NEWEST,
    again: bool = False,
) -> Plan | None:
    """Return the preview, or None for a DAG without months.

    :param again: whether published months of the range are run again, too.
    """
    if dag_id not in MONTHLY:
        return None
    known = known_of(dag_id, published, verifier)
    states = {key: known_state(dag_id, each) for key, each in known.results.items()}
    grid = matrix_of(session, dag_id, known, states, first=first)
    begin, end = first or grid.first, min(last or grid.last, grid.last)
    wanted = [each for each in _months(grid, again) if begin <= each.month <= end]
    wanted.sort(key=lambda each: each.month, reverse=order is Order.NEWEST)
    chosen = tuple(wanted[:MAX_MONTHS])
    at_once, warnings = waiting(session, dag_id)
    typical = typical_duration(known.entries.values())
    return Plan(
        dag_id,
        begin,
        end,
        order,
        again,
        chosen,
        len(wanted) - len(chosen),
        at_once,
        warnings,
        lasting(len(chosen), at_once, typical),
    )


def lasting(runs: int, at_once: int, typical: timedelta | None) -> timedelta | None:
    """Return about how long so many runs take."""
    return typical * -(-runs // max(1, at_once)) if typical and runs else None


def waiting(session: Session, dag_id: str, own: Collection[str] = ()) -> tuple[int, tuple[str, ...]]:
    """Return how many runs of a DAG may go on at once, and what else would keep them waiting.

    :param own: ids of the runs that are meant.
    """
    facts, platform = dag_facts(session, [dag_id]).get(dag_id), PLATFORMS[dag_id]
    most = facts.max_active_runs if facts else 1
    pool = platform.enclave_pool
    slots = session.scalar(select(Pool.slots).where(Pool.pool == pool))
    beside = [job.dag_id(platform) for job in {id(job): job for job in JOB_OF.values()}.values()]
    others = [run for run in active_runs(session, beside) if run.run_id not in own]
    same = sum(run.dag_id == dag_id for run in others)
    warnings = []
    if facts and facts.is_paused:
        warnings.append(f"{dag_id} is paused: runs are queued and do not start until it is switched on.")
    if facts is None or not facts.is_there:
        warnings.append(f"Airflow does not know {dag_id} now: its file is missing or broken.")
    if same:
        warnings.append(
            f"{same} other run{'s' * (same > 1)} of {dag_id} may go first: {most} may go on at once."
        )
    if len(others) > same:
        more = len(others) - same
        warnings.append(
            f"{more} run{'s' * (more > 1)} of other DAGs share{'' if more > 1 else 's'} the pool {pool}."
        )
    if slots is None:
        warnings.append(f"There is no pool {pool}: the tasks that run enclaves would wait for ever.")
    elif slots == 0:
        warnings.append(f"The pool {pool} has no slots: the tasks that run enclaves would wait for ever.")
    at_once = most if slots is None or slots < 0 else max(1, min(most, slots))
    return at_once, tuple(warnings)


def _months(grid: Matrix, again: bool) -> list[PlannedMonth]:
    gaps = set(grid.gaps)
    found = []
    for cell in (cell for year in grid.years for cell in year.cells):
        line = cell.line
        if cell.month in gaps:
            why = ", ".join(filter(None, (line.state.word, line.words)))
            found.append(PlannedMonth(cell.month, why, is_published=False))
        elif again and line.key and line.state not in AT_WORK:
            found.append(PlannedMonth(cell.month, f"published: {line.words}", is_published=True))
    return found
