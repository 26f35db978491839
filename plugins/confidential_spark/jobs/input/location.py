"""Where a month's trip records are: from the deployment's template to one folder."""

from __future__ import annotations

import re
from pathlib import Path
from string import Formatter
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from confidential_spark.core.credentials import credential_in
from confidential_spark.core.errors import ConfigurationError, InputError

if TYPE_CHECKING:
    from confidential_spark.core.months import Month

AZURE_LAYOUT = "puYear={year}/puMonth={month}"
PLACEHOLDERS = {("year", ""), ("year", "04d"), ("month", ""), ("month", "02d")}
MONTH_FOLDER = re.compile(r"puYear=([0-9]{1,9})/puMonth=([0-9]{1,9})/?", re.ASCII)
UNREADABLE_BY_HADOOP = frozenset("%?*[]{}#\\")


def month_uri(template: str, month: Month) -> str:
    """Return the location of ``month``.

    A template without placeholders is the folder of the `puYear=` folders, or already the month's folder.

    :raises ConfigurationError: ``input-template``, ``input-credential``.
    :raises InputError: ``input-month-mismatch``: the location names another month.
    """
    require_no_credential(template)
    base = template.strip()
    if named := MONTH_FOLDER.search(unquote(base)):
        if (int(named[1]), int(named[2])) != (month.year, month.month):
            raise InputError(
                "The input location belongs to another month.",
                code="input-month-mismatch",
                got=named[0],
                expected=AZURE_LAYOUT.format(year=month.year, month=month.month),
                action="give the folder above the puYear= folders, or run the month the location names",
            )
        return base
    if "{" not in base and "}" not in base:
        base = f"{base.rstrip('/')}/{AZURE_LAYOUT}"
    _require_known_placeholders(base)
    return base.format(year=month.year, month=month.month)


def require_no_credential(location: str) -> None:
    """Refuse a location with a credential in it, which logs, pages and evidence would show.

    :raises ConfigurationError: ``input-credential``; the location is not shown.
    """
    if kind := credential_in(unquote(location)):
        raise credential_error("The input location contains a credential.", f"{kind}, which is not shown")


def credential_error(message: str, got: str) -> ConfigurationError:
    """Return the error of a location with a credential in it.

    :param got: what may be shown of the location.
    """
    return ConfigurationError(
        message,
        code="input-credential",
        got=got,
        expected="an address without query, fragment and password",
        action="put the credential into an Airflow connection, name that one in "
        "CONFIDENTIAL_SPARK_BLOB_CONN_ID, and renew the credential that was given here",
    )


def _require_known_placeholders(template: str) -> None:
    try:
        fields = [(name, spec, conversion) for _, name, spec, conversion in Formatter().parse(template)]
    except ValueError as error:
        raise _template_error(template) from error
    for name, spec, conversion in fields:
        if name is not None and (conversion is not None or (name, spec) not in PLACEHOLDERS):
            raise _template_error(template)


def _template_error(template: str) -> ConfigurationError:
    return ConfigurationError(
        "The input location is not a valid template.",
        code="input-template",
        got=template,
        expected="{year}, {month} or {month:02d} as the only placeholders",
        action="correct the input location",
    )


def local_folder(uri: str) -> Path:
    """Return the folder that a ``file:`` URI (percent-decoded) or a plain path names.

    :raises ConfigurationError: ``input-credential``; ``input-scheme``; ``input-uri``, also for characters
        that Hadoop's file system layer reads as a pattern or as part of a URI.
    """
    require_no_credential(uri)
    path = _path_of(uri) if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", uri) else str(Path(uri).absolute())
    if not uri or not path.isprintable() or UNREADABLE_BY_HADOOP.intersection(path):
        raise _uri_error(uri)
    return Path(path)


def parquet_files(uri: str) -> list[Path]:
    """Return the month's only file, or those of its folder that Spark would read, sorted.

    :raises ConfigurationError: as :func:`local_folder`.
    """
    place = local_folder(uri)
    return [place] if place.is_file() else sorted(place.glob("[!._]*.parquet"))


def _path_of(uri: str) -> str:
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise _uri_error(uri) from error
    if parts.scheme != "file":
        raise _scheme_error(parts.scheme)
    path = unquote(parts.path)
    if parts.netloc not in ("", "localhost") or parts.query or parts.fragment or not path.startswith("/"):
        raise _uri_error(uri)
    return path


def _uri_error(uri: str) -> ConfigurationError:
    return ConfigurationError(
        "The input location is not a usable file URI.",
        code="input-uri",
        got=uri,
        expected="file:///absolute/path or a plain path, without % ? * [ ] { } # or a backslash in any name",
        action="correct the input location",
    )


def _scheme_error(scheme: str) -> ConfigurationError:
    return ConfigurationError(
        "That kind of location cannot be read.",
        code="input-scheme",
        got=f"{scheme}://",
        expected="file:// or a plain path, on the machine where Airflow's tasks run; or Azure Blob Storage's "
        "wasbs://, abfss:// or https://",
        action="correct the input location",
    )
