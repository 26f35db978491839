"""What a month's cell says, of its newest run and of what is published."""

from __future__ import annotations

from typing import TYPE_CHECKING

from confidential_spark.ui.views.calendar_view import CellState, MonthLine, month_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from confidential_spark.core.months import Month
    from confidential_spark.ui.airflow_runs import MonthRun
    from confidential_spark.ui.results.published_state import PublishedState


def month_lines(
    published: Sequence[PublishedState], runs: Mapping[Month, MonthRun]
) -> dict[Month, MonthLine]:
    """Return a line for each month that has a run or is published."""
    by_month = {month: state for state in published if (month := month_of(state.key))}
    return {month: month_line(by_month.get(month), runs.get(month)) for month in {*by_month, *runs}}


def month_line(published: PublishedState | None, run: MonthRun | None) -> MonthLine:
    """Return one month's line: of a run at work or a failure since publication, else of what is published."""
    if run and (run.state in (CellState.QUEUED, CellState.RUNNING) or failed_since(run, published)):
        older = f"an earlier version is published: {published.word}, {published.proof}" if published else ""
        return MonthLine(run.state, older or run.sentence, published.key if published else "", run.run_id)
    if published:
        words = f"{published.word}, {published.proof}"
        return MonthLine(
            published.state, words, published.key, rows=published.rows, refusal=published.refusal
        )
    ended_well = run is None or run.state is not CellState.MISSING
    words = (
        "the last run passed and nothing of it is published" if ended_well or run is None else run.sentence
    )
    return MonthLine(CellState.MISSING, words, "", run.run_id if run else "")


def failed_since(run: MonthRun, published: PublishedState | None) -> bool:
    """Whether the run came to nothing after the version that is published was signed."""
    if run.state not in (CellState.FAILED, CellState.REFUSED):
        return False
    if published is None:
        return True
    # Files that no longer verify are worse than a run that failed.
    if published.state is CellState.REFUSED or published.signed_at is None or run.started is None:
        return False
    return run.started > published.signed_at
