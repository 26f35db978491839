"""What lists say of a published version, from what is known of it: no file is read here."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from confidential_spark.ui.results.published_state import PublishedState, refusal_of, state_and_word
from confidential_spark.ui.views.calendar_view import CellState
from confidential_spark.ui.views.report_view import run_of, text

if TYPE_CHECKING:
    from confidential_spark.hooks.index.entry import IndexEntry
    from confidential_spark.ui.room.known_results import KnownResult


def known_state(dag_id: str, known: KnownResult) -> PublishedState:
    """Return what a list says of a version."""
    judgement, entry = known.judgement, known.entry
    note, tone = remarks_of(entry)
    state, word = state_and_word(judgement, tone)
    proven = text(judgement.report.trust) if judgement else ""
    at = judgement.claim.at if judgement else ""
    rows = entry.rows if entry else None
    return PublishedState(
        key=known.key,
        state=state,
        trust=proven,
        claimed=entry.trust[:40] if entry else "",
        word=word if state is CellState.REFUSED and not proven else f"{word}{note}",
        run_id=run_of(dag_id, judgement.claim, {}) if judgement else "",
        rows=rows if state is not CellState.REFUSED else None,
        signed_at=datetime.fromisoformat(at) if at else entry.signed_at if entry else None,
        refusal=refusal_of(judgement),
    )


def remarks_of(entry: IndexEntry | None) -> tuple[str, str]:
    """Return what a verdict adds about checks that were not passed, and the tone that this gives it."""
    failed, warned = (len(entry.failed), len(entry.warned)) if entry else (0, 0)
    parts = ((failed, "CHECK FAILED", "CHECKS FAILED"), (warned, "WARNING", "WARNINGS"))
    note = "".join(f" · {count} {one if count == 1 else many}" for count, one, many in parts if count)
    return note, "bad" if failed else "warn" if warned else "good"
