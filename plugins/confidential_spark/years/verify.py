"""Verify a year: it is the sum of exactly twelve months that verify, and whether they are still published.

Everything is in the year's folder, so this needs no network, no database and no Airflow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NoReturn

from confidential_spark.agent.protocol import SIMULATED_NOTICE, TRUST_SIMULATED
from confidential_spark.core.errors import VerificationError
from confidential_spark.verification import strict_json
from confidential_spark.verification.evidence.result_files import COMPANIONS, require_digests
from confidential_spark.verification.refusals import Refusal
from confidential_spark.verification.report import NumberedStep, Outcome, StepReport, run_checks
from confidential_spark.verification.safe_files import read_regular
from confidential_spark.years.months import MAX_DOCUMENT_BYTES, verify_month
from confidential_spark.years.statement import (
    MAX_STATEMENT_BYTES,
    MONTHS,
    REPORT,
    STATEMENT,
    SUMMARY,
    Making,
    make_statement,
    read_statement,
    require_same,
    statement_error,
)
from confidential_spark.years.sums import YEARS, add_up, months_of_year

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from confidential_spark.verification.json_object import JsonObject
    from confidential_spark.verification.report import Check, StepResult
    from confidential_spark.years.months import Acceptance, VerifiedMonth

Published = Callable[[str], tuple[str, str] | None]
"""``YYYY-MM`` → version of the month that readers see now, and SHA-256 of its `evidence.json`; or None."""


class YearStep(NumberedStep):
    """The steps of a year's verification."""

    STATEMENT = 1, "The statement is a year's, of a job that has years"
    FILES = 2, "Every file of the year has its listed digest, and there are no others"
    MONTHS = 3, "Exactly the twelve months of that year are there"
    EVIDENCE = 4, "Each month's own evidence and results verify, all steps"
    ONE_KIND = 5, "The months share program, arguments, options and kind of input"
    BOUND = 6, "The statement says of each month what its evidence proves"
    SUM = 7, "The year's summary is the sum of the months, added up again"
    REPORT = 8, "The report says what the statement says"


@dataclass(frozen=True)
class YearReport(StepReport):
    """The verdict on one year.

    :param trust: of its months; None unless every step passed.
    :param months: that were verified, ``YYYY-MM`` → SHA-256 of the `evidence.json` that was added up.
    :param stale: the months that are published otherwise by now, each with what became of it.
    :param compared: whether the published months were looked at.
    """

    policy: str
    year: str
    steps: tuple[StepResult, ...]
    trust: str | None = None
    months: Mapping[str, str] = field(default_factory=dict)
    stale: tuple[str, ...] = ()
    compared: bool = False

    @property
    def outcome(self) -> Outcome:
        """The verdict in one word."""
        return Outcome.STALE if self.passed and self.stale else super().outcome

    def text(self) -> str:
        """Return the report for a terminal, a step a line; the last line is the verdict."""
        steps = (step.text() for step in self.steps)
        return "\n".join([f"Year {self.year} · policy {self.policy}", *steps, self.verdict])

    @property
    def verdict(self) -> str:
        """The last line of :meth:`text`."""
        if failed := self.failure:
            return f"{self.outcome.word} · step {failed.number}, {failed.code}: {failed.detail}"
        worth = SIMULATED_NOTICE if self.trust == TRUST_SIMULATED else self.trust
        if self.stale:
            return f"STALE · {'; '.join(self.stale)} · it was the sum of its months, trust: {worth}"
        left_out = "" if self.compared else " · NOT COMPARED: published months"
        return f"VERIFIED · the sum of its twelve months · trust: {worth}{left_out}"

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        steps = [asdict(step) | {"status": step.status.value} for step in self.steps]
        return asdict(self) | {"steps": steps, "outcome": self.outcome.value, "verdict": self.verdict}


def verify_year(
    folder: Path,
    accept: Acceptance,
    published: Published | None = None,
    *,
    expected: tuple[str, str] | None = None,
) -> YearReport:
    """Judge the year in a folder. Never raises for what the folder holds; see the report.

    :param expected: job and year that it must be of; None: whatever its statement says.
    :param published: tells what is published now; None compares nothing with it.
    """
    steps = _Steps(folder, accept, expected)
    results = run_checks(steps.checks())
    report = YearReport(accept.policy.label, steps.year or "unknown", results, months=steps.bound)
    if not report.passed:
        return report
    report = replace(report, trust=accept.policy.trust)
    return compared(report, published) if published else report


def compared(report: YearReport, published: Published) -> YearReport:
    """Return the report of a verified year with the months that are published otherwise by now."""
    return replace(report, stale=stale_months(report.months, published), compared=True)


def stale_months(bound: Mapping[str, str], published: Published) -> tuple[str, ...]:
    """Return which months are no longer published as they were added up, each with what became of it.

    :param bound: ``YYYY-MM`` → hex SHA-256 of the `evidence.json` that was added up.
    """
    found = []
    for month, digest in bound.items():
        now = published(month)
        if now is None:
            found.append(f"{month} is no longer published")
        elif now[1] != digest:
            found.append(f"{month} was replaced by version {now[0]}")
    return tuple(found)


class _Steps:
    """The steps over one folder; each uses what those before it have found."""

    def __init__(self, folder: Path, accept: Acceptance, expected: tuple[str, str] | None) -> None:
        self.folder = folder
        self.accept = accept
        self.expected = expected
        self.year = self.job = ""
        self.given: dict[str, Any] = {}
        self.content = b""
        self.files: dict[str, str] = {}
        self.months: list[VerifiedMonth] = []

    @property
    def bound(self) -> dict[str, str]:
        """The months that were verified: ``YYYY-MM`` → digest of the evidence."""
        return {month.month: month.evidence_sha256 for month in self.months}

    def checks(self) -> list[Check]:
        return [
            (YearStep.STATEMENT, self.statement),
            (YearStep.FILES, self.files_match),
            (YearStep.MONTHS, self.twelve_months),
            (YearStep.EVIDENCE, self.months_verify),
            (YearStep.ONE_KIND, self.one_kind),
            (YearStep.BOUND, self.bound_to_months),
            (YearStep.SUM, self.sum_again),
            (YearStep.REPORT, self.report_agrees),
        ]

    def statement(self) -> str:
        self.content = self.read(STATEMENT, MAX_STATEMENT_BYTES)
        self.given = read_statement(self.content)
        predicate = self.given.get("predicate")
        claimed = predicate if isinstance(predicate, dict) else {}
        year, job = str(claimed.get("year")), str(claimed.get("job"))
        months_of_year(year)
        if job not in YEARS:
            raise statement_error(f"job {job}", f"one of {', '.join(YEARS)}")
        if self.expected not in (None, (job, year)):
            raise statement_error(f"{job} {year}", " ".join(self.expected or ()))
        self.year, self.job = year, job
        return f"{self.job} {self.year}, made {claimed.get('made_at')} by {claimed.get('run_id')}"

    def files_match(self) -> str:
        try:
            self.files = {each["name"]: each["digest"]["sha256"] for each in self.given["subject"]}
        except (KeyError, TypeError) as error:
            raise statement_error(f"subject: {error!r}", "names with digests") from error
        require_digests(self.files, self.folder, {"envelope.json": _refuse_envelope})
        return f"{len(self.files)} files"

    def twelve_months(self) -> str:
        expected = list(months_of_year(self.year))
        found = sorted({name.split("/")[1] for name in self.files if name.startswith(f"{MONTHS}/")})
        missing = [month for month in expected if month not in found]
        more = [name for name in found if name not in expected]
        if missing or more:
            got = [*(f"no {month}" for month in missing), *(f"also {name}" for name in more)]
            raise VerificationError(
                "The year is not made of its twelve months.",
                code="year-months",
                got=", ".join(got),
                expected=f"{expected[0]} … {expected[-1]}",
                action="run the missing months, then the year's DAG again",
            )
        return f"{expected[0]} … {expected[-1]}"

    def months_verify(self) -> str:
        for month in months_of_year(self.year):
            self.months.append(verify_month(self.folder / MONTHS / month, month, self.job, self.accept))
        judged = "at the given time" if self.accept.at else "each at the end of its own run"
        measured = sorted({str(month.report.facts.mrenclave)[:12] for month in self.months})
        steps = len(self.months[0].report.steps)
        return f"12 months × {steps} steps PASS, {judged}; MRENCLAVE {', '.join(measured)}"

    def one_kind(self) -> str:
        require_one_kind(self.months)
        return "real rows" if not self.months[0].synthetic else "SYNTHETIC rows, as the months' reports say"

    def bound_to_months(self) -> str:
        making = Making.of(self.given)
        trust = self.accept.policy.trust
        expected = make_statement(self.year, self.job, trust, self.months, self.files, making)
        require_same(self.given, expected)
        return "evidence, results, measurement, run, program and arguments of each"

    def sum_again(self) -> str:
        given = self.document(SUMMARY)
        summaries = {month.month: month.summary for month in self.months}
        expected = add_up(self.job, self.year, summaries)
        try:
            require_same({"summary": given}, {"summary": expected})
        except VerificationError as error:
            _refuse_sum(error)
        return f"{len(self.months)} summaries"

    def report_agrees(self) -> str:
        expected = year_report(self.given, self.content)
        require_same({"report": self.document(REPORT)}, {"report": expected})
        return "trust, notice, run and months"

    def document(self, name: str) -> Any:
        content = self.read(name, MAX_DOCUMENT_BYTES)
        malformed = Refusal.COMPANION_MISMATCH
        return strict_json.loads(content, what=name, max_bytes=MAX_DOCUMENT_BYTES, malformed=malformed)

    def read(self, name: str, limit: int) -> bytes:
        try:
            return read_regular(self.folder / name, limit)
        except (OSError, ValueError) as error:
            raise statement_error(f"{name}: {error}", "a readable file") from error


def year_report(statement: Mapping[str, Any], content: bytes) -> dict[str, Any]:
    """Return the year's `report.json`: what it is worth, in one page.

    :param content: the statement as it is written.
    """
    predicate = statement["predicate"]
    names = ("job", "year", "trust", "notice", "synthetic", "computed", "run_id", "made_at")
    months = {each["name"].removeprefix("month="): each["version"] for each in predicate["materials"]}
    told = {name: predicate[name] for name in names}
    return {"v": 1, **told, "months": months, "evidence_sha256": sha256(content).hexdigest()}


def require_one_kind(months: list[VerifiedMonth]) -> None:
    """Accept months whose sum means something.

    :raises VerificationError: ``year-months-differ``, with the first two neighbours that differ.
    """
    for one, other in pairwise(months):
        for name, value in one.kind.items():
            if value != other.kind[name]:
                raise VerificationError(
                    "The months were not computed alike, so their sum would mean nothing.",
                    code="year-months-differ",
                    got=f"{name} of {one.month}: {value}; of {other.month}: {other.kind[name]}",
                    expected="the same for all twelve months",
                    action="run the months that differ again, with one program and the same options",
                )


def _refuse_envelope(envelope: JsonObject) -> None:
    raise statement_error(envelope.what, f"no file besides the listed ones, {' and '.join(_OWN)}")


def _refuse_sum(error: VerificationError) -> NoReturn:
    raise VerificationError(
        "The year's summary is not the sum of its months.",
        code="year-sum",
        got=error.got,
        expected=error.expected,
        action="treat it as an incident: the statement lists these very files",
    ) from error


_OWN = sorted(COMPANIONS - {"envelope.json"})
