"""Publish a checked try, and clean up after every try."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from confidential_spark.core.errors import InputError, ResultError
from confidential_spark.hooks.results.location import result_store, results_at
from confidential_spark.hooks.results.retention import Retention
from confidential_spark.operators.attempt import EnclaveRun, attempt_prefix
from confidential_spark.operators.base import ConfidentialOperator
from confidential_spark.operators.outcomes.lineage import folders_of, lineage
from confidential_spark.operators.outcomes.metrics import count_published
from confidential_spark.operators.verify import ValidationOperator, trust_label

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import Asset, Context

    from confidential_spark.hooks.results.store import VersionFiles
    from confidential_spark.operators.base import RunScope


class PublishOperator(ValidationOperator):
    """Publish the verified and checked try in one atomic step, and update the asset.

    :param verification: what `verify_evidence` returned.
    :param by_month: the one of the outlets whose event has the month as its partition.
    """

    template_fields = ("run_result", "verification")
    # The result's location, the same for each version, and the version: for lineage, when the task has ended.
    published_as: tuple[str, str] = ("", "")

    def __init__(
        self, *, verification: Mapping[str, Any], by_month: Asset | None = None, **kwargs: Any
    ) -> None:
        """Keep the verdict that the publication states."""
        super().__init__(**kwargs)
        self.verification = verification
        self.by_month = by_month

    def run(self, context: Context, scope: RunScope) -> dict[str, Any]:
        """Publish and return where the result is and what it is worth.

        A second try after a crash finds the files moved already, and completes the publication.
        """
        if not scope.options["publish"]:
            self.announce("checked and not published, as the run asked")
            raise AirflowSkipException("the run's Param `publish` is off")
        # Imported late: DAG files import this module, and need no pydantic models to be parsed.
        from confidential_spark.hooks.index.rebuild import note_version

        run = EnclaveRun.from_xcom(self.run_result)
        store = result_store(self.settings.results_dir, scope.dag_id)
        digests = self.verification["facts"]["results"]
        publication = store.publish(
            run.staging, digests, grace=self.settings.results_grace, may_replace=require_real_rows_kept
        )
        self.published_as = (
            f"{self.settings.results_dir}/{scope.dag_id}/{run.key}",
            publication.version.name,
        )
        report, published = publication.version.report(), publication.place
        note_version(self.settings.results_dir, scope.dag_id, run.key, publication.version)
        policy, program = self.settings.policy_path(self.platform), self.job.file(self.settings.jobs_dir)
        self.log.info("Published\n%s", report.verdict_text(str(published), str(policy), str(program)))
        self.announce(f"{run.key} · {trust_label(report.trust)}")
        count_published(scope.dag_id, report.trust, synthetic=report.synthetic, timings=report.timings)
        value = {**report.to_xcom(), "results": str(published), "evidence": f"{published}/evidence.json"}
        for asset in self.outlets:
            context["outlet_events"][asset].extra = value
        if self.by_month is not None:
            context["outlet_events"][self.by_month].add_partitions(str(scope.month))
        return value

    def get_openlineage_facets_on_complete(self, task_instance: object) -> OperatorLineage:
        """Return what was read and published, and what the evidence proves; OpenLineage's provider asks."""
        facts = self.verification["facts"]
        tags = {name: facts.get(name) for name in ("mrenclave", "image_digest", "job_file_sha256")}
        output, version = self.published_as
        return lineage(
            inputs=folders_of(facts.get("inputs")),
            output=output,
            version=version,
            tags={"trust": self.verification.get("trust"), **tags},
        )


def require_real_rows_kept(new: VersionFiles, current: VersionFiles) -> None:
    """Refuse to publish made-up rows in place of real ones.

    :param new: files of the checked try.
    :param current: files of the version that readers see.
    :raises InputError: ``synthetic-over-real``.
    """
    if new.report().synthetic:
        refuse_if_real(current)


def refuse_if_real(current: VersionFiles) -> None:
    """Refuse made-up rows where the published version has real ones, or does not say that they are made up.

    :raises InputError: ``synthetic-over-real``.
    """
    try:
        report = current.report()
    except ResultError as error:
        got = f"a published version whose report cannot be read: {error.got}"
    else:
        if report.synthetic:
            return
        got = f"published by {report.run_id}, from {report.inputs['uri'] if report.inputs else 'no input'}"
    raise InputError(
        "Real rows are published here; made-up ones do not replace them.",
        code="synthetic-over-real",
        got=got,
        expected="nothing published, or a synthetic month",
        action="give the location of the real input, or turn `publish` off",
    )


class CleanStagingOperator(ConfidentialOperator):
    """Remove the run's unpublished tries, whatever happened before; a refused one is kept aside.

    Then remove what all runs left in the results folder for longer than it is kept.
    """

    def run(self, context: Context, scope: RunScope) -> None:
        """Settle every try of this run; a published one has left nothing.

        :raises ResultError: ``try-in-use`` (retryable): a task that was marked failed is still being ended.
        """
        store = result_store(self.settings.results_dir, scope.dag_id)
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
        retention = Retention(replaced=self.settings.results_grace)
        for path in results_at(self.settings.results_dir).sweep(retention):
            self.log.info("removed, because it is older than it is kept: %s", path)
        self.announce(f"kept for inspection: {', '.join(map(str, kept))}" if kept else "nothing is left")
