"""The verification of every month and year of a bundle, each by itself and all by one policy."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from confidential_spark.audit.contents import read
from confidential_spark.audit.manifest import MONTHS_FOLDER
from confidential_spark.audit.months import whole_years
from confidential_spark.audit.report import BundleReport, PeriodVerdict, Verdict
from confidential_spark.verification import VerificationReport, verify_evidence
from confidential_spark.verification.evidence.bundle import MAX_EVIDENCE_BYTES
from confidential_spark.verification.evidence.claims import Claims
from confidential_spark.verification.refusals import Refusal
from confidential_spark.years.bundled import judge_year
from confidential_spark.years.months import Acceptance

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from os import PathLike

    from confidential_spark.audit.basis import Basis
    from confidential_spark.audit.contents import Contents, Fault
    from confidential_spark.audit.manifest import Manifest
    from confidential_spark.years.verify import YearReport

EVIDENCE = "evidence.json"


def judge_month(
    month: str, dag_id: str, evidence: bytes, results: Mapping[str, bytes] | str | PathLike[str], basis: Basis
) -> VerificationReport:
    """Verify one month as one of a DAG.

    :param dag_id: whose run it must be.
    :raises InputError: ``audit-policy-missing``.
    """
    claims = Claims.of(evidence)
    policy, digests = basis.accepted_policy(), basis.job_digests
    program = claims.job_file_sha256 if claims.job_file_sha256 in digests else next(iter(digests), None)
    own_run = claims.run_id.startswith(f"{dag_id}/")
    return verify_evidence(
        evidence=evidence,
        results=results,
        policy=policy,
        now=basis.at or claims.end or datetime.now(UTC),
        jwks=basis.jwks,
        ledger=basis.ledger if policy.identities.needs_ledger else None,
        expected_run_id=claims.run_id if own_run else f"{dag_id}/",
        expected_month=month,
        expected_job_file_sha256=program,
    )


def judge_bundle(
    contents: Contents, manifest: Manifest, months: Sequence[str], basis: Basis, found: Sequence[Fault] = ()
) -> BundleReport:
    """Verify the months of a bundle, and the years of which all months are among them.

    :param months: which; those that are not in the bundle are missing.
    :param found: what is wrong with the bundle's files.
    :raises VerificationError: ``audit-bundle-malformed``: the archive itself is broken.
    :raises OSError: a copy of a month's files cannot be written.
    """
    return BundleReport(
        manifest=manifest,
        verdicts=tuple(_verdict(contents, manifest, month, basis) for month in months),
        years=tuple(
            PeriodVerdict(year, *_of_year(contents, manifest, year, basis))
            for year in whole_years(months)
            if manifest.years is not None
        ),
        policy=basis.accepted_policy(),
        from_bundle=basis.from_bundle,
        faults=tuple(found),
    )


def _of_year(
    contents: Contents, manifest: Manifest, year: str, basis: Basis
) -> tuple[Verdict, str, str, YearReport | None]:
    policy = basis.accepted_policy()
    ledger = basis.ledger if policy.identities.needs_ledger else None
    accept = Acceptance(policy, jwks=basis.jwks, ledger=ledger, at=basis.at)
    found = judge_year(contents, (manifest.job, year), accept, basis.job_digests)
    return Verdict(found.word), found.code, found.detail, found.report


def _verdict(contents: Contents, manifest: Manifest, month: str, basis: Basis) -> PeriodVerdict:
    below = f"{MONTHS_FOLDER}/{month}"
    if not any(name.startswith(f"{below}/") for name in contents.names()):
        entry = manifest.months.get(month)
        detail = f"the bundle says: {entry.found} {entry.reason}" if entry and entry.reason else ""
        return PeriodVerdict(month, Verdict.MISSING, detail=detail)
    name = f"{below}/{EVIDENCE}"
    evidence = read(contents, name)[: MAX_EVIDENCE_BYTES + 1] if name in contents.names() else b""
    with contents.folder(below) as results:
        report = judge_month(month, manifest.dag_id, evidence, results, basis)
    job = report.facts.job_name
    if report.passed and job != manifest.job:
        # A run's id is the pipeline's choice, so it does not tell which job ran.
        detail = f"the enclave ran {job}, the bundle says {manifest.job}"
        return PeriodVerdict(month, Verdict.REFUSED, code=Refusal.JOB_MISMATCH, detail=detail, report=report)
    return PeriodVerdict.of(month, report)
