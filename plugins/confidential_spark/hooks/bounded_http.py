"""HTTP to services outside, bounded in every direction: time, size, tries and where it goes.

No redirect is followed, certificates are always verified, answers are capped while they stream, and only
what may pass by itself (429, 5xx, timeouts, broken connections) is tried again.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import urlsplit

import requests
import urllib3.exceptions

from confidential_spark.agent.loopback import is_loopback
from confidential_spark.core.errors import AttestationServiceError, VerificationError, shorten
from confidential_spark.verification import strict_json
from confidential_spark.verification.json_object import JsonObject
from confidential_spark.verification.refusals import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

log = logging.getLogger(__name__)

CHUNK_BYTES = 64 * 1024
MAX_ERROR_BYTES = 64 * 1024
REQUEST_ID_HEADER = "x-ms-request-id"
_JITTER = secrets.SystemRandom()


@dataclass(frozen=True)
class CallLimits:
    """How long, how often and how large; all times in seconds.

    :param attempts: tries of one call, the first included.
    :param first_delay: wait after the first failure; it doubles with each further one.
    :param max_delay: longest wait, also when the service asks for more with Retry-After.
    :param deadline: no try starts, and no answer is read, later than this after the call began.
    """

    attempts: int = 5
    first_delay: float = 0.5
    max_delay: float = 30.0
    deadline: float = 120.0
    connect_timeout: float = 5.0
    read_timeout: float = 30.0
    max_answer_bytes: int = 1024 * 1024


@dataclass(frozen=True)
class HttpAnswer:
    """A complete answer with status 200.

    :param request_id: the service's own name for the exchange, for its support.
    """

    body: bytes
    headers: Mapping[str, str]
    request_id: str


class _DirectSession(requests.Session):
    """A session that does not look where a redirect leads.

    Even with ``allow_redirects=False`` the original reads a redirect's whole body and parses its target.
    """

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Return nothing."""
        return None


class _FailedTry(Exception):
    """One try failed; a further one may not."""

    def __init__(self, error: AttestationServiceError, retry_after: float | None = None) -> None:
        super().__init__(error.code)
        self.error = error
        self.retry_after = retry_after


class BoundedHttp:
    """Calls one service.

    :param base_url: a checked address, see `service_url`.
    :param service: ``attestation`` or ``collateral``, the first word of the errors' codes.
    """

    def __init__(self, base_url: str, service: str, limits: CallLimits) -> None:
        """Connect nothing yet."""
        self.base_url = base_url
        self.service = service
        self.limits = limits

    @cached_property
    def session(self) -> requests.Session:
        """The connection pool, without a user's ``.netrc`` and, on loopback, without proxies."""
        session = _DirectSession()
        session.auth = _no_credentials
        session.trust_env = not is_loopback(self.base_url)
        session.headers.update({"Accept-Encoding": "identity", "User-Agent": "confidential-spark"})
        return session

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        document: object = None,
    ) -> HttpAnswer:
        """Return the service's answer to a request that may safely be repeated.

        :param document: JSON to send.
        :raises AttestationServiceError: ``…-unreachable``, ``…-timeout``, ``…-throttled``, ``…-unavailable``
            (retryable), ``…-refused``, ``…-redirected``, ``…-too-large``, ``…-garbage``, ``…-certificate``.
        """
        request = requests.Request(method, self.base_url + path, params=dict(query or {}), json=document)
        deadline = time.monotonic() + self.limits.deadline
        attempt = 1
        while True:
            try:
                return self._try(request, deadline)
            except _FailedTry as failure:
                wait = self._wait(attempt, failure.retry_after)
                if attempt >= self.limits.attempts or time.monotonic() + wait >= deadline:
                    raise failure.error from failure.__cause__
                log.warning(
                    "%s; try %d of %d, next in %.1f s", failure.error, attempt, self.limits.attempts, wait
                )
                time.sleep(wait)
                attempt += 1

    def _wait(self, attempt: int, retry_after: float | None) -> float:
        """Return the seconds until the next try: backoff with jitter, or longer when the service asks."""
        backoff: float = min(self.limits.first_delay * 2 ** (attempt - 1), self.limits.max_delay)
        return max(backoff * _JITTER.uniform(0.5, 1.0), min(retry_after or 0.0, self.limits.max_delay))

    def _try(self, request: requests.Request, deadline: float) -> HttpAnswer:
        prepared = self.session.prepare_request(request)
        settings = self.session.merge_environment_settings(prepared.url, {}, True, True, None)
        try:
            with self.session.send(
                prepared, timeout=self._timeouts(deadline), allow_redirects=False, **settings
            ) as response:
                return self._read(response, deadline)
        except (requests.RequestException, urllib3.exceptions.HTTPError) as problem:
            self._failed(problem)

    def _timeouts(self, deadline: float) -> tuple[float, float]:
        left = max(deadline - time.monotonic(), 0.001)
        return min(self.limits.connect_timeout, left), min(self.limits.read_timeout, left)

    def _failed(self, problem: Exception) -> NoReturn:
        host = urlsplit(self.base_url).netloc
        if isinstance(problem, requests.exceptions.SSLError):
            raise self._error(
                "certificate",
                "The service's TLS certificate is not valid.",
                shorten(str(problem)),
                "a trusted one",
            ) from problem
        timeouts = (requests.Timeout, urllib3.exceptions.TimeoutError)
        code, expected = (
            ("timeout", f"an answer within {self.limits.read_timeout:g} s")
            if isinstance(problem, timeouts)
            else ("unreachable", "a connection")
        )
        got = f"{host}: {type(problem).__name__}"
        raise _FailedTry(
            self._error(code, "The service did not answer.", got, expected, retryable=True)
        ) from problem

    def _read(self, response: requests.Response, deadline: float) -> HttpAnswer:
        request_id = shorten(response.headers.get(REQUEST_ID_HEADER, "none"), 64)
        status = f"HTTP {response.status_code} ({REQUEST_ID_HEADER} {request_id})"
        log.info("%s %s: %s", response.request.method, urlsplit(response.url).path, status)
        body = self._body(response, deadline)
        if response.status_code != requests.codes.ok:
            self._refused(response, f"{status} {_explanation(body)}".rstrip())
        if not ("Content-Length" in response.headers or "Transfer-Encoding" in response.headers):
            # Such an answer ends where the connection does, and a broken connection looks the same.
            error = self._error(
                "unreachable", "The answer may be cut off.", status, "a length", retryable=True
            )
            raise _FailedTry(error)
        return HttpAnswer(body, response.headers, request_id)

    def _body(self, response: requests.Response, deadline: float) -> bytes:
        """Read the body; the announced length is enforced by urllib3."""
        limit = self.limits.max_answer_bytes
        body = bytearray()
        while chunk := response.raw.read1(CHUNK_BYTES, decode_content=False):
            body += chunk
            if len(body) > limit:
                raise self._error(
                    "too-large",
                    "The service's answer is too large.",
                    f"over {len(body)} bytes",
                    f"at most {limit}",
                )
            if time.monotonic() > deadline:
                raise self._error(
                    "timeout",
                    "The service's answer trickles.",
                    f"{len(body)} bytes so far",
                    f"all of it within {self.limits.deadline:g} s",
                    retryable=True,
                )
        return bytes(body)

    def _refused(self, response: requests.Response, got: str) -> NoReturn:
        status = response.status_code
        if status == requests.codes.too_many_requests or status >= requests.codes.server_error:
            code, message = (
                ("throttled", "The service throttles us.")
                if status == requests.codes.too_many_requests
                else ("unavailable", "The service failed.")
            )
            error = self._error(code, message, got, "HTTP 200", retryable=True)
            raise _FailedTry(error, _retry_after(response.headers.get("Retry-After")))
        if status >= requests.codes.bad_request:
            raise self._error("refused", "The service refuses the request.", got, "HTTP 200")
        if status >= requests.codes.multiple_choices:
            raise self._error(
                "redirected",
                "The service redirects elsewhere; redirects are not followed.",
                f"to {_redirect_host(response.headers.get('Location', ''))}, {got}",
                f"an answer from {urlsplit(self.base_url).netloc}",
                action="configure the address the service really has",
            )
        raise self._error("garbage", "The service's answer has an unexpected status.", got, "HTTP 200")

    def _error(
        self,
        code: str,
        message: str,
        got: str,
        expected: str,
        *,
        retryable: bool = False,
        action: str | None = None,
    ) -> AttestationServiceError:
        return AttestationServiceError(
            message,
            code=f"{self.service}-{code}",
            got=got,
            expected=expected,
            action=action,
            retryable=retryable,
        )


def _no_credentials(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _explanation(body: bytes) -> str:
    """Return what an error's body says in Azure's shape, or nothing."""
    code = Refusal.INPUT_TYPE
    try:
        document = strict_json.loads(body, what="error", max_bytes=MAX_ERROR_BYTES, malformed=code)
        problem = JsonObject.of(document, "error", code).object("error")
        return shorten(f"{problem.text('code')}: {problem.text('message')}")
    except VerificationError:
        return ""


def _retry_after(header: str | None) -> float | None:
    """Return the seconds a Retry-After header asks for, given as seconds or as a date (RFC 9110, 10.2.3)."""
    if header is None:
        return None
    if re.fullmatch(r"[0-9]{1,9}", header, re.ASCII):
        return float(header)
    try:
        # Not by conversion to UTC: the last hours of year 9999 have no UTC.
        seconds = parsedate_to_datetime(header).timestamp() - datetime.now(UTC).timestamp()
    except (ValueError, OverflowError):
        return None
    return max(seconds, 0.0)


def _redirect_host(location: str) -> str:
    try:
        return urlsplit(location).hostname or "another path of the same host"
    except ValueError:
        return "a malformed address"
