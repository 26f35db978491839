"""What `make run` and `make ui` are told by make variables, checked before anything starts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from confidential_spark.core.errors import ConfigurationError
from confidential_spark.core.months import Month
from confidential_spark.core.platforms import Platform
from confidential_spark.hooks.blob.settings import blob_settings
from confidential_spark.jobs import JOBS
from confidential_spark.jobs.input.blob_location import is_blob_location, parse_blob_location
from confidential_spark.jobs.input.layouts import month_input
from confidential_spark.jobs.input.location import local_folder, month_uri, require_no_credential
from confidential_spark.settings import ENV_PREFIX, Settings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from confidential_spark.jobs.job import SparkJob

INPUT_URI = f"{ENV_PREFIX}INPUT_URI"
SYNTHETIC_ROWS = f"{ENV_PREFIX}SYNTHETIC_ROWS"
# To try a template with.
ANY_MONTH = Month(2018, 5)


def job_named(text: str) -> SparkJob:
    """Return the job.

    :raises ConfigurationError: ``choice-unknown``.
    """
    return JOBS[choice("JOB", text, JOBS)]


def platform_named(text: str) -> Platform:
    """Return the platform.

    :raises ConfigurationError: ``choice-unknown``.
    """
    return Platform(choice("PLATFORM", text, Platform))


def choice(variable: str, text: str, choices: Iterable[str]) -> str:
    """Return ``text``, when it is one of the choices.

    :param variable: make's name for it.
    :raises ConfigurationError: ``choice-unknown``.
    """
    known = [str(each) for each in choices]
    if text in known:
        return text
    raise ConfigurationError(
        f"There is no such {variable.lower()}.",
        code="choice-unknown",
        got=text or "nothing",
        expected=", ".join(known),
        action=f"correct {variable}=…",
    )


def input_uri(location: str, month: Month) -> str:
    """Return a folder, URI or template as the URI that the DAG takes, once the month's files are there.

    :raises ConfigurationError: the location cannot be read on this platform.
    :raises InputError: the location has no Parquet files of the month.
    """
    if is_blob_location(location):
        return blob_uri(location)
    uri, named = absolute(location)
    month_input(named, month)
    return uri


def deployment_uri(location: str) -> str:
    """Return a folder, URI or template as the URI of every month's input.

    :raises ConfigurationError: it cannot be read here, or its part before the first placeholder is not there.
    """
    if is_blob_location(location):
        return blob_uri(location)
    uri, named = absolute(location)
    if "{" in named:
        month_uri(named, ANY_MONTH)
    path = local_folder(named.partition("{")[0])
    folder = path.parent if "{" in named and not named.partition("{")[0].endswith("/") else path
    if folder.is_dir() or path.is_file():
        return uri
    raise ConfigurationError(
        "The folder of the trip records is not there.",
        code="input-missing",
        got=folder,
        expected="a folder with Parquet files, or one such file",
        action="correct INPUT=…",
    )


def blob_uri(location: str) -> str:
    """Return an address of blobs, well-formed and without a credential; whether they are there, the DAG says.

    :raises ConfigurationError: ``input-uri``, ``input-scheme``, ``input-credential``.
    """
    settings = blob_settings()
    parse_blob_location(location, suffix=settings.suffix, emulator=settings.emulator)
    return location.strip()


def absolute(location: str) -> tuple[str, str]:
    """Return a folder, URI or template as a quoted URI, and as it was named, but absolute.

    :raises ConfigurationError: ``input-credential``; ``input-uri``: it is malformed, not UTF-8, or of an
        unknown user.
    """
    require_no_credential(location)
    is_uri = location.startswith("file:") or "://" in location
    try:
        named = location if is_uri else str(Path(location).expanduser().resolve())
        path = unquote(urlsplit(named).path) if is_uri else named
        return f"file://{quote(path, safe='/{}:=')}", named
    except (ValueError, RuntimeError) as error:
        raise ConfigurationError(
            "The input location is malformed.",
            code="input-uri",
            got=ascii(location),
            expected="file:///absolute/path, or a path in UTF-8; ~USER only of a user of this machine",
            action="correct INPUT=…",
        ) from error


def synthetic_rows(text: str) -> int:
    """Return the rows of a synthetic month, within the bounds of the setting.

    :raises ConfigurationError: ``rows-out-of-range``.
    """
    bounds = Settings.model_json_schema()["properties"]["synthetic_rows"]
    if re.fullmatch("[0-9]{1,9}", text, re.ASCII) and bounds["minimum"] <= int(text) <= bounds["maximum"]:
        return int(text)
    raise ConfigurationError(
        "The size of the synthetic month is out of range.",
        code="rows-out-of-range",
        got=text or "nothing",
        expected=f"a whole number from {bounds['minimum']} to {bounds['maximum']}",
        action="correct ROWS=…, or leave it out",
    )
