"""The verification of every month of a bundle, each by itself and all by one policy."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from confidential_spark.audit.contents import read
from confidential_spark.audit.manifest import MONTHS_FOLDER
from confidential_spark.audit.report import BundleReport, MonthVerdict, Verdict
from confidential_spark.core.errors import ConfidentialSparkError
from confidential_spark.verification import Outcome, VerificationReport, verify_evidence
from confidential_spark.verification.evidence.bundle import MAX_EVIDENCE_BYTES, Evidence
from confidential_spark.verification.refusals import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from os import PathLike

    from confidential_spark.audit.basis import Basis
    from confidential_spark.audit.contents import Contents, Fault
    from confidential_spark.audit.manifest import Manifest

EVIDENCE = "evidence.json"
WORDS = {
    Outcome.VERIFIED: Verdict.VERIFIED,
    Outcome.REFUSED: Verdict.REFUSED,
    Outcome.NOT_CHECKED: Verdict.NOT_CHECKED,
}


@dataclass(frozen=True)
class Claims:
    """What evidence says before anything is verified: it chooses by what to judge, and can only refuse."""

    run_id: str = ""
    job_file: str = ""
    at: datetime | None = None

    @classmethod
    def of(cls, evidence: bytes) -> Claims:
        """Read evidence; what is malformed claims nothing."""
        try:
            members = Evidence.parse(evidence).statement.predicate.members
        except ConfidentialSparkError:
            return cls()
        job = members.get("job")
        return cls(
            run_id=_text(members.get("run_id")),
            job_file=_text(job.get("file_sha256")) if isinstance(job, dict) else "",
            at=_moment(members.get("finished_at")),
        )


def judge_month(
    month: str, dag_id: str, evidence: bytes, results: Mapping[str, bytes] | str | PathLike[str], basis: Basis
) -> VerificationReport:
    """Verify one month as one of a DAG.

    :param dag_id: whose run it must be.
    :raises InputError: ``audit-policy-missing``.
    """
    claims = Claims.of(evidence)
    policy, digests = basis.accepted_policy(), basis.job_digests
    own_run = claims.run_id.startswith(f"{dag_id}/")
    return verify_evidence(
        evidence=evidence,
        results=results,
        policy=policy,
        now=basis.at or claims.at or datetime.now(UTC),
        jwks=basis.jwks,
        ledger=basis.ledger if policy.identities.needs_ledger else None,
        expected_run_id=claims.run_id if own_run else f"{dag_id}/",
        expected_month=month,
        expected_job_file_sha256=claims.job_file if claims.job_file in digests else next(iter(digests), None),
    )


def judge_bundle(
    contents: Contents, manifest: Manifest, months: Sequence[str], basis: Basis, found: Sequence[Fault] = ()
) -> BundleReport:
    """Verify the months of a bundle.

    :param months: which; those that are not in the bundle are missing.
    :param found: what is wrong with the bundle's files.
    :raises VerificationError: ``audit-bundle-malformed``: the archive itself is broken.
    :raises OSError: a copy of a month's files cannot be written.
    """
    return BundleReport(
        manifest=manifest,
        verdicts=tuple(_verdict(contents, manifest, month, basis) for month in months),
        policy=basis.accepted_policy(),
        from_bundle=basis.from_bundle,
        faults=tuple(found),
    )


def _verdict(contents: Contents, manifest: Manifest, month: str, basis: Basis) -> MonthVerdict:
    below = f"{MONTHS_FOLDER}/{month}"
    if not any(name.startswith(f"{below}/") for name in contents.names()):
        entry = manifest.months.get(month)
        detail = f"the bundle says: {entry.found} {entry.reason}" if entry and entry.reason else ""
        return MonthVerdict(month, Verdict.MISSING, detail=detail)
    name = f"{below}/{EVIDENCE}"
    evidence = read(contents, name)[: MAX_EVIDENCE_BYTES + 1] if name in contents.names() else b""
    with contents.folder(below) as results:
        report = judge_month(month, manifest.dag_id, evidence, results, basis)
    job = report.facts.job_name
    if report.passed and job != manifest.job:
        # A run's id is the pipeline's choice, so it does not tell which job ran.
        detail = f"the enclave ran {job}, the bundle says {manifest.job}"
        return MonthVerdict(month, Verdict.REFUSED, code=Refusal.JOB_MISMATCH, detail=detail, report=report)
    return MonthVerdict.of(month, WORDS[report.outcome], report)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _moment(value: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(_text(value))
        return moment if moment.utcoffset() is not None and moment.timestamp() >= 0 else None
    except (ValueError, OverflowError):
        return None
