"""The month's input: found or made, fingerprinted, refused early when it is not usable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from confidential_spark.agent.protocol import TRUST_SIMULATED
from confidential_spark.core.errors import ConfidentialSparkError, ConfigurationError
from confidential_spark.core.platforms import Platform
from confidential_spark.hooks.blob.run_input import LOCATION
from confidential_spark.hooks.results.location import result_store
from confidential_spark.jobs.input.blob_location import PUBLIC_DATA_SET, is_blob_location
from confidential_spark.operators.base import ConfidentialOperator
from confidential_spark.operators.check import StoredResults
from confidential_spark.operators.publish import refuse_if_real
from confidential_spark.settings import Settings

if TYPE_CHECKING:
    from airflow.sdk import Context

    from confidential_spark.core.months import Month
    from confidential_spark.jobs.input.contract import InputContract
    from confidential_spark.jobs.input.manifest import InputManifest
    from confidential_spark.operators.base import RunScope


class ResolveInputOperator(ConfidentialOperator):
    """Find the month's trip records and fingerprint them, before an enclave is started.

    Without a location in the run or the deployment, a deterministic synthetic month is made, labelled so, but
    only under a simulated policy, where nothing is proven anyway.

    :param platform: where the job runs.
    """

    def __init__(self, *, platform: Platform, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.platform = platform

    def run(self, context: Context, scope: RunScope) -> dict[str, Any]:
        """Return the manifest's summary: location, files, rows, bytes, digest, synthetic or not."""
        contract = self.job.rules().input
        assert scope.month is not None and contract is not None  # noqa: S101, PT018 - only such jobs have this task
        given = scope.options.get("input") or self.settings.input_uri
        if given:
            source = "the Param `input`" if scope.options.get("input") else Settings.variable("input_uri")
            self.log.info("Input as %s says", source)
        location = str(given) if given else self.synthetic_month(scope.month, contract)
        manifest = read_input(location, scope.month, contract, for_executors=self.platform is Platform.AKS)
        if manifest.synthetic and scope.options["publish"]:
            self.require_no_real_month(scope)
        marks = [manifest.version, "SYNTHETIC" if manifest.synthetic else "", self.change(scope, manifest)]
        self.announce(
            f"{manifest.rows:,} rows in {len(manifest.files)} files, {manifest.bytes:,} bytes"
            + "".join(f" · {mark}" for mark in marks if mark)
        )
        return manifest.summary() | ({LOCATION: location} if is_blob_location(location) else {})

    def change(self, scope: RunScope, manifest: InputManifest) -> str:
        """Return a warning where the month is published from other files; also a check of its results."""
        from confidential_spark.jobs.checks.subject import source_change

        stored = StoredResults(self.settings.results_dir, self.job.name, self.platform, scope.month)
        try:
            change = source_change(stored.same_month(self.job.name), manifest.totals())
        except ConfidentialSparkError as error:
            change = f"the published month cannot be read ({error.code})"
        if change:
            self.log.warning("The month's source is not as published: %s", change)
        return f"WARNING: {change}" if change else ""

    def require_no_real_month(self, scope: RunScope) -> None:
        """Refuse made-up rows before an enclave counts them, where `publish` would refuse them after it.

        :raises InputError: ``synthetic-over-real``.
        """
        store = result_store(self.settings.results_dir, scope.dag_id)
        if scope.month in store.published_months():
            refuse_if_real(store.published(scope.publication_key(self.job)))

    def synthetic_month(self, month: Month, contract: InputContract) -> str:
        """Make the month, unless it is there already, and return where it is.

        Jobs that read the yellow-taxi table share a month; another table has a folder of its own.

        :raises ConfigurationError: ``input-not-configured``: made-up figures are not for this platform.
        """
        # Imported late: see above.
        from confidential_spark.verification import load_policy

        policy = load_policy(self.settings.policy_path(self.platform))
        if policy.trust != TRUST_SIMULATED:
            raise ConfigurationError(
                "Nothing says where the trip records are.",
                code="input-not-configured",
                got=f"no input, under the policy {policy.label}",
                expected="a location; only simulated platforms make up a month",
                action="set CONFIDENTIAL_SPARK_INPUT_URI, or fill in the input of the run: a folder, or "
                f"the public {PUBLIC_DATA_SET}",
            )
        from confidential_spark.simulation.trips.month import write_month

        inputs = self.settings.inputs_dir / (self.job.name if contract.synthetic else "")
        write_month(month, self.settings.synthetic_rows, inputs, contract=contract)
        return inputs.as_uri()


def read_input(location: str, month: Month, contract: InputContract, *, for_executors: bool) -> InputManifest:
    """Judge the month's input: files entirely, blobs by their list and footers: only the enclave reads them.

    :raises ConfidentialSparkError: it is not usable.
    """
    # Imported late: DAG files import this module, and need no PyArrow or Azure's libraries to be parsed.
    if is_blob_location(location):
        from confidential_spark.hooks.blob.month import BlobMonth

        return BlobMonth(location).manifest(month, contract)
    from confidential_spark.jobs.input.file_count import require_few_files
    from confidential_spark.jobs.input.manifest import read_manifest
    from confidential_spark.jobs.input.parquet.page_checksums import require_page_checksums
    from confidential_spark.jobs.input.sidecar_checksums import require_sidecar_checksums

    manifest = read_manifest(location, month, contract)
    require_few_files(manifest, for_executors=for_executors)
    require_sidecar_checksums(manifest)
    require_page_checksums(manifest)
    return manifest
