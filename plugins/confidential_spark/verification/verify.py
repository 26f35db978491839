"""The verification of attestation and evidence; docs/verification.md is its manual.

Every step fails closed, the first failure ends the verification, and no input makes these functions raise.
"""

from __future__ import annotations

import json
import os
from collections.abc import Container, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from confidential_spark.agent.protocol import RESERVED_JOBS, SIMULATED_NOTICE, TRUST_SIMULATED, JobIdentity
from confidential_spark.verification.context import Context, Expectations, require_bytes
from confidential_spark.verification.evidence.bundle import MAX_EVIDENCE_BYTES, Evidence
from confidential_spark.verification.evidence.executors import read_executors, verify_executors
from confidential_spark.verification.evidence.result_files import Companions, read_json, require_digests
from confidential_spark.verification.evidence.run_report import require_agreement
from confidential_spark.verification.evidence.statement import read_record, require_signature, require_times
from confidential_spark.verification.refusals import Refusal, refuse, require_equal
from confidential_spark.verification.report import (
    NOT_COMPARED,
    Check,
    Step,
    VerificationReport,
    VerifiedFacts,
)
from confidential_spark.verification.steps import AttestationSteps

if TYPE_CHECKING:
    from datetime import datetime

    from confidential_spark.verification.context import JsonSource, LedgerSource, PolicySource
    from confidential_spark.verification.evidence.statement import RunRecord
    from confidential_spark.verification.json_object import JsonObject

__all__ = ["JobIdentity", "VerificationReport", "verify_attestation", "verify_evidence"]


def verify_attestation(
    *,
    token: str | bytes,
    jwks: JsonSource,
    quote: bytes,
    runtime_data: bytes,
    collateral: JsonSource,
    policy: PolicySource,
    now: datetime,
    expected_nonce: bytes | None = None,
    expected_run_id: str | None = None,
    expected_job: JobIdentity | None = None,
    run_started_at: datetime | None = None,
    seen_nonces: Container[object] = (),
    seen_token_ids: Container[object] = (),
    ledger: LedgerSource | None = None,
    claimed_trust: str | None = None,
) -> VerificationReport:
    """Judge a token with its quote and runtime data: steps 1 to 10 and 13. Never raises; see the report.

    The caller MUST have the ``jwks`` from the policy's issuer, not from the sender of the token.

    docs/verification.md describes every parameter.

    :param collateral: dcap-qvl's ``QuoteCollateralV3`` as JSON.
    :param expected_nonce: the 32 bytes minted for this run; None is not compared, like every expectation.
    """
    known = (expected_nonce, expected_run_id, expected_job, run_started_at, seen_nonces, seen_token_ids)
    context = Context(policy, now, Expectations(*known, claimed_trust=claimed_trust), ledger)
    steps = AttestationSteps(context, jwks=jwks, collateral=collateral)

    def trust() -> str:
        level = context.policy.trust
        if claimed_trust is None:
            return f"{_notice(level) or level}, claimed level {NOT_COMPARED}"
        return _require_trust(level, claimed_trust)

    decode = partial(steps.decode_inputs, token, quote, runtime_data)
    checks: list[Check] = [(Step.PREPARE, steps.prepare), (Step.DECODE, decode), *steps.checks()]
    return context.report([*checks, (Step.TRUST, trust)])


def verify_evidence(
    *,
    evidence: bytes,
    results: Mapping[str, bytes] | str | os.PathLike[str],
    policy: PolicySource,
    now: datetime,
    jwks: JsonSource | None = None,
    expected_nonce: bytes | None = None,
    expected_run_id: str | None = None,
    expected_job: JobIdentity | None = None,
    run_started_at: datetime | None = None,
    seen_nonces: Container[object] = (),
    seen_token_ids: Container[object] = (),
    ledger: LedgerSource | None = None,
    expected_image_digest: str | None = None,
    expected_month: str | None = None,
    expected_job_file_sha256: str | None = None,
) -> VerificationReport:
    """Judge a run's evidence and results: all thirteen steps. Never raises; see the report.

    :param evidence: the bytes of ``evidence.json``.
    :param results: the result files: contents by name, or their folder.
    :param jwks: the issuer's key set, fetched by the caller. None takes the bundle's snapshot, which is
        possible only when the policy pins the signing keys.
    :param expected_image_digest: ``sha256:`` and hex digits, of the image that was to run. The statement's is
        what the host told the enclave, so it identifies an image and proves nothing that step 6 does not.
    :param expected_month: ``YYYY-MM``, the month that the results must be about.
    :param expected_job_file_sha256: for callers with the job's file who do not know its arguments.

    The other parameters are those of :func:`verify_attestation`.
    """
    known = (expected_nonce, expected_run_id, expected_job, run_started_at, seen_nonces, seen_token_ids)
    of_results = (expected_image_digest, None, expected_month, expected_job_file_sha256)
    context = Context(policy, now, Expectations(*known, *of_results), ledger)
    steps = _EvidenceSteps(context, evidence, results, jwks)
    if steps.claims_other_trust():
        return context.report([(Step.PREPARE, context.prepare), (Step.TRUST, steps.trust)])
    attested = [(Step.PREPARE, steps.prepare), (Step.DECODE, steps.decode), *steps.checks()]
    signed = [(Step.STATEMENT, steps.statement), (Step.RESULTS, steps.results_match)]
    return context.report([*attested, *signed, (Step.TRUST, steps.trust)])


class _EvidenceSteps(AttestationSteps):
    """Steps 1 to 13 of one bundle."""

    evidence: Evidence
    record: RunRecord

    def __init__(self, context: Context, evidence: object, results: object, jwks: object) -> None:
        super().__init__(context, jwks=jwks, collateral=None)
        self.data = evidence
        self.results = results

    @property
    def lacks_keys(self) -> bool:
        """Whether nothing says which signing keys to trust."""
        return self.jwks is None and self.context.policy.attestation.token_signing_keys is None

    def claims_other_trust(self) -> bool:
        """Whether fetching the missing keys would be in vain, as the evidence contradicts the policy itself.

        Nothing is verified yet, so the claim can only refuse.
        """
        try:
            if not self.lacks_keys:
                return False
            self.evidence = Evidence.parse(require_bytes(self.data, "evidence", MAX_EVIDENCE_BYTES))
        except Exception:  # the steps will meet the same fault and name it
            return False
        return bool(self.evidence.statement.predicate.members.get("trust") != self.context.policy.trust)

    def prepare(self) -> str:
        if self.jwks is not None:
            return super().prepare()
        label, issuer = self.context.prepare(), self.context.policy.attestation.issuer
        if self.lacks_keys:
            message = "The bundle's own key set cannot be trusted: the policy pins no signing key."
            got, expected = "no key set", f"the key set of {issuer}"
            action = f"fetch {issuer}/certs and give the file (--jwks)"
            refuse(Refusal.JWKS_MISSING, message, got=got, expected=expected, action=action)
        return label

    def decode(self) -> str:
        self.evidence = Evidence.parse(require_bytes(self.data, "evidence", MAX_EVIDENCE_BYTES))
        self.collateral = self.evidence.collateral
        if self.jwks is None:
            self.jwks = self.evidence.jwks
            self.own_keys = True
        attested = self.evidence.statement.attested
        return self.decode_inputs(attested.token, attested.quote, attested.runtime_data)

    def statement(self) -> str:
        statement, context, expected = self.evidence.statement, self.context, self.context.expectations
        if self.runtime.job.name in RESERVED_JOBS:
            refuse(Refusal.JOB_RESERVED, got=self.runtime.job.name, expected="a job of the image")
        require_signature(statement, self.runtime.key, self.runtime.thumbprint)
        record = self.record = read_record(statement, self.runtime)
        skew = context.policy.attestation.clock_skew
        require_times(record, self.times.issued_at, context.now, skew, expected.run_started_at)
        if expected.image_digest is not None:
            require_equal(Refusal.IMAGE_DIGEST_MISMATCH, record.image_digest, expected.image_digest)
        if expected.month is not None:
            message = "The results are about another month."
            require_equal(Refusal.STATEMENT_MISMATCH, record.month or "no month", expected.month, message)
        executors = read_executors(statement.predicate.under(Refusal.STATEMENT_PREDICATE))
        attested = verify_executors(executors, self) if executors else None
        names = ("month", "image_digest", "started_at", "finished_at", "arguments", "inputs")
        context.facts |= {name: getattr(record, name) for name in names} | {"executors": attested}
        parts = [f"ECDSA P-256, key {self.runtime.thumbprint}", f"{len(record.results)} result files"]
        month = f"month {record.month}"
        parts += [context.compared("month", expected.month, month) if record.month else "no month"]
        compared = (("image digest", expected.image_digest), ("arguments", expected.job))
        parts += [context.compared(name, value) for name, value in compared]
        return ", ".join([*parts, f"{len(attested)} executors attested"] if attested else parts)

    def results_match(self) -> str:
        results, envelope = _results(self.results), self.evidence.statement.envelope
        rules: Companions = {
            "envelope.json": partial(_require_same, envelope),
            "evidence.json": partial(_require_same, self.evidence.bundle),
            "report.json": partial(self.require_report, results),
        }
        require_digests(self.record.results, results, rules)
        self.context.facts |= {"results": self.record.results}
        return f"{len(self.record.results)} files"

    def require_report(self, results: Mapping[str, bytes] | Path, report: JsonObject) -> None:
        facts = asdict(VerifiedFacts(**self.context.facts, results=self.record.results))
        claims = {name: self.evidence.statement.predicate.members[name] for name in ("trust", "notice")}
        summary = read_json(results, "summary.json").members if "summary.json" in self.record.results else {}
        require_agreement(report, json.loads(json.dumps(facts)) | claims, summary)

    def trust(self) -> str:
        predicate, trust = self.evidence.statement.predicate.members, self.context.policy.trust
        detail = _require_trust(trust, predicate.get("trust"))
        for got in (predicate.get("notice"), self.evidence.notice):
            require_equal(Refusal.NOTICE_MISMATCH, got, _notice(trust))
        return detail


def _require_same(document: JsonObject, found: JsonObject) -> None:
    if found.members != document.members:
        expected, action = "the same JSON as in the verified evidence", f"remove {found.what}"
        refuse(Refusal.COMPANION_MISMATCH, got=found.what, expected=expected, action=action)


def _results(results: object) -> Mapping[str, bytes] | Path:
    if isinstance(results, Mapping):
        return results
    if not isinstance(results, (str, os.PathLike)):
        message, expected = "The results have the wrong type.", "a mapping of names to bytes, or a folder"
        refuse(Refusal.INPUT_TYPE, message, got=type(results).__name__, expected=expected)
    return Path(results)


def _require_trust(trust: str, claimed: object) -> str:
    require_equal(Refusal.TRUST_MISMATCH, claimed, trust)
    return f"{_notice(trust) or trust}, as claimed"


def _notice(trust: str) -> str | None:
    return SIMULATED_NOTICE if trust == TRUST_SIMULATED else None
