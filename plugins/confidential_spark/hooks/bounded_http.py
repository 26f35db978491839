"""How the pipeline calls services outside: checked addresses, one trust store, this project's errors.

The bounded client itself is the agent's, :mod:`confidential_spark.agent.bounded_http`.
"""

from __future__ import annotations

import os
import re
import ssl
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import certifi

from confidential_spark.agent.bounded_http import (
    LOOPBACK_HOSTS,
    BoundedHttp,
    CallLimits,
    Failure,
    HttpAnswer,
    HttpError,
)
from confidential_spark.core.errors import AttestationServiceError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from urllib.parse import SplitResult

__all__ = ["CallLimits", "HttpAnswer", "ServiceClient", "service_url"]

_PRINTABLE = re.compile(r"[!-~]+", re.ASCII)


class ServiceClient:
    """Calls one service.

    :param base_url: a checked address, see :func:`service_url`.
    :param service: ``attestation`` or ``collateral``, the first word of the errors' codes.
    """

    def __init__(self, base_url: str, service: str, limits: CallLimits) -> None:
        """Connect nothing yet."""
        self._service = service
        self._http = BoundedHttp(base_url, limits, trust=trusted_authorities)

    def call(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, document: object = None
    ) -> HttpAnswer:
        """Return the service's answer to a request that may safely be repeated.

        :param document: JSON to send.
        :raises AttestationServiceError: ``…-unreachable``, ``…-timeout``, ``…-throttled``, ``…-unavailable``
            (retryable), ``…-refused``, ``…-redirected``, ``…-too-large``, ``…-garbage``, ``…-certificate``.
        """
        try:
            return self._http.call(method, path, query=query, document=document)
        except HttpError as error:
            redirected = error.failure is Failure.REDIRECTED
            raise AttestationServiceError(
                error.message,
                code=f"{self._service}-{error.failure}",
                got=error.got,
                expected=error.expected,
                action="configure the address the service really has" if redirected else None,
                retryable=error.retryable,
            ) from error


def trusted_authorities() -> ssl.SSLContext:
    """Return a context with the authorities that `requests` trusts, so that one setting serves both."""
    return ssl.create_default_context(cafile=os.environ.get("REQUESTS_CA_BUNDLE") or certifi.where())


def service_url(text: str, service: str) -> str:
    """Return a service's base address without a trailing slash.

    :param service: ``attestation`` or ``collateral``, the first word of the error's code.
    :raises AttestationServiceError: ``…-insecure-url`` for anything but ``https://`` (on loopback also
        ``http://``), and for user names, passwords, queries and fragments.
    """
    try:
        acceptable = _PRINTABLE.fullmatch(text) is not None and _is_acceptable(urlsplit(text))
    except ValueError:  # a port that is no number, an IPv6 address that is none
        acceptable = False
    if not acceptable:
        raise AttestationServiceError(
            f"The {service} service's address is not acceptable.",
            code=f"{service}-insecure-url",
            got=_without_secrets(text),
            expected="https://host[:port][/path], or http:// on 127.0.0.1, ::1 or localhost",
            action=f"correct the {service} service's address",
        )
    return text.rstrip("/")


def _is_acceptable(parts: SplitResult) -> bool:
    secure = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK_HOSTS)
    plain = "@" not in parts.netloc and not parts.query and not parts.fragment
    return secure and plain and bool(parts.hostname) and parts.port != 0


def _without_secrets(text: str) -> str:
    """Return an address for a message: no user information, no query."""
    return re.sub(r"//[^/]*@", "//…@", text).partition("?")[0]
