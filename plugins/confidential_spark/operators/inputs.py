"""The month's input: found or made, fingerprinted, refused early when it is not usable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from confidential_spark.jobs.input.manifest import read_manifest
from confidential_spark.operators.base import ConfidentialOperator
from confidential_spark.simulation.trips.month import write_month

if TYPE_CHECKING:
    from airflow.sdk import Context

    from confidential_spark.operators.base import RunScope


class ResolveInputOperator(ConfidentialOperator):
    """Find the month's trip records and fingerprint them, before an enclave is started.

    Without a location in the run or the deployment, a deterministic synthetic month is made, labelled so.
    """

    def run(self, context: Context, scope: RunScope) -> dict[str, Any]:
        """Return the manifest's summary: location, files, rows, bytes, digest, synthetic or not."""
        assert scope.month is not None  # noqa: S101 - only monthly jobs have this task
        template = scope.options.get("input") or self.settings.input_uri
        if template is None:
            template = self.settings.inputs_dir.as_uri()
            write_month(scope.month, self.settings.synthetic_rows, self.settings.inputs_dir)
        manifest = read_manifest(str(template), scope.month)
        synthetic = " · SYNTHETIC" if manifest.synthetic else ""
        self.announce(
            f"{manifest.rows:,} rows in {len(manifest.files)} files, {manifest.bytes:,} bytes{synthetic}"
        )
        return manifest.summary()
