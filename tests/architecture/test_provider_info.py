"""Airflow finds the connection type by entry point and shows its own form for it."""

from __future__ import annotations

import jsonschema
import pytest
from confidential_spark.provider_info import get_provider_info


def test_follows_airflows_schema() -> None:
    import json
    from importlib.resources import files

    schema = json.loads(files("airflow").joinpath("provider_info.schema.json").read_text())
    jsonschema.validate(get_provider_info(), schema)


def test_airflow_knows_the_connection_type() -> None:
    from airflow.providers_manager import ProvidersManager

    hook = ProvidersManager().hooks["azure_attestation"]
    assert hook is not None
    assert hook.hook_class_name == "confidential_spark.hooks.attestation.AttestationHook"
    assert hook.hook_name == "Microsoft Azure Attestation"


def test_the_forms_fields_reach_the_hook(airflow_database) -> None:
    from confidential_spark.hooks.attestation import AttestationHook

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(
            "AIRFLOW_CONN_MAA_DEFAULT",
            '{"conn_type": "azure_attestation", "host": "https://a.example", '
            '"extra": {"api_version": "2020-10-01"}}',
        )
        provider = AttestationHook().provider
    assert (provider.url, provider.api_version) == ("https://a.example", "2020-10-01")
