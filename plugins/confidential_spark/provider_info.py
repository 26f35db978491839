"""Tells Airflow about the connection type, so that its form has the right fields; found by entry point."""

from __future__ import annotations

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """Return Airflow's provider description (``airflow/provider_info.schema.json``)."""
    return {
        "package-name": "confidential-spark-airflow",  # the one with the entry point: plugins/pyproject.toml
        "name": "Confidential Spark",
        "description": "Spark in attested enclaves, with evidence an outsider can verify",
        "connection-types": [
            {
                "connection-type": "azure_attestation",
                "hook-class-name": "confidential_spark.hooks.attestation.AttestationHook",
                "hook-name": "Microsoft Azure Attestation",
                "conn-fields": {
                    "api_version": {
                        "label": "API version",
                        "schema": {"type": ["string", "null"], "pattern": r"^\d{4}-\d{2}-\d{2}$"},
                        "description": "Version of MAA's REST API; empty for 2022-08-01.",
                    }
                },
                "ui-field-behaviour": {
                    "hidden-fields": ["schema", "login", "password", "port", "extra"],
                    "relabeling": {"host": "Attestation provider URL"},
                    "placeholders": {"host": "https://sharedweu.weu.attest.azure.net"},
                },
            }
        ],
    }
