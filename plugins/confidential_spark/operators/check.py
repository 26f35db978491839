"""Check the verified results of a try, and write its report."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from confidential_spark.core.stages import FAILED_CHECKS_KEY
from confidential_spark.hooks.result_store import ResultStore
from confidential_spark.operators.verify import ValidationOperator, read_statement

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from airflow.sdk import Context

    from confidential_spark.jobs.checks.result import CheckResult
    from confidential_spark.jobs.report import RunReport
    from confidential_spark.operators.attempt import EnclaveRun
    from confidential_spark.operators.base import RunScope


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
