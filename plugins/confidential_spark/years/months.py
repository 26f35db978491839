"""One month of a year, verified as an outsider would verify it, and what the year's statement says of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from confidential_spark.core.errors import VerificationError
from confidential_spark.verification import Outcome, verify_evidence
from confidential_spark.verification.evidence.bundle import MAX_EVIDENCE_BYTES
from confidential_spark.verification.evidence.claims import Claims
from confidential_spark.verification.refusals import Refusal
from confidential_spark.verification.safe_files import read_regular

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from confidential_spark.verification import Policy, VerificationReport
    from confidential_spark.verification.policy.ledger import Ledger

MAX_DOCUMENT_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class Acceptance:
    """What a month's evidence must satisfy.

    :param jwks: the issuer's keys; None takes each bundle's own, which a policy must pin.
    :param ledger: approved measurements, or their file; None takes the policy's.
    :param job_file_sha256: of the program that must have run; None compares no program with it.
    :param at: the clock; None judges each month at the end of its own run, because tokens expire in hours.
    """

    policy: Policy
    jwks: bytes | Mapping[str, Any] | None = None
    ledger: Ledger | Path | None = None
    job_file_sha256: str | None = None
    at: datetime | None = None


@dataclass(frozen=True)
class VerifiedMonth:
    """A month whose evidence and results have passed every step.

    :param synthetic: whether its `report.json` says that its rows are made up; nothing signs that.
    """

    month: str
    evidence_sha256: str
    report: VerificationReport
    summary: Mapping[str, Any]
    synthetic: bool

    def material(self, version: str) -> dict[str, Any]:
        """Return what the year's statement says of it.

        :param version: the name that it was published under.
        """
        facts = self.report.facts
        return {
            "name": f"month={self.month}",
            "digest": {"sha256": self.evidence_sha256},
            "version": version,
            "run_id": facts.run_id,
            "mrenclave": facts.mrenclave,
            "mrsigner": facts.mrsigner,
            "image_digest": facts.image_digest,
            "job_file_sha256": facts.job_file_sha256,
            "arguments": list(facts.arguments or ()),
            "finished_at": facts.finished_at,
            "results": dict(sorted((facts.results or {}).items())),
        }

    @property
    def kind(self) -> dict[str, Any]:
        """What all months of a year must share, or their sum means nothing."""
        facts = self.report.facts
        return {
            "program": facts.job_file_sha256,
            "arguments": [part for part in facts.arguments or () if part != self.month],
            "options": self.summary.get("options"),
            "synthetic": self.synthetic,
        }


def verify_month(folder: Path, month: str, job: str, accept: Acceptance) -> VerifiedMonth:
    """Verify the month in a folder.

    :param month: ``YYYY-MM``.
    :param job: the name of the job that must have run.
    :raises VerificationError: ``year-month-refused``, which names the month, the step and its reason; the
        step's own code where it is the checking side that lacks something, such as the issuer's keys.
    """
    try:
        evidence = read_regular(folder / "evidence.json", MAX_EVIDENCE_BYTES)
        report = verify_evidence(
            evidence=evidence,
            results=folder,
            policy=accept.policy,
            now=accept.at or Claims.of(evidence).end or datetime.now(UTC),
            jwks=accept.jwks,
            ledger=accept.ledger,
            expected_month=month,
            expected_job_file_sha256=accept.job_file_sha256,
        )
        _require_passed(month, report)
        if report.facts.job_name != job:
            raise refused(month, f"made by job {report.facts.job_name}, not {job}")
        summary, told = (_document(folder, name) for name in ("summary.json", "report.json"))
    except (OSError, ValueError) as error:
        raise refused(month, str(error)) from error
    return VerifiedMonth(
        month, sha256(evidence).hexdigest(), report, summary, synthetic=told.get("synthetic") is not False
    )


def _require_passed(month: str, report: VerificationReport) -> None:
    failed = report.failure
    if report.passed:
        return
    if failed is None or report.outcome is not Outcome.NOT_CHECKED:
        raise refused(month, f"step {failed.number}, {failed.code}: {failed.got}" if failed else "no step")
    raise VerificationError(
        f"{month} cannot be verified here: {failed.detail}",
        code=failed.code or Refusal.CHECK_CRASHED.value,
        got=failed.got,
        expected=failed.expected,
        action=failed.action,
    )


def refused(month: str, got: str) -> VerificationError:
    """Return why a month cannot be part of a year."""
    return VerificationError(
        "A month of the year does not verify.",
        code="year-month-refused",
        got=f"{month}: {got}",
        expected="twelve months that pass every step",
        action=f"treat {month} as an incident; run it again once the cause is known",
    )


def _document(folder: Path, name: str) -> dict[str, Any]:
    value = json.loads(read_regular(folder / name, MAX_DOCUMENT_BYTES))
    if not isinstance(value, dict):
        raise ValueError(f"{name} is not a JSON object")
    return value
