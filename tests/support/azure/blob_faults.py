"""Faults of a storage account, and a relay to Azurite between which they are put."""

from __future__ import annotations

from http.client import HTTPConnection
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tests.support.fakes.faulty_service import Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from confidential_spark.simulation.service.api import Request

HOP_HEADERS = {"connection", "content-length", "transfer-encoding", "keep-alive"}


def relay(endpoint: str) -> Callable[[Request, Mapping[str, str]], Fault]:
    """Return what passes each request on to an emulator, and its answer back."""
    host = urlsplit(endpoint).netloc

    def passed_on(request: Request, headers: Mapping[str, str]) -> Fault:
        connection = HTTPConnection(host, timeout=30)
        try:
            connection.request(
                request.method, request.target, request.body or None, {**headers, "host": host}
            )
            response = connection.getresponse()
            kept = {
                name: value for name, value in response.headers.items() if name.lower() not in HOP_HEADERS
            }
            return Fault(response.status, response.read(), kept)
        finally:
            connection.close()

    return passed_on


def refused(status: int, code: str = "", **headers: str) -> Fault:
    """Return a refusal as the Blob service writes it: the error's code in a header, and XML."""
    named = {"x-ms-error-code": code} if code else {}
    return Fault(status, f"<Error><Code>{code}</Code></Error>".encode(), named | headers)
