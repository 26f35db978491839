"""Check the verified results of a try, and write its report."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from confidential_spark.core.stages import FAILED_CHECKS_KEY
from confidential_spark.hooks.blob.run_input import BLOBS, checked_input
from confidential_spark.hooks.durable_files import write_staged
from confidential_spark.hooks.results.location import result_store
from confidential_spark.hooks.results.store import month_key
from confidential_spark.jobs import JOBS
from confidential_spark.operators.verify import ValidationOperator, read_statement

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from airflow.sdk import Context

    from confidential_spark.core.months import Month
    from confidential_spark.core.platforms import Platform
    from confidential_spark.hooks.results.store import Location, ResultStore
    from confidential_spark.jobs.checks.result import CheckResult
    from confidential_spark.jobs.checks.subject import PublishedMonth
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
        **kwargs: Any,
    ) -> None:
        """Keep what the checks compare the results with."""
        super().__init__(**kwargs)
        self.verification = verification
        self.manifest = manifest

    def validate(self, context: Context, scope: RunScope, run: EnclaveRun, staging: Path) -> dict[str, Any]:
        """Write the report and return its small form; every check is also in the log."""
        # Imported late: DAG files import this module, and need no DuckDB to be parsed.
        from confidential_spark.jobs.checks.result import summarise
        from confidential_spark.jobs.checks.run import require_passed

        predicate = read_statement(staging)[1].predicate.members
        results = self.check(scope, staging, predicate)
        for result in results:
            self.log.info("%s", result.line())
        failed = [result.to_dict() for result in results if not result.passed]
        context["ti"].xcom_push(key=FAILED_CHECKS_KEY, value={"checks": failed})
        require_passed(results)
        report = self.report(context, scope, run, staging, predicate, results)
        write_staged(staging / "report.json", report.to_json().encode())
        self.announce(summarise(results))
        return report.to_xcom()

    def check(self, scope: RunScope, staging: Path, predicate: Mapping[str, Any]) -> list[CheckResult]:
        """Run the job's checks against the limits of `include/checks/`."""
        from confidential_spark.jobs.checks.limits import load_limits
        from confidential_spark.jobs.checks.run import run_checks
        from confidential_spark.jobs.input.manifest import InputTotals

        rules = self.job.rules()
        with checked_input(self.manifest, scope.month, rules.input) as read_input:
            return run_checks(
                rules,
                staging,
                limits=load_limits(self.settings.checks_path(self.job.name), rules.limits),
                predicate=predicate,
                published=StoredResults(self.settings.results_dir, self.job.name, self.platform, scope.month),
                month=scope.month,
                recorded_input=InputTotals.from_dict(dict(self.manifest)) if self.manifest else None,
                read_input=read_input,
            )

    def report(
        self,
        context: Context,
        scope: RunScope,
        run: EnclaveRun,
        staging: Path,
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
            figures=Figures.of(json.loads((staging / "summary.json").read_bytes()), self.job),
            verification=dict(self.verification),
            checks=tuple(Check(**result.to_dict()) for result in results),
            inputs=self.recorded_input(),
            timings=timings(context, run, facts),
        )

    def recorded_input(self) -> dict[str, Any] | None:
        """Return the manifest for the report, without the list of blobs, which the statement has."""
        return {k: v for k, v in self.manifest.items() if k != BLOBS} if self.manifest else None


@dataclass(frozen=True)
class StoredResults:
    """What is published on one platform, for the checks of one run.

    :param job: name of the run's job.
    :param month: the run's month; without one there is nothing to compare with.
    """

    root: Location
    job: str
    platform: Platform
    month: Month | None

    def earlier(self, months: int) -> Sequence[Mapping[str, Any]]:
        """Return this job's summaries of the latest ``months`` months before the run's, oldest first."""
        return self._store(self.job).trailing_summaries(self.month, months) if self.month else ()

    def same_month(self, job: str) -> PublishedMonth | None:
        """Return what a job has published for the run's month, or None.

        :raises ResultError: ``summary-unreadable``, ``report-unreadable``.
        """
        from confidential_spark.jobs.checks.subject import PublishedMonth

        store = self._store(job)
        if self.month is None or self.month not in store.published_months():
            return None
        # Asked once: a month that is published meanwhile would mix two versions.
        version = store.published(month_key(self.month))
        summary, report = version.summary(), version.report()
        inputs = report.inputs or {}
        return PublishedMonth(
            summary, inputs.get("files_sha256", ""), inputs.get("uri", ""), synthetic=report.synthetic
        )

    def _store(self, job: str) -> ResultStore:
        return result_store(self.root, JOBS[job].dag_id(self.platform))


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
