"""The Test button of Airflow's connection form, pressed through its API, for each kind a deployment names."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from azure.core.pipeline.transport import HttpTransport

from tests.support.azure.azurite import ACCOUNT, KEY, wasb_connection
from tests.support.fakes.faulty_service import FaultyService
from tests.unit.ui.conftest import api_server, browse, by_hand  # noqa: F401 - fixtures

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


@pytest.mark.parametrize(
    ("kind", "fields", "extra"),
    [
        pytest.param(
            "wasb",
            {"host": f"https://{ACCOUNT}.blob.core.invalid", "login": ACCOUNT},
            {"retry_total": 0},
            id="wasb",
        ),
        # Azurite has no `dfs` address: only the failing half of the provider's own test can be seen here.
        pytest.param(
            "adls",
            {"host": ACCOUNT},
            {"account_url": f"https://{ACCOUNT}.dfs.core.invalid", "retry_total": 0},
            id="adls",
        ),
    ],
)
def test_an_account_that_does_not_answer_is_told_at_once(press, monkeypatch, kind, fields, extra) -> None:
    waits: list[float] = []
    monkeypatch.setattr(HttpTransport, "sleep", lambda self, seconds: waits.append(seconds))
    works, said = press(kind, password=KEY, extra=extra, **fields)
    assert (works, f"{ACCOUNT}.blob.core.invalid" in said, waits) == (False, True, []), said
    assert KEY not in said


def test_the_emulators_connection_is_tested_at_once(press, storage, monkeypatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(HttpTransport, "sleep", lambda self, seconds: waits.append(seconds))
    form = json.loads(wasb_connection(storage.endpoint))
    assert press(form.pop("conn_type"), **form)[0]
    with FaultyService() as stopped:
        pass
    works, _ = press("wasb", **form | {"host": f"{stopped.url}/{ACCOUNT}"})
    assert (works, waits) == (False, [])
