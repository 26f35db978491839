"""Addresses of outside services: TLS always, except on this machine's loopback."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from confidential_spark.agent.loopback import LOOPBACK_HOSTS
from confidential_spark.core.errors import AttestationServiceError

if TYPE_CHECKING:
    from urllib.parse import SplitResult

_PRINTABLE = re.compile(r"[!-~]+", re.ASCII)


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
