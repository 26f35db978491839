"""Microsoft Azure Attestation: a quote and its runtime data in, a token out; and the provider's keys.

The token is passed on as it is. The run's verifier decides whether to accept it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from confidential_spark.agent.bounded_http import BoundedHttp, CallLimits, Failure, HttpError
from confidential_spark.agent.errors import AgentError, ExitCode
from confidential_spark.agent.protocol import MAX_TOKEN_BYTES, b64url

if TYPE_CHECKING:
    from collections.abc import Callable

# Five tries of at most 15 s, and the waits between them.
LIMITS = CallLimits(first_delay=1.0, try_timeout=15.0, deadline=200.0)
EXPECTED = 'HTTP 200 with {"token": …}'


def request_token(
    url: str, api_version: str, quote: bytes, runtime_data: bytes, http: BoundedHttp | None = None
) -> str:
    """Return the service's token for an SGX quote with binary runtime data.

    :raises AgentError: exit code 75 when the service stays unavailable, 71 when it refuses.
    """
    client = http or BoundedHttp(url, LIMITS)
    document = {
        "quote": b64url(quote),
        "runtimeData": {"data": b64url(runtime_data), "dataType": "Binary"},
    }
    query = {"api-version": api_version}
    return _token(
        _asked(lambda: client.call("POST", "/attest/SgxEnclave", query=query, document=document).body)
    )


def provider_keys(url: str) -> bytes:
    """Return the provider's key set (JWKS), as it stands at ``{url}/certs``.

    :raises AgentError: as :func:`request_token`.
    """
    client = BoundedHttp(url, LIMITS)
    return _asked(lambda: client.call("GET", "/certs").body)


def _asked(call: Callable[[], bytes]) -> bytes:
    try:
        return call()
    except HttpError as error:
        # The failure table knows one name for a service that is broken and for one that is away.
        word = Failure.UNREACHABLE if error.failure is Failure.UNAVAILABLE else error.failure
        if error.retryable:
            raise AgentError(
                f"The attestation service gave no token. {error.message}",
                exit_code=ExitCode.SERVICE_UNAVAILABLE,
                code=f"attestation-{word}",
                got=error.got,
                expected=EXPECTED,
                action="try again later",
            ) from error
        raise _refused(f"attestation-{word}", error.got) from error


def _token(body: bytes) -> str:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    token = answer.get("token") if isinstance(answer, dict) else None
    if not isinstance(token, str) or not 0 < len(token) <= MAX_TOKEN_BYTES or token.count(".") != 2:
        raise _refused("attestation-garbage", f"{len(body)} bytes without a token")
    return token


def _refused(code: str, got: str) -> AgentError:
    return AgentError(
        "The attestation service gave no token.",
        exit_code=ExitCode.ATTESTATION_REFUSED,
        code=code,
        got=got,
        expected=EXPECTED,
        action="check the provider's address and policy; a retry cannot help",
    )
