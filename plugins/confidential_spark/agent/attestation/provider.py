"""Microsoft Azure Attestation: a quote and its runtime data in, a token out; and the provider's keys.

The token is passed on as it is. Whoever verifies the run decides what it is worth.
"""

from __future__ import annotations

import email.utils
import json
import random
import ssl
import time
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage, IncompleteRead
from typing import IO, TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, ProxyHandler, Request, build_opener

from confidential_spark.agent.errors import AgentError, ExitCode, shorten
from confidential_spark.agent.loopback import is_loopback
from confidential_spark.agent.protocol import MAX_TOKEN_BYTES, b64url

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_RESPONSE_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Patience:
    """How long to try; times in seconds."""

    attempts: int = 5
    request_timeout: float = 15.0
    first_pause: float = 1.0
    longest_pause: float = 30.0
    sleep: Callable[[float], None] = time.sleep


class _Transient(Exception):
    """The service may answer later; ``pause`` is what it asked for, in seconds."""

    def __init__(self, code: str, got: str, pause: float | None = None) -> None:
        super().__init__(got)
        self.code = code
        self.pause = pause


class _NoRedirects(HTTPRedirectHandler):
    """A redirect would carry the quote to a host nobody configured; it becomes an error instead."""

    def http_error_302(self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage) -> None:
        return None

    # Here and not in `redirect_request`: by then urllib has parsed the address, and may have failed to.
    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def request_token(
    url: str, api_version: str, quote: bytes, runtime_data: bytes, patience: Patience | None = None
) -> str:
    """Return the service's token for an SGX quote with binary runtime data.

    :raises AgentError: exit code 75 when the service stays unavailable, 71 when it refuses.
    """
    request = _request(url, api_version, quote, runtime_data)
    return _token(_patiently(url, request, patience or Patience()))


def provider_keys(url: str, patience: Patience | None = None) -> bytes:
    """Return the provider's key set (JWKS), as it stands at ``{url}/certs``.

    :raises AgentError: as :func:`request_token`.
    """
    request = Request(f"{url.rstrip('/')}/certs", headers={"Accept": "application/json"})  # noqa: S310 - as above
    return _patiently(url, request, patience or Patience())


def _patiently(url: str, request: Request, patience: Patience) -> bytes:
    """Return the body of a 200 answer, however often it has to be asked for."""
    opener = _opener(url)
    pause = patience.first_pause
    for attempt in range(1, patience.attempts + 1):
        try:
            return _body_of(opener, request, patience.request_timeout)
        except _Transient as problem:
            if attempt == patience.attempts:
                raise _unavailable(problem, attempt) from problem
            wanted = problem.pause if problem.pause is not None else pause * random.uniform(0.5, 1)  # noqa: S311
            patience.sleep(min(wanted, patience.longest_pause))
            pause *= 2
    raise AssertionError("unreachable: the last attempt returns or raises")


def _request(url: str, api_version: str, quote: bytes, runtime_data: bytes) -> Request:
    body = {
        "quote": b64url(quote),
        "runtimeData": {"data": b64url(runtime_data), "dataType": "Binary"},
    }
    return Request(  # noqa: S310 - the launch file's check admits https and loopback http only
        f"{url.rstrip('/')}/attest/SgxEnclave?api-version={api_version}",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "Accept": "application/json"},
        method="POST",
    )


def _opener(url: str) -> OpenerDirector:
    """Return an opener without redirects, and without proxies for loopback; TLS is verified by default."""
    return build_opener(_NoRedirects, *([ProxyHandler({})] if is_loopback(url) else []))


def _body_of(opener: OpenerDirector, request: Request, timeout: float) -> bytes:
    """Return the body of a 200 answer."""
    deadline = time.monotonic() + timeout
    try:
        with opener.open(request, timeout=timeout) as response:
            return _bounded_body(response, deadline)
    except HTTPError as error:
        with error:
            raise _status_problem(error, deadline) from None
    except TimeoutError as error:
        raise _Transient("attestation-timeout", f"no answer within {timeout:g} s") from error
    except URLError as error:
        # A broken connection looks like the end of the stream; whatever else TLS says, it will say again.
        if isinstance(error.reason, ssl.SSLError) and not isinstance(error.reason, ssl.SSLEOFError):
            raise _refused("attestation-certificate", str(error.reason)) from error
        code = "attestation-timeout" if isinstance(error.reason, TimeoutError) else "attestation-unreachable"
        raise _Transient(code, str(error.reason)) from error
    except (OSError, HTTPException) as error:
        raise _Transient("attestation-unreachable", shorten(repr(error))) from error


def _bounded_body(response: Any, deadline: float) -> bytes:  # noqa: ANN401 - a response or an HTTPError
    """Read at most the limit, before the deadline, however slowly it drips."""
    body = bytearray()
    while chunk := response.read1(64 * 1024):
        body += chunk
        if len(body) > MAX_RESPONSE_BYTES:
            raise _refused("attestation-too-large", f"more than {MAX_RESPONSE_BYTES} bytes")
        if time.monotonic() > deadline:
            raise TimeoutError
    if response.length:
        raise IncompleteRead(bytes(body), response.length)
    return bytes(body)


def _status_problem(error: HTTPError, deadline: float) -> Exception:
    try:
        body = _bounded_body(error, deadline)
    except (OSError, HTTPException):
        body = b""
    request_id = shorten(error.headers.get("x-ms-request-id", "none"), 64)
    got = f"HTTP {error.code}, {_service_message(body)}, x-ms-request-id {request_id}"
    if error.code in (408, 429) or error.code >= 500:
        code = "attestation-throttled" if error.code == 429 else "attestation-unreachable"
        return _Transient(code, got, _retry_after(error.headers.get("Retry-After")))
    if 300 <= error.code < 400:
        target = _host_of(error.headers.get("Location", ""))
        return _refused("attestation-redirected", f"HTTP {error.code} to {target}")
    return _refused("attestation-refused", got)


def _host_of(location: str) -> str:
    try:
        return shorten(urlsplit(location).hostname or "nowhere", 80)
    except ValueError:
        return "a malformed address"


def _service_message(body: bytes) -> str:
    """Return MAA's ``{"error": {"code", "message"}}`` as text."""
    try:
        error = json.loads(body)["error"]
        return shorten(f"{error['code']}: {error['message']}", 160)
    except (ValueError, KeyError, TypeError, RecursionError):
        return "without a message"


def _retry_after(value: str | None) -> float | None:
    """Return seconds from a Retry-After header: a number, or an HTTP date."""
    if value is None:
        return None
    if value.isascii() and value.isdigit() and len(value) < 10:
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


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
        expected='HTTP 200 with {"token": …}',
        action="check the provider's address and policy; a retry cannot help",
    )


def _unavailable(problem: _Transient, attempts: int) -> AgentError:
    return AgentError(
        f"The attestation service did not answer in {attempts} attempts.",
        exit_code=ExitCode.ATTESTATION_UNAVAILABLE,
        code=problem.code,
        got=str(problem),
        expected='HTTP 200 with {"token": …}',
        action="try again later",
    )
