"""The Test button of Airflow's connection form, pressed through its API, for each kind a deployment names."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.azure.azurite import ACCOUNT, KEY
from tests.support.fakes.faulty_service import FaultyService
from tests.unit.ui.conftest import api_server, browse  # noqa: F401 - fixtures

if TYPE_CHECKING:
    from collections.abc import Callable

WRONG_KEY = "A" * 86 + "=="


@pytest.fixture
def press(browse, monkeypatch) -> Callable[..., tuple[bool, str]]:  # noqa: F811 - the fixture
    """Presses the button with a form of these fields, and returns what it says."""
    monkeypatch.setenv("AIRFLOW__CORE__TEST_CONNECTION", "Enabled")

    def press(kind: str, *, extra: dict[str, Any] | None = None, **fields: object) -> tuple[bool, str]:
        form = {"connection_id": "trips", "conn_type": kind, "extra": json.dumps(extra or {}), **fields}
        answer = browse("admin").post("http://testserver/api/v2/connections/test", json=form)
        assert answer.status_code == 200, answer.text
        said = answer.json()
        return said["status"], said["message"]

    return press


def test_the_attestation_provider_is_asked_for_its_keys(press) -> None:
    with FaultyService() as provider:
        works, said = press("azure_attestation", host=provider.url)
        assert (works, "answers with 1 signing keys" in said) == (True, True), said
        assert [request.target for request in provider.requests] == [
            "/.well-known/openid-configuration",
            "/certs",
        ]
    works, said = press("azure_attestation", host=provider.url)
    assert (works, "attestation-unreachable" in said) == (False, True)
    works, said = press("azure_attestation", host="http://maa.example")
    assert (works, "attestation-insecure-url" in said) == (False, True)


def test_a_storage_account_is_tried_with_the_providers_own_test(
    press, storage, sas, upload, tmp_path
) -> None:
    account = {"host": storage.endpoint, "login": ACCOUNT}
    works, said = press("wasb", password=KEY, **account)
    assert (works, said) == (True, "Successfully connected to Azure Blob Storage.")
    works, said = press("wasb", password=WRONG_KEY, **account)
    assert not works
    assert WRONG_KEY not in said
    token = sas(upload("button", tmp_path))
    works, said = press("wasb", extra={"sas_token": token}, **account)
    # The provider lists the account's containers, which a token for one container may not.
    assert not works
    assert token not in said


def test_a_data_lake_account_that_does_not_answer_is_told_at_once(press) -> None:
    """Azurite has no `dfs` address: only the failing half of the provider's own test can be seen here."""
    away = {"account_url": f"https://{ACCOUNT}.dfs.core.invalid", "retry_total": 0}
    works, said = press("adls", host=ACCOUNT, password=KEY, extra=away)
    assert (works, f"{ACCOUNT}.blob.core.invalid" in said) == (False, True), said
    assert KEY not in said
