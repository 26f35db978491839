"""What the verification of a bundle found: a line for each month and year, and one verdict."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from confidential_spark import __version__
from confidential_spark.agent.protocol import SIMULATED_NOTICE, TRUST_SIMULATED, sha256_hex
from confidential_spark.core.errors import shorten
from confidential_spark.verification.report import NOT_COMPARED, VerificationReport

if TYPE_CHECKING:
    from collections.abc import Iterable

    from confidential_spark.audit.contents import Fault
    from confidential_spark.audit.manifest import Manifest
    from confidential_spark.verification import Policy
    from confidential_spark.years.verify import YearReport

MAX_SHOWN_FAULTS = 20
MAX_NAMED_MONTHS = 24
EXIT_VERIFIED, EXIT_REFUSED, EXIT_NOT_CHECKED = 0, 1, 2


class Verdict(StrEnum):
    """What is said of a month; only a year is stale: it was added up of other months than the bundle has."""

    VERIFIED = "VERIFIED"
    REFUSED = "REFUSED"
    NOT_CHECKED = "NOT CHECKED"
    STALE = "STALE"
    MISSING = "MISSING"


@dataclass(frozen=True)
class PeriodVerdict:
    """One month or one year.

    :param period: ``YYYY-MM`` or ``YYYY``.
    :param code: of the refusal.
    :param report: of its own verification; None where there was nothing to verify.
    """

    period: str
    word: Verdict
    code: str = ""
    detail: str = ""
    report: VerificationReport | YearReport | None = None

    @classmethod
    def of(cls, month: str, report: VerificationReport) -> PeriodVerdict:
        """Return what the verification of a month found."""
        failed = report.failure
        if failed is None:
            detail = f"run {report.facts.run_id}, signed {report.facts.finished_at}"
        else:
            detail = f"step {failed.number}: {failed.detail}"
        return cls(month, Verdict(report.outcome.word), report.code or "", detail, report)

    @property
    def kind(self) -> str:
        """``month`` or ``year``: its key in JSON."""
        return "month" if "-" in self.period else "year"

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        report = self.report.to_dict() if self.report else None
        values = {self.kind: self.period, "outcome": str(self.word), "code": self.code}
        return {**values, "detail": self.detail, "report": report}

    def line(self) -> str:
        """Return it for people."""
        name = self.period if self.kind == "month" else f"year {self.period}"
        parts = [f"{name}  {self.word:<11}", self.code, shorten(self.detail, 400)]
        return " ".join(part for part in parts if part).rstrip()


@dataclass(frozen=True)
class BundleReport:
    """The verdict about a bundle.

    :param from_bundle: what the bundle itself brought of that by which it was judged.
    """

    manifest: Manifest
    verdicts: tuple[PeriodVerdict, ...]
    policy: Policy
    from_bundle: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()
    years: tuple[PeriodVerdict, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every month of the range is verified, and every file is the manifest's."""
        return self.word is Verdict.VERIFIED

    @property
    def word(self) -> Verdict:
        """The verdict: the worst of months and years, and REFUSED where a file is wrong.

        A year that is not there claims nothing, and its months are there to be added up: it is named.
        """
        words = {verdict.word for verdict in self.verdicts}
        words |= {verdict.word for verdict in self.years if words} - {Verdict.MISSING}
        if self.faults or not words or Verdict.REFUSED in words:
            return Verdict.REFUSED
        for word in (Verdict.NOT_CHECKED, Verdict.STALE, Verdict.MISSING):
            if word in words:
                return word
        return Verdict.VERIFIED

    @property
    def exit_status(self) -> int:
        """Zero only when :attr:`passed`."""
        if self.word is Verdict.NOT_CHECKED:
            return EXIT_NOT_CHECKED
        return EXIT_VERIFIED if self.passed else EXIT_REFUSED

    @property
    def trust(self) -> str:
        """What was proven, in words."""
        levels = {report.trust for report in self._verified()}
        if not levels:
            return "nothing was proven"
        return SIMULATED_NOTICE if TRUST_SIMULATED in levels else ", ".join(sorted(map(str, levels)))

    def text(self) -> str:
        """Return the report for people."""
        manifest = self.manifest
        lines = [
            f"confidential-spark {__version__}",
            f"Bundle: {manifest.job} on {manifest.platform}, {manifest.first} to {manifest.last}, "
            f"manifest SHA-256 {sha256_hex(manifest.to_bytes())}",
            f"Policy: {self.policy.label}, SHA-256 {self.policy.sha256 or 'of no file'}",
            *self._warnings(),
            *(verdict.line() for verdict in (*self.verdicts, *self.years)),
            *(f"FILE  {fault.code}  got: {fault.got}, expected: {fault.expected}" for fault in self._shown()),
            *self._to_compare(),
        ]
        return "\n".join([*lines, self.verdict()])

    def verdict(self) -> str:
        """Return the last line."""
        count = Counter(verdict.word for verdict in self.verdicts)
        months = [verdict.period for verdict in self.verdicts]
        span = f"{months[0]} to {months[-1]}" if months else "no month"
        parts = [f"{self.word} · {span}: {count[Verdict.VERIFIED]} of {len(months)} months VERIFIED"]
        for word in (Verdict.REFUSED, Verdict.NOT_CHECKED, Verdict.MISSING):
            if count[word]:
                such = [verdict.period for verdict in self.verdicts if verdict.word is word]
                parts.append(f"{count[word]} {word} ({month_list(such)})")
        for word in Verdict:
            if such := [verdict.period for verdict in self.years if verdict.word is word]:
                parts.append(f"years {word}: {month_list(such)}")
        if self.faults:
            parts.append(f"{len(self.faults)} files are not the manifest's")
        parts.append(f"trust: {self.trust}")
        if self.from_bundle:
            parts.append(f"JUDGED BY THE BUNDLE'S OWN {', '.join(self.from_bundle)}")
        if left_out := self._not_compared():
            parts.append(f"{NOT_COMPARED}: {', '.join(left_out)}")
        return " · ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "version": __version__,
            "outcome": str(self.word),
            "passed": self.passed,
            "trust": self.trust,
            "manifest_sha256": sha256_hex(self.manifest.to_bytes()),
            "policy_sha256": self.policy.sha256,
            "from_bundle": list(self.from_bundle),
            "faults": [asdict(fault) for fault in self.faults],
            "months": [verdict.to_dict() for verdict in self.verdicts],
            "years": [verdict.to_dict() for verdict in self.years],
        }

    def _warnings(self) -> list[str]:
        lines = []
        if self.policy.trust == TRUST_SIMULATED:
            lines.append(f"{SIMULATED_NOTICE}: anyone can make evidence that this policy accepts.")
        if self.from_bundle:
            what = ", ".join(self.from_bundle)
            lines.append(
                f"JUDGED BY THE BUNDLE'S OWN {what}: whoever made the bundle chose what passes. "
                "Compare them with yours, or give yours."
            )
        return lines

    def _shown(self) -> Iterable[Fault]:
        return self.faults[:MAX_SHOWN_FAULTS]

    def _not_compared(self) -> list[str]:
        return sorted({name for report in self._verified() for name in report.not_compared})

    def _verified(self) -> list[VerificationReport]:
        verified = (each.report for each in self.verdicts if each.word is Verdict.VERIFIED)
        return [report for report in verified if isinstance(report, VerificationReport)]

    def _to_compare(self) -> list[str]:
        """Return what a reader compares by eye, because nobody but the reader knows what was wanted."""
        facts = [report.facts for report in self._verified()]
        if not facts:
            return []
        programs = Counter(f"job: {each.job_name}, file SHA-256 {each.job_file_sha256}" for each in facts)
        enclaves = Counter(f"MRENCLAVE {each.mrenclave}, MRSIGNER {each.mrsigner}" for each in facts)
        options = Counter(f"arguments besides the month: {_options(each.arguments)}" for each in facts)
        inputs = sum(len(each.inputs or ()) for each in facts)
        counted = [*programs.items(), *enclaves.items(), *options.items()]
        return [
            "Compare by eye:",
            *(f"   {shorten(line, 400)}: {count} of {len(facts)} verified months" for line, count in counted),
            f"   inputs: {inputs} files, each with its SHA-256 in --json",
        ]


def month_list(months: Iterable[str]) -> str:
    """Return months in words, e.g. ``2018-01 2018-05``."""
    listed = list(months)
    more = [f"and {len(listed) - MAX_NAMED_MONTHS} more"] if len(listed) > MAX_NAMED_MONTHS else []
    return " ".join([*listed[:MAX_NAMED_MONTHS], *more])


def _options(arguments: tuple[str, ...] | None) -> str:
    given = list(arguments or ())
    if "--month" in given:
        at = given.index("--month")
        del given[at : at + 2]
    return " ".join(given) or "none"
