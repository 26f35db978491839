"""What the matrix says of a year: of its newest run, of what is published, else of how many months it has."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING

from confidential_spark.agent.protocol import TRUST_SIMULATED
from confidential_spark.verification import Outcome
from confidential_spark.years.sums import months_of_year
from confidential_spark.years.verify import compared

if TYPE_CHECKING:
    from collections.abc import Mapping

    from confidential_spark.ui.results.years.judge import KnownYear
    from confidential_spark.ui.results.years.runs import YearRun
    from confidential_spark.ui.room.known_results import KnownResult
    from confidential_spark.years.verify import YearReport


class YearState(Enum):
    """What a year came to: a sign that needs no colour, its meaning, and a short name."""

    TRUE_NOW = "✓", "published, and the sum of the months that are published now", "true now"
    STALE = "≠", "STALE: a month was replaced since", "STALE"
    UNVERIFIED = "?", "published, not verified yet", "unverified"
    REFUSED = "⊘", "published, and refused", "refused"
    FAILED = "✗", "its newest run was refused or failed", "failed"
    RUNNING = "▶", "being added up", "running"
    COMPLETE = "…", "twelve months, not added up yet", "12 of 12"
    INCOMPLETE = "○", "not there yet", "n of 12"

    @property
    def sign(self) -> str:
        """One character."""
        return self.value[0]

    @property
    def meaning(self) -> str:
        """The state in words."""
        return self.value[1]

    @property
    def css(self) -> str:
        """Name of its style."""
        return f"year-{self.name.lower().replace('_', '-')}"


@dataclass(frozen=True)
class YearLine:
    """One year.

    :param words: more than the state's meaning.
    :param key: what it is published under; empty when nothing is.
    :param run_id: of the run that the state is about; empty when it is about what is published.
    :param months: how many of its months are published.
    :param code: why it was refused or its run failed, where known.
    """

    dag_id: str
    year: str
    state: YearState
    words: str = ""
    key: str = ""
    run_id: str = ""
    months: int = 0
    code: str = ""

    @property
    def name(self) -> str:
        """The state in a word or two."""
        return f"{self.months} of 12" if self.state is YearState.INCOMPLETE else self.state.value[2]

    @property
    def label(self) -> str:
        """The year in words."""
        return ", ".join(filter(None, (f"{self.year} as a whole", self.state.meaning, self.words)))


def year_line(
    dag_id: str,
    year: str,
    known: KnownYear | None,
    months: Mapping[str, KnownResult],
    run: YearRun | None,
) -> YearLine:
    """Return one year's line.

    :param months: what is known of the published months, by key.
    """
    count = sum(f"month={month}" in months for month in months_of_year(year))
    line = YearLine(dag_id, year, YearState.INCOMPLETE, f"{count} of 12 months are published", months=count)
    if known is None:
        line = replace(line, state=YearState.COMPLETE, words="") if count == 12 else line
    else:
        state, words, code = published_state(known, months)
        line = replace(line, state=state, words=words, code=code, key=known.result.key)
    if run is None:
        return line
    before = f"an earlier version is published: {line.words}" if known else line.words
    if run.is_active:
        return replace(line, state=YearState.RUNNING, words=before, run_id=run.run_id)
    if failed_since(run, known) and line.state is not YearState.REFUSED:
        why = run.code or "its task's log says why"
        words = f"{why}; {before}" if before else why
        return replace(line, state=YearState.FAILED, words=words, run_id=run.run_id, code=run.code)
    return line


def published_state(known: KnownYear, months: Mapping[str, KnownResult]) -> tuple[YearState, str, str]:
    """Return state, words and refusal of a published year; only what this process has verified counts."""
    judgement = known.judgement
    if judgement is None:
        claimed = known.entry.trust[:40] if known.entry else ""
        return YearState.UNVERIFIED, f"claims {claimed}, proves nothing" if claimed else "proves nothing", ""
    report, open_months = compared_with(judgement.report, months)
    if failed := report.failure:
        refused = report.outcome is Outcome.REFUSED
        word = "REFUSED" if refused else "NOT CHECKED"
        words, state = f"{word} {failed.code}", YearState.REFUSED if refused else YearState.UNVERIFIED
        return state, words, str(failed.code or "") if refused else ""
    trust = "SIMULATED" if report.trust == TRUST_SIMULATED else str(report.trust)
    verified = f"VERIFIED {judgement.counts} at {judgement.checked_at:%H:%M:%S} UTC, {trust}"
    if report.stale:
        return YearState.STALE, f"{'; '.join(report.stale)}; {verified}", ""
    if open_months:
        waits = f"the sum is {verified}; {open_months} of the published months not compared yet"
        return YearState.UNVERIFIED, waits, ""
    return YearState.TRUE_NOW, verified, ""


def compared_with(report: YearReport, months: Mapping[str, KnownResult]) -> tuple[YearReport, int]:
    """Return the report compared with the months that this process has verified, and how many are left.

    A month that is published, and that nobody has verified here, is neither the same nor another one.
    """
    there = {month: months.get(f"month={month}") for month in report.months}
    own = {
        month: each.entry.evidence_sha256
        for month, each in there.items()
        if each and each.judgement and each.entry and each.entry.evidence_sha256
    }
    left = [month for month, each in there.items() if each and month not in own]

    def published(month: str) -> tuple[str, str] | None:
        each = there[month]
        return (each.result.version, own.get(month, report.months[month])) if each else None

    return replace(compared(report, published), compared=not left), len(left)


def failed_since(run: YearRun, known: KnownYear | None) -> bool:
    """Whether the run failed after the year that is published was made."""
    if run.state != "failed":
        return False
    made = known.judgement.made_at if known and known.judgement else None
    return known is None or (made is not None and run.started is not None and run.started > made)
