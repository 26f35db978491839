"""Whether an answer is the Blob service's, and what it says: for inputs and results alike.

Between a client and its account may stand a proxy that redirects, signs people in, or answers from a cache.
Such an answer must get a name of its own: read as the service's, it would be an empty or a missing month.
"""

from __future__ import annotations

import traceback
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from azure.core.exceptions import AzureError, HttpResponseError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# For clients and for single requests. The Blob service never redirects; who follows takes a SAS token along.
NO_REDIRECTS: Mapping[str, Any] = {"permit_redirects": False}
# The service sends at least one of them with every answer, refusals included.
OF_THE_SERVICE = ("x-ms-request-id", "x-ms-version", "x-ms-error-code")
# Azurite leaves them out where it gives an identity a key for signatures.
EMULATOR = "Azurite-Blob"
ARCHIVED = frozenset({"BlobArchived", "BlobBeingRehydrated"})
# Also sent by gateways on the way; each is worth a retry, whoever it is.
PASSING = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})


class ForeignAnswerError(ValueError):
    """An answer that says "done", and is not the Blob service's."""


class UnreadableAnswerError(AzureError):
    """An answer that the client library cannot read, or that is not the Blob service's."""


def code_of(error: BaseException) -> str:
    """Return the service's code of a refusal; empty when it did not answer, or gave none."""
    if not isinstance(error, HttpResponseError):
        return ""
    code = getattr(error, "error_code", None)
    return str(getattr(code, "value", code) or "")


def require_blob_service(answered: Any) -> None:
    """Refuse a success that the Blob service did not send; a client's ``raw_response_hook``.

    It is no error of the client library's, because those are asked again.

    :param answered: a response of the client library's pipeline.
    :raises ForeignAnswerError: with what came.
    """
    response = answered.http_response
    if response.status_code < HTTPStatus.MULTIPLE_CHOICES and _is_foreign(response):
        kind = str(response.headers.get("Content-Type", "no type"))[:80]
        raise ForeignAnswerError(f"HTTP {response.status_code} ({kind}) without {OF_THE_SERVICE[0]}")


@contextmanager
def client_errors() -> Iterator[None]:
    """Let the client library raise errors of its own kind only; it reads each answer as the service's.

    :raises AzureError: instead of Python's errors that begin in the library.
    """
    try:
        yield
    except ForeignAnswerError as error:
        raise UnreadableAnswerError(str(error)) from None
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        if not _is_of_client(error):
            raise
        # Without its text, which may quote the request.
        raise UnreadableAnswerError(f"an answer that gives {type(error).__name__}") from None


@dataclass(frozen=True)
class OddAnswer:
    """An answer that is no refusal of the service.

    :param code: the failure's name.
    :param got: what came.
    """

    code: str
    got: str


def odd_answer(error: AzureError) -> OddAnswer | None:
    """Return what is odd about an answer; None for an ordinary one."""
    if isinstance(error, UnreadableAnswerError):
        return OddAnswer(code="storage-garbage", got=str(error))
    if not isinstance(error, HttpResponseError):
        return None
    status, code = error.status_code, code_of(error)
    if status is None:
        return None
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST and status != HTTPStatus.NOT_MODIFIED:
        return OddAnswer(code="storage-redirected", got=f"HTTP {status} to {_host(error.response)}")
    if code in ARCHIVED:
        return OddAnswer(code="storage-blob-archived", got=f"HTTP {status} {code}")
    is_refusal = status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in PASSING
    if status < HTTPStatus.MULTIPLE_CHOICES or (is_refusal and _is_foreign(error.response)):
        return OddAnswer(code="storage-garbage", got=f"HTTP {status} {code or error.reason or ''}".rstrip())
    return None


def _is_foreign(response: Any) -> bool:
    """Whether somebody else has sent a response; None is no response at all."""
    headers = getattr(response, "headers", {})
    known = any(name in headers for name in OF_THE_SERVICE) or EMULATOR in str(headers.get("Server", ""))
    return response is not None and not known


def _is_of_client(error: BaseException) -> bool:
    """Whether an error began in the client library."""
    names = (frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(name.startswith("azure.") for name in names)


def _host(response: Any) -> str:
    """Return where a redirect leads, without the query, which may be ours with its SAS."""
    try:
        return urlsplit(str(response.headers.get("Location", ""))).hostname or "another path of the same host"
    except (AttributeError, ValueError):
        return "a malformed address"
