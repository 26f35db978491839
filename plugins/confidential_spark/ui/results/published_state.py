"""A published version in a list: what its own verification found, and what it proves."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from confidential_spark.agent.protocol import TRUST_HARDWARE
from confidential_spark.ui.views.calendar_view import CellState
from confidential_spark.ui.views.report_view import (
    check_lines,
    is_whole,
    mapping,
    objects,
    remarks,
    run_of,
    text,
)
from confidential_spark.verification import Outcome

if TYPE_CHECKING:
    from confidential_spark.ui.results.live_verification import Judgement
    from confidential_spark.ui.results.published import PublishedResult

TONES = {CellState.PASSED: "good", CellState.WARNED: "warn", CellState.REFUSED: "bad"}


@dataclass(frozen=True)
class PublishedState:
    """What a list says of one published version.

    :param trust: what the verification proved: ``hardware``, ``simulated`` or empty.
    :param claimed: the trust that the report beside it names, which proves nothing.
    :param word: short, for a tag.
    :param signed_at: when the enclave signed, or None.
    :param refusal: why it is refused; empty when it is not, or when a check of the results did not pass.
    """

    key: str
    state: CellState
    trust: str
    claimed: str
    word: str
    run_id: str
    rows: int | None
    signed_at: datetime | None
    refusal: str = ""

    @property
    def tone(self) -> str:
        """The tone of its tag."""
        return TONES.get(self.state, "idle")

    @property
    def proof(self) -> str:
        """What the version proves, in words."""
        if self.trust == TRUST_HARDWARE:
            return "hardware"
        if self.trust:
            return "SIMULATED"
        return f"claims {self.claimed}, proves nothing" if self.claimed else "proves nothing"


def published_state(dag_id: str, result: PublishedResult, judgement: Judgement | None) -> PublishedState:
    """Return what a list says of a version; its report and summary are read once for each judgement.

    :param judgement: None while it is not verified.
    """
    if judgement is None:
        return _state(dag_id, result, None)
    if not judgement.in_lists:
        judgement.in_lists.append(_state(dag_id, result, judgement))
    return judgement.in_lists[0]


def _state(dag_id: str, result: PublishedResult, judgement: Judgement | None) -> PublishedState:
    report = result.document("report.json")
    rows = mapping(result.document("summary.json").get("rows")).get("accepted")
    note, tone = remarks(check_lines(objects(report.get("checks"))))
    state, word = state_and_word(judgement, tone)
    at = judgement.claim.at if judgement else ""
    proven = text(judgement.report.trust) if judgement else ""
    return PublishedState(
        key=result.key,
        state=state,
        trust=proven,
        claimed=text(report.get("trust"))[:40],
        word=word if state is CellState.REFUSED and not proven else f"{word}{note}",
        run_id=run_of(dag_id, judgement.claim, report) if judgement else "",
        rows=rows if is_whole(rows) and state is not CellState.REFUSED else None,
        signed_at=datetime.fromisoformat(at) if at else None,
        refusal=refusal_of(judgement),
    )


def refusal_of(judgement: Judgement | None) -> str:
    """Return why a verification refused a version; empty when it did not."""
    refused = judgement is not None and judgement.report.outcome is Outcome.REFUSED
    return text(judgement.report.code) if judgement and refused else ""


def state_and_word(judgement: Judgement | None, tone: str) -> tuple[CellState, str]:
    """Return the cell's state, and what the verification found.

    :param tone: of the result checks.
    """
    if judgement is None:
        return CellState.UNVERIFIED, "NOT VERIFIED YET"
    report = judgement.report
    if report.outcome is Outcome.REFUSED:
        return CellState.REFUSED, f"REFUSED {report.code}"
    if report.outcome is Outcome.NOT_CHECKED:
        return CellState.UNVERIFIED, f"NOT CHECKED {report.code}"
    word = f"VERIFIED {judgement.counts} at {judgement.checked_at:%H:%M:%S} UTC"
    return {"good": CellState.PASSED, "warn": CellState.WARNED}.get(tone, CellState.REFUSED), word
