"""Believe nothing: verify the evidence, check the results, publish the month."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from confidential_spark.agent.protocol import (
    SIMULATED_NOTICE,
    TRUST_SIMULATED,
    JobIdentity,
    arguments_sha256,
    sha256_hex,
)
from confidential_spark.core.errors import ConfigurationError, ResultError, VerificationError
from confidential_spark.core.stages import FAILED_CHECKS_KEY, VERIFICATION_KEY
from confidential_spark.hooks.endpoints import attestation_endpoints
from confidential_spark.hooks.result_store import ResultStore
from confidential_spark.operators.attempt import EnclaveRun, attempt_prefix
from confidential_spark.operators.base import ConfidentialOperator

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from airflow.sdk import Context

    from confidential_spark.core.platforms import Platform
    from confidential_spark.hooks.collateral import CollateralHook
    from confidential_spark.jobs.checks.result import CheckResult
    from confidential_spark.jobs.report import RunReport
    from confidential_spark.operators.base import RunScope
    from confidential_spark.verification import VerificationReport
    from confidential_spark.verification.evidence.statement import Statement


class ValidationOperator(ConfidentialOperator):
    """Base of the operators that work on a finished try.

    :param platform: whose policy decides.
    :param run_result: what `run_spark` returned.
    """

    template_fields: Collection[str] = ("run_result",)

    def __init__(self, *, platform: Platform, run_result: Mapping[str, Any], **kwargs: Any) -> None:  # noqa: ANN401
        """Pass on."""
        super().__init__(**kwargs)
        self.platform = platform
        self.run_result = run_result

    def run(self, context: Context, scope: RunScope) -> Any:  # noqa: ANN401 - XCom value
        """Validate while nobody else may clean the try's folder away."""
        run = EnclaveRun.from_xcom(self.run_result)
        store = ResultStore(self.settings.results_dir, scope.dag_id)
        with store.hold(run.staging) as staging:
            return self.validate(context, scope, run, staging)

    def validate(self, context: Context, scope: RunScope, run: EnclaveRun, staging: Path) -> Any:  # noqa: ANN401
        """Do the work on the try's folder and return a small XCom value."""
        raise NotImplementedError


class VerifyEvidenceOperator(ValidationOperator):
    """Complete the evidence with keys and collateral, then verify all of it against the policy.

    :param image: what `resolve_image` returned.
    """

    template_fields = ("run_result", "image")

    def __init__(self, *, image: Mapping[str, Any], **kwargs: Any) -> None:  # noqa: ANN401 - Airflow's own
        """Pass on."""
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
        self.announce(f"{passed} of {passed} steps PASS · policy {report.policy} · {worth(report.trust)}")
        return report.to_dict()

    def verify(self, scope: RunScope, run: EnclaveRun, staging: Path) -> VerificationReport:
        """Write `evidence.json` and judge it exactly as an outsider would."""
        # Imported late: DAG files import this module, and need no cryptography to be parsed.
        from confidential_spark.verification import load_policy, verify_evidence

        with attestation_endpoints(self.platform, self.settings) as endpoints:
            keys = endpoints.attestation.signing_keys()
            evidence = complete_evidence(staging, endpoints.collateral, keys)
        (staging / "evidence.json").write_bytes(evidence)
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
        store = ResultStore(self.settings.results_dir, scope.dag_id)
        owner = f"{scope.run_id}/{staging.name}"
        store.consume_once("nonce", str(report.facts.nonce), owner)
        store.consume_once("token", str(report.facts.token_id), owner)


def worth(trust: str | None) -> str:
    """Return what a verdict of this trust level is worth."""
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


class CheckResultsOperator(ValidationOperator):
    """Check the verified results and write `report.json`.

    :param verification: what `verify_evidence` returned.
    :param manifest: what `resolve_input` returned, or None for jobs without input.
    """

    template_fields = ("run_result", "verification", "manifest")

    def __init__(
        self,
        *,
        verification: Mapping[str, Any],
        manifest: Mapping[str, Any] | None,
        **kwargs: Any,  # noqa: ANN401 - Airflow's own
    ) -> None:
        """Pass on."""
        super().__init__(**kwargs)
        self.verification = verification
        self.manifest = manifest

    def validate(self, context: Context, scope: RunScope, run: EnclaveRun, staging: Path) -> dict[str, Any]:
        """Write the report and return its small form; every check is also in the log."""
        # Imported late: DAG files import this module, and need no DuckDB to be parsed.
        from confidential_spark.jobs.checks.run import require_passed, summarise

        predicate = read_statement(staging)[1].predicate.members
        results = self.check(scope, staging, predicate)
        for result in results:
            self.log.info("%s", result.line())
        failed = [result.to_dict() for result in results if not result.passed]
        context["ti"].xcom_push(key=FAILED_CHECKS_KEY, value={"checks": failed})
        require_passed(results)
        report = self.report(context, scope, run, predicate, results)
        (staging / "report.json").write_text(report.to_json(), encoding="utf-8")
        self.announce(summarise(results))
        return report.to_xcom()

    def check(self, scope: RunScope, staging: Path, predicate: Mapping[str, Any]) -> list[CheckResult]:
        """Run the job's checks against the limits of `include/checks/`."""
        from confidential_spark.jobs.checks.limits import NytaxiLimits, load_limits
        from confidential_spark.jobs.checks.run import run_checks
        from confidential_spark.jobs.input.manifest import InputTotals

        limits = load_limits(self.settings.checks_path(self.job.name))
        trailing: Sequence[Mapping[str, Any]] = ()
        if scope.month and isinstance(limits, NytaxiLimits):
            store = ResultStore(self.settings.results_dir, scope.dag_id)
            trailing = store.trailing_summaries(scope.month, limits.trailing.months)
        return run_checks(
            staging,
            limits=limits,
            predicate=predicate,
            month=scope.month,
            recorded_input=InputTotals.from_dict(dict(self.manifest)) if self.manifest else None,
            trailing=trailing,
        )

    def report(
        self,
        context: Context,
        scope: RunScope,
        run: EnclaveRun,
        predicate: Mapping[str, Any],
        results: Sequence[CheckResult],
    ) -> RunReport:
        """Return the report of a verified and checked try."""
        from confidential_spark.jobs.report import Check, Figures, Measurement, RunReport

        facts = self.verification["facts"]
        return RunReport(
            run_id=scope.run_id,
            dag_id=scope.dag_id,
            job=self.job.name,
            month=str(scope.month) if scope.month else None,
            platform=self.platform,
            trust=self.verification["trust"],
            notice=predicate["notice"],
            synthetic=bool(self.manifest and self.manifest["synthetic"]),
            image_digest=facts["image_digest"],
            measurement=Measurement(**{name: facts[name] for name in Measurement.model_fields}),
            figures=Figures.of(json.loads((run.results_dir / "summary.json").read_bytes())),
            verification=dict(self.verification),
            checks=tuple(Check(**result.to_dict()) for result in results),
            inputs=dict(self.manifest) if self.manifest else None,
            timings=timings(context, run, facts),
        )


def timings(context: Context, run: EnclaveRun, facts: Mapping[str, Any]) -> dict[str, float]:
    """Return seconds of wall time from the run's start to now, waiting included, by stage."""
    began = context["dag_run"].start_date or datetime.fromisoformat(run.started_at)
    launched = datetime.fromisoformat(run.started_at)
    signed = datetime.fromisoformat(facts["finished_at"])
    spans = {
        "image and attestation": launched - began,
        "spark": signed - launched,
        "validation": datetime.now(UTC) - signed,
    }
    return {stage: max(0.0, round(span.total_seconds(), 1)) for stage, span in spans.items()}


class PublishOperator(ValidationOperator):
    """Publish the verified and checked try in one atomic step, and update the asset.

    :param verification: what `verify_evidence` returned.
    """

    template_fields = ("run_result", "verification")

    def __init__(self, *, verification: Mapping[str, Any], **kwargs: Any) -> None:  # noqa: ANN401 - Airflow's own
        """Pass on."""
        super().__init__(**kwargs)
        self.verification = verification

    def run(self, context: Context, scope: RunScope) -> dict[str, Any]:
        """Publish and return where the result is and what it is worth.

        A second try after a crash finds the files moved already, and completes the publication.
        """
        from confidential_spark.jobs.report import RunReport

        if not scope.options["publish"]:
            self.announce("checked and not published, as the run asked")
            raise AirflowSkipException("the run's Param `publish` is off")
        run = EnclaveRun.from_xcom(self.run_result)
        store = ResultStore(self.settings.results_dir, scope.dag_id)
        published = store.publish(run.staging, digests=self.verification["facts"]["results"])
        report = RunReport.read(published / "report.json")
        policy = self.settings.policy_path(self.platform)
        self.log.info("Published\n%s", report.verdict_text(str(published), str(policy)))
        self.announce(f"{published.name} · {worth(report.trust)}")
        value = {**report.to_xcom(), "results": str(published), "evidence": str(published / "evidence.json")}
        for asset in self.outlets:
            context["outlet_events"][asset].extra = value
        return value


class CleanStagingOperator(ConfidentialOperator):
    """Remove the run's unpublished tries, whatever happened before; a refused one is kept aside."""

    def run(self, context: Context, scope: RunScope) -> None:
        """Settle every try of this run; a published one has left nothing.

        :raises ResultError: ``try-in-use`` (retryable): a task that was marked failed is still being ended.
        """
        store = ResultStore(self.settings.results_dir, scope.dag_id)
        key, run = scope.publication_key(self.job), attempt_prefix(scope.airflow_run_id)
        kept = store.discard_run(key, run, keep_signed=bool(scope.options["publish"]))
        if held := store.tries(key, run):
            raise ResultError(
                "A try of this run is still being ended, so its files are not removed yet.",
                code="try-in-use",
                got=held[0],
                expected="no process at work on it",
                action="nothing: the task tries again",
                retryable=True,
            )
        self.announce(f"kept for inspection: {', '.join(map(str, kept))}" if kept else "nothing is left")
