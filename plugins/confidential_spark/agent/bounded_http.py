"""HTTP to services outside, bounded in every direction: time, size, tries and where it goes.

No redirect is followed, certificates are always verified, answers are capped while they stream, and only what
may pass by itself (408, 429, 5xx, timeouts, broken connections) is tried again. Agent and hooks use this one
client.
"""

from __future__ import annotations

import json
import logging
import random
import re
import socket
import ssl
import threading
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from functools import cached_property, partial
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection, IncompleteRead
from typing import TYPE_CHECKING, Any
from urllib.error import URLError
from urllib.parse import urlencode, urlsplit
from urllib.request import (
    AbstractHTTPHandler,
    HTTPErrorProcessor,
    OpenerDirector,
    ProxyHandler,
    Request,
    UnknownHandler,
)

from confidential_spark.agent.errors import shorten

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from email.message import Message

    Pairs = Mapping[str, str] | None

log = logging.getLogger(__name__)

CHUNK_BYTES = 64 * 1024
REQUEST_ID_HEADER = "x-ms-request-id"
# Azure Storage explains itself in XML, and gives the error's code here.
ERROR_CODE_HEADER = "x-ms-error-code"
USER_AGENT = "confidential-spark"
# The only addresses that are reached without TLS, and never through a proxy.
LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})


class Failure(StrEnum):
    """How a call can fail; the last word of an error's code."""

    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    THROTTLED = "throttled"
    UNAVAILABLE = "unavailable"
    CERTIFICATE = "certificate"
    REFUSED = "refused"
    REDIRECTED = "redirected"
    TOO_LARGE = "too-large"
    GARBAGE = "garbage"


RETRYABLE = frozenset({Failure.UNREACHABLE, Failure.TIMEOUT, Failure.THROTTLED, Failure.UNAVAILABLE})


class HttpError(Exception):
    """A call failed.

    :param message: what happened, one sentence.
    :param retry_after: how long the service asked to be left alone, in seconds.
    """

    status: int | None = None
    """The HTTP status, where the service gave one."""
    code: str = ""
    """Azure Storage's own word for a refusal."""
    attempt: int = 1
    """Which try failed: after the first one, the service may have done what it was asked."""

    def __init__(
        self, failure: Failure, message: str, got: str, expected: str, retry_after: float | None = None
    ) -> None:
        """Join message and got to one line."""
        super().__init__(f"{message} got: {got}")
        self.failure = failure
        self.message = message
        self.got = got
        self.expected = expected
        self.retry_after = retry_after

    @property
    def retryable(self) -> bool:
        """Whether the same call may succeed later."""
        return self.failure in RETRYABLE


@dataclass(frozen=True)
class CallLimits:
    """How long, how often and how large; all times in seconds.

    :param attempts: tries of one call, the first included.
    :param first_delay: wait after the first failure; it doubles with each further one.
    :param max_delay: longest wait, also when the service asks for more with Retry-After.
    :param deadline: no try starts, and no answer is read, later than this after the call began.
    :param try_timeout: one try, from the handshake to the last byte of the answer.
    """

    attempts: int = 5
    first_delay: float = 0.5
    max_delay: float = 30.0
    deadline: float = 120.0
    connect_timeout: float = 5.0
    try_timeout: float = 30.0
    max_answer_bytes: int = 1024 * 1024


@dataclass(frozen=True)
class HttpAnswer:
    """A complete answer with status 200, 206 where a range was asked for, or 201 where something was put.

    :param headers: looked up without regard to case.
    :param request_id: the service's own name for the exchange, for its support.
    """

    body: bytes
    headers: Message
    request_id: str


class BoundedHttp:
    """Calls one service.

    :param base_url: a checked address: https, or http on the loopback.
    :param trust: makes the TLS context; the standard library's default without one.
    :param sleep: waits between two tries.
    """

    def __init__(
        self,
        base_url: str,
        limits: CallLimits | None = None,
        *,
        trust: Callable[[], ssl.SSLContext] = ssl.create_default_context,
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        """Connect nothing yet."""
        self.base_url = base_url.rstrip("/")
        self.limits = limits or CallLimits()
        self._trust = trust
        self._sleep = sleep or time.sleep

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Pairs = None,
        document: object = None,
        content: bytes | None = None,
        headers: Pairs = None,
    ) -> HttpAnswer:
        """Return the service's answer to a request that may safely be repeated.

        :param path: encoded; what is behind a ``?`` is never logged.
        :param document: JSON to send; or ``content``, whose type the headers say.
        :raises HttpError: the last try's, when all tries failed; at once for what cannot pass by itself.
        """
        request = self._request(method, path, query, document, headers or {})
        request.data = request.data or content
        deadline = time.monotonic() + self.limits.deadline
        attempt = 1
        while True:
            try:
                return self._try(request, deadline)
            except HttpError as error:
                error.attempt = attempt
                wait = self._wait(attempt, error.retry_after)
                spent = attempt >= self.limits.attempts or time.monotonic() + wait >= deadline
                if spent or not error.retryable:
                    raise
                log.warning("%s; try %d of %d, next in %.1f s", error, attempt, self.limits.attempts, wait)
                self._sleep(wait)
                attempt += 1

    def _request(
        self, method: str, path: str, query: Pairs, document: object, further: Mapping[str, str]
    ) -> Request:
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": USER_AGENT}
        headers |= further
        body = None
        if document is not None:
            body = json.dumps(document).encode()
            headers["Content-Type"] = "application/json"
        url = self.base_url + path + (f"?{urlencode(query)}" if query else "")
        return Request(url, data=body, headers=headers, method=method)  # noqa: S310 - the opener knows HTTP only

    def _wait(self, attempt: int, retry_after: float | None) -> float:
        """Return the seconds until the next try: backoff with jitter, or longer when the service asks."""
        backoff: float = min(self.limits.first_delay * 2 ** (attempt - 1), self.limits.max_delay)
        jittered = backoff * random.uniform(0.5, 1.0)  # noqa: S311 - spreads callers, hides nothing
        return max(jittered, min(retry_after or 0.0, self.limits.max_delay))

    def _try(self, request: Request, deadline: float) -> HttpAnswer:
        seconds = max(min(self.limits.try_timeout, deadline - time.monotonic()), 0.001)
        guard = _Guard(seconds, self.limits.connect_timeout)
        try:
            with guard, closing(self._opener(guard).open(request, timeout=seconds)) as response:
                return self._read(request, response)
        except (OSError, HTTPException) as problem:
            raise self._broken(problem, timed_out=guard.fired, seconds=seconds) from problem

    def _opener(self, guard: _Guard) -> OpenerDirector:
        """Return an opener for HTTP only, without redirects, and without proxies on the loopback."""
        opener = OpenerDirector()
        proxies: dict[str, str] | None = {} if is_loopback(self.base_url) else None
        own = _Handler(guard, lambda: self._context)
        for handler in (ProxyHandler(proxies), own, _AnyStatus(), UnknownHandler()):
            opener.add_handler(handler)
        return opener

    @cached_property
    def _context(self) -> ssl.SSLContext:
        return self._trust()

    def _broken(self, problem: Exception, *, timed_out: bool, seconds: float) -> HttpError:
        reason = problem.reason if isinstance(problem, URLError) else problem
        # A broken connection looks like the end of the stream; whatever else TLS says, it will say again.
        if isinstance(reason, ssl.SSLError) and not isinstance(reason, ssl.SSLEOFError) and not timed_out:
            message = "The service's TLS certificate is not valid."
            return HttpError(Failure.CERTIFICATE, message, shorten(str(reason)), "a trusted one")
        got = f"{urlsplit(self.base_url).netloc}: {shorten(str(reason) or repr(reason))}"
        if timed_out or isinstance(reason, TimeoutError):
            expected = f"an answer within {seconds:g} s"
            return HttpError(Failure.TIMEOUT, "The service did not answer in time.", got, expected)
        return HttpError(Failure.UNREACHABLE, "The service did not answer.", got, "a connection")

    def _read(self, request: Request, response: HTTPResponse) -> HttpAnswer:
        request_id = shorten(response.headers.get(REQUEST_ID_HEADER, "none"), 64)
        status = f"HTTP {response.status} ({REQUEST_ID_HEADER} {request_id})"
        log.info("%s %s: %s", request.method, urlsplit(request.full_url).path, status)
        body = self._body(response)
        wanted = HTTPStatus.PARTIAL_CONTENT if request.has_header("Range") else HTTPStatus.OK
        if request.method == "PUT":
            wanted = HTTPStatus.CREATED
        if response.status != wanted:
            code = shorten(response.headers.get(ERROR_CODE_HEADER, ""), 64)
            said = _explanation(body) or code
            refusal = self._refusal(response, f"{status} {said}".rstrip(), f"HTTP {wanted}")
            refusal.status, refusal.code = response.status, code
            raise refusal
        if not ("Content-Length" in response.headers or "Transfer-Encoding" in response.headers):
            # Such an answer ends where the connection does, and a broken connection looks the same.
            raise HttpError(Failure.UNREACHABLE, "The answer may be cut off.", status, "a length")
        return HttpAnswer(body, response.headers, request_id)

    def _body(self, response: HTTPResponse) -> bytes:
        limit = self.limits.max_answer_bytes
        body = bytearray()
        while chunk := response.read1(CHUNK_BYTES):
            body += chunk
            if len(body) > limit:
                message = "The service's answer is too large."
                raise HttpError(
                    Failure.TOO_LARGE, message, f"over {len(body)} bytes", f"at most {limit} bytes"
                )
        if response.length:
            raise IncompleteRead(bytes(body), response.length)
        return bytes(body)

    def _refusal(self, response: HTTPResponse, got: str, wanted: str) -> HttpError:
        status = response.status
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            retry_after = _retry_after(response.headers.get("Retry-After"))
            return HttpError(Failure.THROTTLED, "The service throttles us.", got, wanted, retry_after)
        if status == HTTPStatus.REQUEST_TIMEOUT or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            retry_after = _retry_after(response.headers.get("Retry-After"))
            return HttpError(Failure.UNAVAILABLE, "The service failed.", got, wanted, retry_after)
        if status >= HTTPStatus.BAD_REQUEST:
            return HttpError(Failure.REFUSED, "The service refuses the request.", got, wanted)
        if status >= HTTPStatus.MULTIPLE_CHOICES:
            return HttpError(
                Failure.REDIRECTED,
                "The service redirects elsewhere; redirects are not followed.",
                f"to {_redirect_host(response.headers.get('Location', ''))}, {got}",
                f"an answer from {urlsplit(self.base_url).netloc}",
            )
        return HttpError(Failure.GARBAGE, "The service's answer has an unexpected status.", got, wanted)


class _Guard:
    """Ends a connection that outlives its time, whatever is being waited for: handshake, headers or body.

    A socket's own timeout begins anew with every byte, so a peer that sends one at a time never meets it.
    """

    def __init__(self, seconds: float, connect_timeout: float) -> None:
        self.fired = False
        self._connect_timeout = connect_timeout
        self._timer = threading.Timer(seconds, self._fire)
        self._timer.daemon = True
        self._lock = threading.Lock()
        self._connection: socket.socket | None = None

    def __enter__(self) -> _Guard:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        with self._lock:
            if self._connection is not None:
                self._connection.close()

    def connect(self, address: tuple[str, int], timeout: float, *_: object) -> socket.socket:
        """Stand in for :func:`socket.create_connection`."""
        connection = socket.create_connection(address, min(timeout, self._connect_timeout))
        connection.settimeout(timeout)
        with self._lock:
            # A duplicate, because TLS takes the original's descriptor over.
            self._connection = connection.dup()
            if self.fired:
                raise TimeoutError("the time for this try is over")
        return connection

    def _fire(self) -> None:
        with self._lock:
            self.fired = True
            if self._connection is not None:
                with suppress(OSError):  # the peer was quicker
                    self._connection.shutdown(socket.SHUT_RDWR)


def _guarded(kind: type[Any], guard: _Guard, *arguments: Any, **options: Any) -> Any:
    connection = kind(*arguments, **options)
    connection._create_connection = guard.connect
    return connection


class _Handler(AbstractHTTPHandler):
    def __init__(self, guard: _Guard, context: Callable[[], ssl.SSLContext]) -> None:
        super().__init__()
        self._guard = guard
        self._context = context

    def http_open(self, request: Request) -> HTTPResponse:
        return self.do_open(partial(_guarded, HTTPConnection, self._guard), request)

    def https_open(self, request: Request) -> HTTPResponse:
        return self.do_open(partial(_guarded, HTTPSConnection, self._guard), request, context=self._context())

    http_request = https_request = AbstractHTTPHandler.do_request_


class _AnyStatus(HTTPErrorProcessor):
    """Hands every answer on: a redirect would carry a quote to a host that nobody configured."""

    def http_response(self, _request: Request, response: HTTPResponse) -> HTTPResponse:
        return response

    https_response = http_response  # type: ignore[assignment]  # typeshed wants the parameters' names


def is_loopback(url: str) -> bool:
    """Return whether ``url`` names this machine by a loopback address.

    :raises ValueError: it is no URL.
    """
    return urlsplit(url).hostname in LOOPBACK_HOSTS


def _explanation(body: bytes) -> str:
    """Return what an error's body says in Azure's shape ``{"error": {"code", "message"}}``, or nothing."""
    try:
        error = json.loads(body)["error"]
        return shorten(f"{error['code']}: {error['message']}")
    except (ValueError, KeyError, TypeError, RecursionError):
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
        return shorten(urlsplit(location).hostname or "another path of the same host", 80)
    except ValueError:
        return "a malformed address"
