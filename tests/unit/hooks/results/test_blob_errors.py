"""What Azure Storage answers, or does not, is named; nothing that it quotes is shown."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ServiceRequestError,
    ServiceResponseError,
)
from confidential_spark.hooks.results.blob_errors import named_error

URL = "wasbs://results@account.blob.core.windows.net/spark"
CANARY = "sig=canary"


def answered(status: int, code: str = "", text: str = "") -> HttpResponseError:
    error = HttpResponseError(f"{text} for /results?{CANARY}")
    error.status_code, error.error_code = status, code
    return error


class WithReason(Exception):
    """As urllib3's errors, which say in `reason` what is behind them."""

    def __init__(self, reason: Exception) -> None:
        super().__init__(f"Max retries exceeded with url: /results?{CANARY}")
        self.reason = reason


FORBIDDEN = ("results-forbidden", False)
AWAY = ("results-unreachable", True)
REFUSED = ("results-refused", False)
EXPIRED = "Signature not valid in the specified time frame: Expiry [x]"
TIMEOUT = ServiceRequestError(CANARY, error=WithReason(TimeoutError(CANARY)))
NO_TOKEN = ClientAuthenticationError(f"no token {CANARY}")


@pytest.mark.parametrize(
    ("error", "named", "got"),
    [
        pytest.param(answered(403, "AuthenticationFailed"), FORBIDDEN, "403 AuthenticationFailed", id="key"),
        pytest.param(answered(401), FORBIDDEN, "401", id="no-token"),
        pytest.param(answered(409, "PublicAccessNotPermitted"), FORBIDDEN, "409", id="public"),
        pytest.param(answered(403, "AuthenticationFailed", EXPIRED), FORBIDDEN, "Expiry [x]", id="expired"),
        pytest.param(NO_TOKEN, FORBIDDEN, "ClientAuthenticationError", id="identity"),
        pytest.param(
            answered(404, "ContainerNotFound"), ("results-container-missing", False), "404", id="container"
        ),
        pytest.param(answered(429), AWAY, "429", id="throttled"),
        pytest.param(answered(503, "ServerBusy"), AWAY, "503 ServerBusy", id="busy"),
        pytest.param(answered(500, "InternalError"), AWAY, "500", id="failed"),
        pytest.param(ServiceResponseError("reset"), AWAY, "ServiceResponseError", id="reset"),
        pytest.param(TIMEOUT, AWAY, "WithReason, TimeoutError", id="timeout"),
        pytest.param(answered(302), ("storage-redirected", False), "302", id="redirect"),
        pytest.param(answered(409, "BlobArchived"), ("storage-blob-archived", False), "409", id="archived"),
        pytest.param(answered(200), ("storage-garbage", False), "200", id="success-as-a-refusal"),
        pytest.param(answered(409, "BlobImmutableDueToPolicy"), REFUSED, "409 Blob", id="policy"),
    ],
)
def test_each_is_named(error, named: tuple[str, bool], got: str) -> None:
    found = named_error(error, "read summary.json", URL)
    assert (found.code, found.retryable) == named
    assert got in (found.got or "")
    assert URL in (found.got or "")
    assert CANARY not in str(found)


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        pytest.param({}, "storage-garbage", id="of-no-blob-service"),
        pytest.param({"x-ms-request-id": "4880b545"}, "results-refused", id="of-the-service"),
    ],
)
def test_an_answer_without_a_code_is_named(headers: dict[str, str], code: str) -> None:
    error = HttpResponseError(response=SimpleNamespace(status_code=418, reason="teapot", headers=headers))
    assert named_error(error, "list", URL).code == code
