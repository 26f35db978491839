"""Refusals and silence of Azure Blob Storage as this project's errors, without a word of the credentials."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING

from azure.core.exceptions import ClientAuthenticationError, HttpResponseError

from confidential_spark.core.errors import ConfigurationError, ResultError
from confidential_spark.core.failures import failure_named
from confidential_spark.hooks.blob.answers import code_of, odd_answer

if TYPE_CHECKING:
    from azure.core.exceptions import AzureError

    from confidential_spark.core.errors import ConfidentialSparkError
    from confidential_spark.hooks.blob.answers import OddAnswer

FORBIDDEN = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
BUSY = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
UNTOUCHED = "What was published before is untouched."
# What Azure says of a SAS outside of its time; the rest of its text may quote the request.
TIME_FRAME = re.compile(r"not valid in the specified time frame: [\w\s:,\[\]-]{0,200}", re.ASCII)
CONNECTION = "correct the Airflow connection of the results, or CONFIDENTIAL_SPARK_RESULTS_DIR"


def named_error(error: AzureError, what: str, url: str, shown: str = "") -> ConfidentialSparkError:
    """Return what a request ended with.

    :param what: what was asked, e.g. ``read summary.json``.
    :param url: of the results, without credentials.
    :param shown: what the account was shown, e.g. ``with an account key``.
    """
    if isinstance(error, ClientAuthenticationError) and error.status_code is None:
        # Of an identity that gives no token: the storage was not asked.
        return _forbidden(what, f"{url}: {type(error).__name__}")
    if odd := odd_answer(error):
        return _odd(odd, what, url)
    if not isinstance(error, HttpResponseError) or error.status_code is None:
        return _unreachable(what, f"{url}: {_reason(error)}")
    status, code = error.status_code, code_of(error)
    said = f"{url}: {status} {code}".rstrip()
    if status in FORBIDDEN or code == "PublicAccessNotPermitted":
        found = TIME_FRAME.search(str(error))
        said = f"{said}, {shown}".removesuffix(", ")
        return _forbidden(what, f"{said}: {found[0]}" if found else said)
    if status in BUSY or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return _unreachable(what, said)
    if code == "ContainerNotFound":
        return ConfigurationError(
            "The container of the results does not exist.",
            code="results-container-missing",
            got=said,
            expected="a container that exists",
            action=f"make it, or {CONNECTION}",
        )
    return ResultError(
        f"The storage of the results refused to {what}. {UNTOUCHED}",
        code="results-refused",
        got=said,
        expected="a storage account that takes block blobs, leases and conditional writes",
        action="look the code up in Azure's documentation; then run again",
    )


def _odd(odd: OddAnswer, what: str, url: str) -> ConfidentialSparkError:
    row = failure_named(odd.code)
    assert row is not None, odd.code  # noqa: S101 - only the table's names are given
    message = f"{row.meaning.removesuffix('.')}: it was asked to {what}. {UNTOUCHED}"
    return ResultError(message, code=odd.code, got=f"{url}: {odd.got}", action=row.action)


def _forbidden(what: str, got: str) -> ConfidentialSparkError:
    return ResultError(
        f"The credentials of the results do not allow to {what}. {UNTOUCHED}",
        code="results-forbidden",
        got=got,
        expected="credentials that may read, list, create, write and delete, now",
        action=f"renew them: {CONNECTION}; docs/runbooks/results-storage.md",
    )


def _unreachable(what: str, got: str) -> ConfidentialSparkError:
    return ResultError(
        f"The storage of the results did not answer in time to {what}. {UNTOUCHED}",
        code="results-unreachable",
        got=got,
        expected="an answer",
        action="nothing first: it is tried again; if it stays, check the account's name, DNS and firewall",
        retryable=True,
    )


def _reason(error: AzureError) -> str:
    """Return the names of the errors behind an error; their texts may have the request's address in them."""
    names: list[str] = []
    cause = error.inner_exception
    while cause is not None and len(names) < 5:
        names.append(type(cause).__name__)
        inner = getattr(cause, "reason", None) or next(iter(cause.args), None)
        cause = inner if isinstance(inner, BaseException) else None
    return ", ".join(dict.fromkeys(names)) or type(error).__name__
