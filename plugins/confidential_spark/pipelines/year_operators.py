"""The tasks of a year's DAG: are its twelve months there, and their sum, bound to their evidence."""

from __future__ import annotations

import shlex
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowSkipException

from confidential_spark.core.errors import ConfidentialSparkError, InputError
from confidential_spark.hooks.results.location import result_store
from confidential_spark.hooks.results.store import MONTH_PREFIX, year_key
from confidential_spark.operators.attempt import attempt_prefix
from confidential_spark.operators.base import DONE, STARTED, airflow_failures, is_manual, require_known_params
from confidential_spark.operators.outcomes.lineage import lineage
from confidential_spark.operators.outcomes.links import RunbookLink
from confidential_spark.operators.outcomes.metrics import count_published
from confidential_spark.operators.verify import trust_label
from confidential_spark.settings import get_settings
from confidential_spark.years.sums import months_of_year

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import Context

    from confidential_spark.core.platforms import Platform
    from confidential_spark.hooks.results.store import ResultStore, VersionFiles
    from confidential_spark.jobs.rollup.making import Made
    from confidential_spark.jobs.rollup.rollup import Rollup
    from confidential_spark.settings import Settings
    from confidential_spark.years.months import Acceptance

MAX_FILE_BYTES = 256 * 1024 * 1024
EVIDENCE = "evidence.json"


class YearOperator(BaseOperator):
    """Base of a year's tasks.

    :param rollup: which job's months are added up.
    :param platform: whose results and policy.
    """

    operator_extra_links = (RunbookLink(),)

    def __init__(self, *, rollup: Rollup, platform: Platform, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rollup = rollup
        self.platform = platform

    def execute(self, context: Context) -> Any:
        """Run, with policy failures final and network failures retried."""
        self.log.info("%s %s", STARTED, self.task_id)
        with airflow_failures(self.log, context["ti"]):
            require_known_params(context)
            return self.run(context, run_year(context))

    def run(self, context: Context, year: str) -> Any:
        """Do the work and return a small XCom value."""
        raise NotImplementedError

    @property
    def settings(self) -> Settings:
        """The deployment's settings, read at run time."""
        return get_settings()

    @property
    def months(self) -> ResultStore:
        """What the monthly DAG has published on this platform."""
        return result_store(self.settings.results_dir, self.rollup.job.dag_id(self.platform))

    @property
    def years(self) -> ResultStore:
        """What this DAG has published."""
        return result_store(self.settings.results_dir, self.rollup.dag_id(self.platform))

    def published(self, year: str) -> dict[str, VersionFiles]:
        """Return the months of a year that readers see now: ``YYYY-MM`` → files."""
        store = self.months
        found = {month: store.current(f"{MONTH_PREFIX}{month}") for month in months_of_year(year)}
        return {month: files for month, files in found.items() if files is not None}


class FindMonthsOperator(YearOperator):
    """Go on when all twelve months are published and the year is not made of them already."""

    def run(self, context: Context, year: str) -> dict[str, Any]:
        """Return the year and the versions of its months; end as skipped where there is nothing to do.

        :raises InputError: ``year-incomplete``: somebody asked for a year that lacks months.
        """
        months = self.published(year)
        if missing := [month for month in months_of_year(year) if month not in months]:
            self.stop(context, year, missing)
        if not is_manual(context) and self.is_made_of(year, months):
            raise AirflowSkipException(f"{year} is the sum of these very months already")
        self.log.info("%s %s: twelve months of %s are published", DONE, self.task_id, year)
        return {"year": year, "months": {month: files.name for month, files in months.items()}}

    def stop(self, context: Context, year: str, missing: list[str]) -> None:
        """End the run: a month's event begins the next one, and who asked for this year must know.

        :raises InputError: ``year-incomplete``.
        """
        text = f"{12 - len(missing)} of 12 months; missing: {', '.join(missing)}"
        if not is_manual(context):
            self.log.info("%s %s: %s is not complete: %s", DONE, self.task_id, year, text)
            raise AirflowSkipException(f"{year} is not complete: {text}")
        raise InputError(
            "The year is not complete.",
            code="year-incomplete",
            got=f"{year}: {text}",
            expected=f"twelve months published by {self.rollup.job.dag_id(self.platform)}",
            action="run the missing months; the last of them starts the year by itself",
        )

    def is_made_of(self, year: str, months: Mapping[str, VersionFiles]) -> bool:
        """Whether the published year names the evidence of exactly these versions."""
        from confidential_spark.years.statement import materials_of, read_statement

        current = self.years.current(year_key(year))
        if current is None:
            return False
        # A statement that cannot be read is replaced by one that can.
        with suppress(ConfidentialSparkError, OSError, ValueError):
            now = {month: sha256(files.content(EVIDENCE)).hexdigest() for month, files in months.items()}
            return materials_of(read_statement(current.content(EVIDENCE))) == now
        return False


class PublishYearOperator(YearOperator):
    """Verify the twelve months, add them up, and publish the year with them in one atomic step."""

    # Year and version: for lineage, when the task has ended.
    published_as: tuple[str, str] = ("", "")

    def run(self, context: Context, year: str) -> dict[str, Any]:
        """Publish, and return where the year is and what it is worth.

        :raises VerificationError: ``year-…``, which names the month.
        """
        # Imported late: DAG files import this module, and need no pydantic models to be parsed.
        from confidential_spark.hooks.index.rebuild import note_version

        ti = context["ti"]
        store, key = self.years, year_key(year)
        attempt = f"{attempt_prefix(ti.run_id)}.try{ti.try_number}-{datetime.now(UTC):%H%M%S%f}"
        staging = store.stage(key, attempt)
        try:
            with store.hold(staging) as folder:
                made = self.make(folder, year, f"{ti.dag_id}/{ti.run_id}")
            publication = store.publish(staging, made.files, grace=self.settings.results_grace)
        finally:
            # Published, nothing is left; failed, the months are still where they are published.
            store.discard(staging)
        self.published_as = (year, publication.version.name)
        note_version(self.settings.results_dir, self.rollup.dag_id(self.platform), key, publication.version)
        self.log.info("Verify: %s", self.command(publication.place))
        self.log.info("%s %s: %s · %s", DONE, self.task_id, year, trust_label(made.statement["trust"]))
        count_published(ti.dag_id, made.statement["trust"], synthetic=made.statement["synthetic"])
        value = {name: made.statement[name] for name in ("year", "trust", "notice", "synthetic", "computed")}
        value |= {"totals": made.summary["totals"], "results": str(publication.place)}
        for asset in self.outlets:
            context["outlet_events"][asset].extra = value
        return value

    def get_openlineage_facets_on_complete(self, task_instance: object) -> OperatorLineage:
        """Return the twelve months and the year; OpenLineage's provider asks."""
        year, version = self.published_as
        root = f"{self.settings.results_dir}"
        months, years = self.rollup.job.dag_id(self.platform), self.rollup.dag_id(self.platform)
        return lineage(
            inputs=[f"{root}/{months}/{MONTH_PREFIX}{month}" for month in months_of_year(year)],
            output=f"{root}/{years}/{year_key(year)}",
            version=version,
        )

    def make(self, folder: Path, year: str, run_id: str) -> Made:
        """Write the year into the folder, and judge it as an outsider would."""
        # Imported late: DAG files import this module, and need no cryptography to be parsed.
        from confidential_spark.jobs.rollup.making import make_year
        from confidential_spark.years.verify import verify_year

        months, accept = self.published(year), self.acceptance()
        versions = {month: files.name for month, files in months.items()}
        for month, files in months.items():
            files.copy_to(folder / "months" / month, MAX_FILE_BYTES)
        made = make_year(folder, year, self.rollup.job.name, accept, run_id=run_id, versions=versions)
        report = verify_year(folder, accept)
        self.log.info("%s", report.text())
        report.raise_for_failure()
        return made

    def acceptance(self) -> Acceptance:
        """Return what the months must satisfy: this platform's policy, and the job as it is now."""
        from confidential_spark.hooks.endpoints import attestation_endpoints
        from confidential_spark.verification import load_policy
        from confidential_spark.years.months import Acceptance

        policy = load_policy(self.settings.policy_path(self.platform))
        program = sha256(self.rollup.job.file(self.settings.jobs_dir).read_bytes()).hexdigest()
        accept = Acceptance(policy, job_file_sha256=program)
        if policy.attestation.token_signing_keys is not None:
            return accept
        with attestation_endpoints(self.platform, self.settings) as endpoints:
            return replace(accept, jwks=endpoints.attestation.signing_keys())

    def command(self, place: object) -> str:
        """Return the command that repeats the verification."""
        months = f"{str(self.settings.results_dir).rstrip('/')}/{self.rollup.job.dag_id(self.platform)}"
        options = {
            "--policy": self.settings.policy_path(self.platform),
            "--job-file": self.rollup.job.file(self.settings.jobs_dir),
            "--published": months,
        }
        given = [str(part) for option in options.items() for part in option]
        return shlex.join(["confidential-spark", "year", "verify", str(place), *given])


def run_year(context: Context) -> str:
    """Return the run's year: its Param, else its partition, which the month's event has.

    :raises InputError: ``year-malformed``, ``year-missing``.
    """
    year = context["params"].get("year") or getattr(context["dag_run"], "partition_key", None)
    if not year:
        raise InputError(
            "The run has no year.",
            code="year-missing",
            got="neither the Param `year` nor a partition",
            expected="YYYY, e.g. 2018",
            action="trigger it again with the Param `year`",
        )
    months_of_year(year)
    return str(year)
