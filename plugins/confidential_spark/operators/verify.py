"""Verify the evidence of a finished try exactly as an outsider would."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from confidential_spark.agent.protocol import (
    SIMULATED_NOTICE,
    TRUST_SIMULATED,
    JobIdentity,
    arguments_sha256,
    sha256_hex,
)
from confidential_spark.core.errors import ConfigurationError, VerificationError
from confidential_spark.core.stages import VERIFICATION_KEY
from confidential_spark.hooks.durable_files import write_staged
from confidential_spark.hooks.endpoints import attestation_endpoints
from confidential_spark.hooks.results.location import result_store
from confidential_spark.operators.attempt import EnclaveRun
from confidential_spark.operators.base import ConfidentialOperator

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from airflow.sdk import Context

    from confidential_spark.core.platforms import Platform
    from confidential_spark.hooks.collateral import CollateralHook
    from confidential_spark.operators.base import RunScope
    from confidential_spark.verification import VerificationReport
    from confidential_spark.verification.evidence.statement import Statement


class ValidationOperator(ConfidentialOperator):
    """Base of the operators that work on a finished try.

    :param platform: whose policy decides.
    :param run_result: what `run_spark` returned.
    """

    template_fields: Collection[str] = ("run_result",)

    def __init__(self, *, platform: Platform, run_result: Mapping[str, Any], **kwargs: Any) -> None:
        """Keep the platform and what `run_spark` returned."""
        super().__init__(**kwargs)
        self.platform = platform
        self.run_result = run_result

    def run(self, context: Context, scope: RunScope) -> Any:
        """Validate while nobody else may clean the try's folder away."""
        run = EnclaveRun.from_xcom(self.run_result)
        store = result_store(self.settings.results_dir, scope.dag_id)
        with store.hold(run.staging) as staging:
            return self.validate(context, scope, run, staging)

    def validate(self, context: Context, scope: RunScope, run: EnclaveRun, staging: Path) -> Any:
        """Do the work on the try's folder and return a small XCom value."""
        raise NotImplementedError


class VerifyEvidenceOperator(ValidationOperator):
    """Complete the evidence with keys and collateral, then verify all of it against the policy.

    :param image: what `resolve_image` returned.
    """

    template_fields = ("run_result", "image")

    def __init__(self, *, image: Mapping[str, Any], **kwargs: Any) -> None:
        """Keep the image whose measurement the evidence must have."""
        super().__init__(**kwargs)
        self.image = image

    def validate(self, context: Context, scope: RunScope, run: EnclaveRun, staging: Path) -> dict[str, Any]:
        """Return the verification report; its thirteen steps are also in the log."""
        report = self.verify(scope, run, staging)
        self.log.info("%s", report.text())
        # Pushed by hand, so that the page also shows the failing step of a refused run.
        context["ti"].xcom_push(key=VERIFICATION_KEY, value=report.to_dict())
        report.raise_for_failure()
        self.refuse_replay(scope, staging, report)
        passed = len(report.steps)
        self.announce(
            f"{passed} of {passed} steps PASS · policy {report.policy} · {trust_label(report.trust)}"
        )
        return report.to_dict()

    def verify(self, scope: RunScope, run: EnclaveRun, staging: Path) -> VerificationReport:
        """Write `evidence.json` and judge it exactly as an outsider would."""
        # Imported late: DAG files import this module, and need no cryptography to be parsed.
        from confidential_spark.verification import load_policy, verify_evidence

        with attestation_endpoints(self.platform, self.settings) as endpoints:
            keys = endpoints.attestation.signing_keys()
            evidence = complete_evidence(staging, endpoints.collateral, keys)
        write_staged(staging / "evidence.json", evidence)
        return verify_evidence(
            evidence=evidence,
            results=staging,
            jwks=keys,
            policy=load_policy(self.settings.policy_path(self.platform)),
            now=datetime.now(UTC),
            expected_nonce=run.nonce_bytes,
            expected_run_id=run.run_id,
            expected_job=self.expected_job(scope),
            expected_image_digest=self.image["digest"],
            expected_month=str(scope.month) if scope.month else None,
            run_started_at=datetime.fromisoformat(run.started_at),
        )

    def expected_job(self, scope: RunScope) -> JobIdentity:
        """Return the program and arguments that this run was meant to execute."""
        program = self.job.file(self.settings.jobs_dir).read_bytes()
        arguments = self.job.arguments_for(scope.month, scope.options)
        return JobIdentity(self.job.name, sha256_hex(program), arguments_sha256(arguments))

    def refuse_replay(self, scope: RunScope, staging: Path, report: VerificationReport) -> None:
        """Record nonce and token id as used by this try; another try's are refused."""
        store = result_store(self.settings.results_dir, scope.dag_id)
        owner = f"{scope.run_id}/{staging.name}"
        store.consume_once("nonce", str(report.facts.nonce), owner)
        store.consume_once("token", str(report.facts.token_id), owner)


def trust_label(trust: str | None) -> str:
    """Return what a verdict of this trust level proves, for a log line."""
    return SIMULATED_NOTICE if trust == TRUST_SIMULATED else f"trust {trust}"


def read_statement(staging: Path) -> tuple[dict[str, Any], Statement]:
    """Return the enclave's envelope, and its statement, which nobody has verified yet.

    :raises VerificationError: ``statement-…``: the file is absent, too large or malformed.
    """
    from confidential_spark.verification import strict_json
    from confidential_spark.verification.evidence.bundle import MAX_EVIDENCE_BYTES
    from confidential_spark.verification.evidence.statement import Statement
    from confidential_spark.verification.json_object import JsonObject
    from confidential_spark.verification.refusals import Refusal

    try:
        with (staging / "envelope.json").open("rb") as file:
            data = file.read(MAX_EVIDENCE_BYTES + 1)
    except OSError as error:
        raise VerificationError(
            "The enclave's signed statement cannot be read.",
            code=Refusal.STATEMENT_MALFORMED,
            got=error.strerror,
            expected="envelope.json, which the agent writes last",
        ) from error
    value = strict_json.loads(
        data,
        what="envelope",
        max_bytes=MAX_EVIDENCE_BYTES,
        malformed=Refusal.STATEMENT_MALFORMED,
        duplicate=Refusal.STATEMENT_MALFORMED,
    )
    envelope = JsonObject.of(value, "envelope", Refusal.STATEMENT_MALFORMED)
    return dict(envelope.members), Statement.decode(envelope)


def complete_evidence(staging: Path, collateral: CollateralHook, keys: Mapping[str, Any]) -> bytes:
    """Return `evidence.json`: the enclave's envelope with what an outsider needs to verify it."""
    from confidential_spark.verification.evidence.bundle import evidence_bundle

    envelope, statement = read_statement(staging)
    try:
        fetched = collateral.fetch(statement.attested.quote)
    except ConfigurationError:
        # Nobody publishes collateral for what is no quote; the verification will name what is wrong with it.
        fetched = {}
    notice = statement.predicate.members.get("notice")
    return evidence_bundle(envelope, notice=notice, collateral=fetched, jwks=keys)
