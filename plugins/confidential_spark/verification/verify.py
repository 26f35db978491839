"""The verification of attestation and evidence; docs/verification.md is its manual.

Every step fails closed, the first failure ends the verification, and no input makes these functions raise.
"""

from __future__ import annotations

import os
from collections.abc import Container, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from confidential_spark.agent.protocol import (
    SIMULATED_NOTICE,
    TRUST_SIMULATED,
    JobIdentity,
)
from confidential_spark.verification.context import (
    Context,
    Expectations,
    JsonSource,
    LedgerSource,
    PolicySource,
    require_bytes,
)
from confidential_spark.verification.evidence.bundle import MAX_EVIDENCE_BYTES, Evidence
from confidential_spark.verification.evidence.executors import read_executors, verify_executors
from confidential_spark.verification.evidence.result_files import require_digests
from confidential_spark.verification.evidence.statement import read_record, require_signature, require_times
from confidential_spark.verification.json_object import JsonObject
from confidential_spark.verification.refusals import Refusal, refuse
from confidential_spark.verification.report import NOT_COMPARED, Step, VerificationReport
from confidential_spark.verification.steps import AttestationSteps

if TYPE_CHECKING:
    from datetime import datetime

    from confidential_spark.verification.evidence.statement import RunRecord

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

    The caller MUST have the ``jwks`` from the policy's issuer, not from whoever sent the token.

    docs/verification.md describes every parameter.

    :param collateral: dcap-qvl's ``QuoteCollateralV3`` as JSON.
    :param expected_nonce: the 32 bytes minted for this run; None is not compared, like every expectation.
    """
    expectations = Expectations(
        expected_nonce,
        expected_run_id,
        expected_job,
        run_started_at,
        seen_nonces,
        seen_token_ids,
        claimed_trust=claimed_trust,
    )
    context = Context(policy, now, expectations, ledger)
    steps = AttestationSteps(context, jwks=jwks, collateral=collateral)
    return context.report(
        [
            (Step.PREPARE, context.prepare),
            (Step.DECODE, lambda: steps.take(token, quote, runtime_data)),
            *steps.checks(),
            (Step.TRUST, lambda: _attested_trust(context.policy.trust, claimed_trust)),
        ]
    )


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
    :param expected_job_file_sha256: for who has the job's file and does not know its arguments.

    The other parameters are those of :func:`verify_attestation`.
    """
    expectations = Expectations(
        expected_nonce,
        expected_run_id,
        expected_job,
        run_started_at,
        seen_nonces,
        seen_token_ids,
        expected_image_digest,
        month=expected_month,
        job_file_sha256=expected_job_file_sha256,
    )
    context = Context(policy, now, expectations, ledger)
    steps = _EvidenceSteps(context, evidence, results, jwks)
    if steps.claims_other_trust():
        return context.report([(Step.PREPARE, context.prepare), (Step.TRUST, steps.trust)])
    return context.report(
        [
            (Step.PREPARE, steps.prepare),
            (Step.DECODE, steps.decode),
            *steps.checks(),
            (Step.STATEMENT, steps.statement),
            (Step.RESULTS, steps.results_match),
            (Step.TRUST, steps.trust),
        ]
    )


class _EvidenceSteps(AttestationSteps):
    """Steps 1 to 13 of one bundle."""

    evidence: Evidence
    record: RunRecord

    def __init__(
        self,
        context: Context,
        evidence: bytes,
        results: Mapping[str, bytes] | str | os.PathLike[str],
        jwks: JsonSource | None,
    ) -> None:
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
        label = self.context.prepare()
        issuer = self.context.policy.attestation.issuer
        if self.lacks_keys:
            refuse(
                Refusal.JWKS_MISSING,
                "The bundle's own key set cannot be trusted: the policy pins no signing key.",
                got="no key set",
                expected=f"the key set of {issuer}",
                action=f"fetch {issuer}/certs and give the file (--jwks)",
            )
        return label

    def decode(self) -> str:
        self.evidence = Evidence.parse(require_bytes(self.data, "evidence", MAX_EVIDENCE_BYTES))
        self.collateral = self.evidence.collateral
        if self.jwks is None:
            self.jwks = self.evidence.jwks
        attested = self.evidence.statement.attested
        return self.take(attested.token, attested.quote, attested.runtime_data)

    def statement(self) -> str:
        statement = self.evidence.statement
        require_signature(statement, self.runtime.key, self.runtime.thumbprint)
        record = read_record(statement, self.runtime)
        policy, expected = self.context.policy.attestation, self.context.expectations
        now, launched = self.context.now, expected.run_started_at
        require_times(record, self.times.issued_at, now, policy.clock_skew, launched)
        compared = _image_digest_compared(record.image_digest, expected.image_digest)
        month = _month_compared(record.month, expected.month)
        executors = read_executors(
            JsonObject("predicate", statement.predicate.members, Refusal.STATEMENT_PREDICATE)
        )
        attested = verify_executors(executors, self) if executors else None
        self.record = record
        self.context.facts |= {
            "month": record.month,
            "image_digest": record.image_digest,
            "started_at": record.started_at,
            "finished_at": record.finished_at,
            "executors": attested,
        }
        others = f", {len(attested)} executors attested" if attested else ""
        files = f"{len(record.results)} result files"
        return f"ECDSA P-256, key {self.runtime.thumbprint}, {files}, {month}, {compared}{others}"

    def results_match(self) -> str:
        require_digests(self.record.results, _results(self.results))
        self.context.facts |= {"results": self.record.results}
        return f"{len(self.record.results)} files"

    def trust(self) -> str:
        predicate = self.evidence.statement.predicate.members
        detail = _require_trust(self.context.policy.trust, predicate.get("trust"))
        expected = SIMULATED_NOTICE if self.context.policy.trust == TRUST_SIMULATED else None
        for got in (predicate.get("notice"), self.evidence.notice):
            if got != expected:
                refuse(
                    Refusal.NOTICE_MISMATCH, "The notice is wrong.", got=repr(got), expected=repr(expected)
                )
        return detail


def _image_digest_compared(got: str, expected: str | None) -> str:
    if expected is None:
        return f"image digest {NOT_COMPARED}"
    if got != expected:
        refuse(
            Refusal.IMAGE_DIGEST_MISMATCH, "The statement names another image.", got=got, expected=expected
        )
    return "image digest as expected"


def _month_compared(got: str | None, expected: str | None) -> str:
    if expected is None:
        return f"month {got} {NOT_COMPARED}" if got else "no month"
    if got != expected:
        refuse(
            Refusal.STATEMENT_MISMATCH,
            "The results are about another month.",
            got=got or "no month",
            expected=expected,
        )
    return f"month {got} as expected"


def _results(results: object) -> Mapping[str, bytes] | Path:
    if isinstance(results, Mapping):
        return results
    if not isinstance(results, (str, os.PathLike)):
        refuse(
            Refusal.INPUT_TYPE,
            "The results have the wrong type.",
            got=type(results).__name__,
            expected="a mapping of names to bytes, or a folder",
        )
    return Path(results)


def _attested_trust(trust: str, claimed: object) -> str:
    if claimed is None:
        return f"{_meaning(trust)}, claimed level {NOT_COMPARED}"
    return _require_trust(trust, claimed)


def _require_trust(trust: str, claimed: object) -> str:
    if claimed != trust:
        refuse(
            Refusal.TRUST_MISMATCH,
            "Evidence and policy are about different levels of trust.",
            got=repr(claimed),
            expected=trust,
        )
    return f"{_meaning(trust)}, as claimed"


def _meaning(trust: str) -> str:
    return SIMULATED_NOTICE if trust == TRUST_SIMULATED else trust
