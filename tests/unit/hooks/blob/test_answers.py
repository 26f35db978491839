"""Which answers are the Blob service's, and which errors are the client library's; faults: tests/azure."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from azure.core.exceptions import HttpResponseError, IncompleteReadError, ServiceRequestError
from azure.storage.blob import BlobServiceClient
from confidential_spark.core.failures import failure_named
from confidential_spark.hooks.blob.answers import (
    ForeignAnswerError,
    UnreadableAnswerError,
    client_errors,
    code_of,
    odd_answer,
    require_blob_service,
)

SERVICE = {"x-ms-request-id": "4880b545"}
CANARY = "sig=canary"


def response(status: int, **headers: str) -> SimpleNamespace:
    return SimpleNamespace(status_code=status, reason="", headers=headers)


def answered(status: int, code: str = "", headers: dict[str, str] | None = None) -> HttpResponseError:
    error = HttpResponseError(CANARY, response=response(status, **(SERVICE if headers is None else headers)))
    error.error_code = code
    return error


@pytest.mark.parametrize(
    ("status", "headers", "passes"),
    [
        pytest.param(200, SERVICE, True, id="success"),
        pytest.param(201, {"x-ms-version": "2021-12-02"}, True, id="version-only"),
        pytest.param(200, {"Content-Type": "text/html"}, False, id="page"),
        pytest.param(204, {}, False, id="nothing"),
        pytest.param(404, {}, True, id="refusals-are-judged-later"),
    ],
)
def test_a_success_must_be_the_services(status, headers, passes):
    answer = SimpleNamespace(http_response=response(status, **headers))
    if passes:
        require_blob_service(answer)
        return
    with pytest.raises(ForeignAnswerError, match=rf"HTTP {status}"):
        require_blob_service(answer)


@pytest.mark.parametrize(
    ("error", "name"),
    [
        pytest.param(
            answered(307, headers={"Location": f"https://x.example/?{CANARY}"}), "storage-redirected"
        ),
        pytest.param(answered(302, headers={"Location": "https://[/"}), "storage-redirected"),
        pytest.param(answered(304), None),
        pytest.param(answered(409, "BlobArchived"), "storage-blob-archived"),
        pytest.param(answered(409, "BlobAlreadyExists"), None),
        pytest.param(answered(200), "storage-garbage"),
        pytest.param(answered(403, headers={}), "storage-garbage"),
        pytest.param(answered(403), None),
        pytest.param(answered(503, headers={}), None),
        pytest.param(answered(429, headers={}), None),
        pytest.param(UnreadableAnswerError("an answer that gives KeyError"), "storage-garbage"),
        pytest.param(ServiceRequestError("refused"), None),
        pytest.param(IncompleteReadError("cut"), None),
    ],
)
def test_an_odd_answer_has_a_name(error, name):
    odd = odd_answer(error)
    assert (odd.code if odd else None) == name
    if odd:
        assert failure_named(odd.code) is not None
        assert CANARY not in odd.got


def test_the_clients_own_stumbling_becomes_an_error_of_its_kind():
    with pytest.raises(UnreadableAnswerError, match="ValueError") as caught, client_errors():
        BlobServiceClient("", credential=None)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("error", [ValueError("ours"), KeyError("ours"), AttributeError("ours")])
def test_an_error_of_our_own_stays_what_it_is(error):
    with pytest.raises(type(error), match="ours"), client_errors():
        raise error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        pytest.param(answered(409, "BlobArchived"), "BlobArchived", id="text"),
        pytest.param(answered(409), "", id="none"),
        pytest.param(ServiceRequestError("refused"), "", id="no-answer"),
    ],
)
def test_the_services_code(error, code):
    assert code_of(error) == code
