"""What Azure Storage answers, by name."""

from __future__ import annotations

import re
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError

from confidential_spark.core.errors import InputError
from confidential_spark.core.failures import failure_named
from confidential_spark.hooks.blob.answers import client_errors, code_of, odd_answer

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_SKEW = timedelta(minutes=5)
UNRESOLVED = re.compile(r"Name or service not known|Failed to resolve|nodename nor servname|No address assoc")
REFUSED, BUSY = (401, 403, 409), (408, 429, 500, 502, 503, 504)


@contextmanager
def storage_errors(place: str, sas: str = "", shown: str = "") -> Iterator[None]:
    """Turn the client's errors into this project's.

    :param place: what was asked for, without credentials.
    :param sas: the SAS token that was shown, if one was; only its dates and rights are looked at.
    :param shown: what the account was shown, e.g. ``with an account key``.
    :raises InputError: ``storage-…``, and what a SAS token lacks.
    """
    try:
        with client_errors():
            yield
    except AzureError as error:
        raise _named(error, place, sas, shown) from None


def named(code: str, got: str) -> InputError:
    """Return the error of a row in the failure table."""
    row = failure_named(code)
    assert row is not None, code  # noqa: S101 - only the table's names are given
    return InputError(row.meaning, code=code, got=got, action=row.action, retryable=row.retryable)


def first_line(error: Exception) -> str:
    """Return the first line of a message: the following ones repeat it, and quote the request."""
    return str(error).partition("\n")[0]


def _named(error: AzureError, place: str, sas: str, shown: str) -> InputError:
    if odd := odd_answer(error):
        return named(odd.code, f"{place}: {odd.got}")
    if not isinstance(error, HttpResponseError):
        return _unanswered(error, place)
    if error.status_code is not None:
        return _answered(error, place, sas, shown)
    if isinstance(error, ClientAuthenticationError):
        # An identity that has no token: nothing was asked of the account.
        return named("storage-denied", f"{place}: {first_line(error)}")
    # An answer that broke off, again and again.
    return _unanswered(error, place)


def _unanswered(error: AzureError, place: str) -> InputError:
    said = str(error)
    if UNRESOLVED.search(said):
        return InputError(
            "There is no such storage account.",
            code="storage-account-missing",
            got=f"{place}: its name does not resolve",
            expected="the name of an account, and a DNS that knows it",
            action="correct the account in the input location; check DNS and private endpoints",
        )
    if place.startswith("http:"):
        # Only an emulator is read without TLS, and it does not come back by itself.
        return InputError(
            "The storage emulator does not answer.",
            code="storage-unreachable",
            got=f"{place}: {type(error).__name__}",
            expected="the emulator that CONFIDENTIAL_SPARK_BLOB_EMULATOR names",
            action="start it, e.g. with `make storage`, or unset that variable",
        )
    code = "storage-certificate" if "CERTIFICATE_VERIFY_FAILED" in said else "storage-unreachable"
    return named(code, f"{place}: {type(error).__name__}")


def _answered(error: HttpResponseError, place: str, sas: str, shown: str) -> InputError:
    status, word = error.status_code or 0, code_of(error) or error.reason or ""
    got = f"{place}: HTTP {status} {word}"
    if status in REFUSED:
        return _denied(error, f"{got}, {shown}".removesuffix(", "), sas)
    if status in BUSY:
        return named("storage-busy", got)
    if status == 412 or status == 416:
        return named("storage-blob-changed", got)
    if status == 404 and "ContainerNotFound" in word:
        return InputError(
            "There is no such container.",
            code="storage-container-missing",
            got=got,
            expected="a container of the account",
            action="correct the container in the input location",
        )
    return named("storage-blob-missing" if status == 404 else "storage-garbage", got)


def _denied(error: HttpResponseError, got: str, sas: str) -> InputError:
    """Say why a request was refused, as far as dates and rights of a SAS token tell."""
    here, there = datetime.now(UTC), _service_time(error)
    if abs(here - there) > MOST_SKEW:
        return InputError(
            "The storage account refused the credentials, and this machine's clock is wrong.",
            code="storage-clock-skew",
            got=f"{got}; here {here:%Y-%m-%d %H:%M:%S}, there {there:%Y-%m-%d %H:%M:%S}",
            expected="the same time (UTC)",
            action="correct the clock: signatures are made and dated with it",
        )
    if problem := sas_problem(sas, there):
        return problem
    return named("storage-denied", got)


def sas_problem(sas: str, now: datetime) -> InputError | None:
    """Return what is wrong with a SAS token by its own words, or None."""
    fields = {name: values[0] for name, values in parse_qs(sas).items()}
    ends, starts, rights = _date(fields.get("se")), _date(fields.get("st")), fields.get("sp", "")
    if ends and ends <= now:
        return _sas_error("storage-sas-expired", "The SAS token has expired.", f"valid until {ends}", now)
    if starts and starts > now:
        return _sas_error("storage-sas-early", "The SAS token is not valid yet.", f"valid from {starts}", now)
    if rights and not {"r", "l"} <= set(rights):
        return InputError(
            "The SAS token does not have the rights that the input takes.",
            code="storage-sas-rights",
            got=f"sp={rights}",
            expected="read and list (sp=rl), on the container",
            action="make a SAS token with both, and put it into the Airflow connection",
        )
    return None


def _sas_error(code: str, message: str, got: str, now: datetime) -> InputError:
    return InputError(
        message,
        code=code,
        got=got,
        expected=f"a token that is valid now, {now:%Y-%m-%d %H:%M} UTC, and for some hours more",
        action="make a SAS token for the container, and put it into the Airflow connection",
    )


def _service_time(error: HttpResponseError) -> datetime:
    try:
        # Without a response it has no headers, which is caught.
        return parsedate_to_datetime(error.response.headers["Date"]).astimezone(UTC)  # type: ignore[union-attr]
    except (AttributeError, KeyError, TypeError, ValueError):
        return datetime.now(UTC)


def _date(text: str | None) -> datetime | None:
    try:
        found = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
