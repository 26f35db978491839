"""Where blobs are: three spellings of one address in Azure Blob Storage.

* `wasbs://CONTAINER@ACCOUNT.blob.core.windows.net/PATH`
* `abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/PATH`
* `https://ACCOUNT.blob.core.windows.net/CONTAINER/PATH`

All are read from the last one: an account with folders (`dfs`) answers there too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from confidential_spark.core.errors import ConfigurationError
from confidential_spark.jobs.input.location import (
    UNREADABLE_BY_HADOOP,
    credential_error,
    require_no_credential,
)

if TYPE_CHECKING:
    from urllib.parse import SplitResult

PUBLIC_DATA_SET = (
    "wasbs://nyctlc@azureopendatastorage.blob.core.windows.net/yellow/puYear={year}/puMonth={month}"
)
"""Microsoft's copy of the TLC's records: a template, ready as a run's input or the deployment's."""
AZURE_SUFFIX = "core.windows.net"
SCHEMES = ("https", "http", "wasbs", "wasb", "abfss", "abfs")
ACCOUNT = re.compile(r"[a-z0-9]{3,24}")
CONTAINER = re.compile(r"[a-z0-9](?:[a-z0-9]|-(?!-)){1,61}(?<!-)")
SERVICES = {"wasbs": "blob", "abfss": "dfs", "https": "blob"}


@dataclass(frozen=True)
class BlobLocation:
    """A place in a container.

    :param endpoint: address of the account, e.g. ``https://ACCOUNT.blob.core.windows.net``.
    :param path: a template, a folder or a blob, decoded; no slash at its ends.
    """

    endpoint: str
    account: str
    container: str
    path: str

    @property
    def container_url(self) -> str:
        """Address of the container."""
        return f"{self.endpoint}/{self.container}"

    def url(self, path: str) -> str:
        """Return the address of a folder or a blob of the container."""
        return f"{self.container_url}/{quote(path, safe='/=')}" if path else self.container_url


def is_blob_location(location: str) -> bool:
    """Return whether a location is an address and not a place among the machine's files."""
    return location.strip().partition(":")[0].lower() in SCHEMES


def parse_blob_location(
    text: str, *, suffix: str = AZURE_SUFFIX, emulator: str | None = None
) -> BlobLocation:
    """Read an address; ``{year}`` and ``{month}`` may stand in its path.

    :param suffix: the cloud's, e.g. ``core.usgovcloudapi.net``.
    :param emulator: address of an emulator's account, which is read in place of the account of that name.
    :raises ConfigurationError: ``input-credential``, ``input-scheme``, ``input-uri``; none shows a secret.
    """
    text = text.strip()
    require_no_credential(text)
    parts = _parts(text)
    _require_only_a_place(parts)
    if emulator and text.startswith(f"{emulator}/"):
        account = emulator.rpartition("/")[2]
        return _location(text, emulator, account, *_split(text.removeprefix(emulator)))
    if parts.scheme not in SERVICES:
        raise _scheme_error(parts.scheme)
    host = (parts.netloc if parts.scheme == "https" else parts.netloc.rpartition("@")[2]).lower()
    account, _, rest = host.partition(".")
    if rest != f"{SERVICES[parts.scheme]}.{suffix}" or not ACCOUNT.fullmatch(account):
        raise _uri_error(text, f"an account at .{SERVICES[parts.scheme]}.{suffix}")
    endpoint = f"https://{account}.blob.{suffix}"
    if emulator and emulator.endswith(f"/{account}"):
        endpoint = emulator
    if parts.scheme == "https":
        return _location(text, endpoint, account, *_split(parts.path))
    return _location(text, endpoint, account, parts.netloc.rpartition("@")[0], parts.path)


def _parts(text: str) -> SplitResult:
    # Where the parts are not known, a password cannot be told from a host: none of them is shown.
    scheme_only = f"{text.partition(':')[0]}:…"
    if not text.isprintable():
        raise _uri_error(scheme_only, "printable characters")
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError as error:
        raise _uri_error(scheme_only, "a well-formed address") from error
    return parts


def _require_only_a_place(parts: SplitResult) -> None:
    """Refuse a SAS or a password in the address, where logs, pages and evidence would show it."""
    user = parts.netloc.rpartition("@")[0]
    of_account = parts.scheme in ("https", "http") and bool(user)
    if parts.query or parts.fragment or of_account or ":" in user:
        shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        raise credential_error(
            "The input location has more than a place in it: a SAS token or a password?",
            f"{shown}, and more, which is not shown",
        )


def _split(path: str) -> tuple[str, str]:
    container, _, rest = path.removeprefix("/").partition("/")
    return container, rest


def _location(text: str, endpoint: str, account: str, container: str, path: str) -> BlobLocation:
    if not CONTAINER.fullmatch(container):
        raise _uri_error(text, "the name of a container: 3 to 63 of a-z, 0-9 and single hyphens")
    try:
        decoded = unquote(path, errors="strict").strip("/")
    except UnicodeDecodeError as error:
        raise _uri_error(text, "a path in UTF-8") from error
    segments = decoded.split("/") if decoded else []
    if not decoded.isprintable() or {"", ".", ".."}.intersection(segments):
        raise _uri_error(text, "a path of printable names, without '.', '..' and empty ones")
    if (UNREADABLE_BY_HADOOP - set("{}")).intersection(decoded):
        raise _uri_error(text, "a path without % ? * [ ] # or a backslash in any name")
    return BlobLocation(endpoint, account, container, decoded)


def _uri_error(text: str, expected: str) -> ConfigurationError:
    return ConfigurationError(
        "The input location is not a usable address of blobs.",
        code="input-uri",
        got=text.partition("?")[0],
        expected=f"{expected}, as in {PUBLIC_DATA_SET}",
        action="correct the input location",
    )


def _scheme_error(scheme: str) -> ConfigurationError:
    return ConfigurationError(
        "Blobs are read over TLS only.",
        code="input-scheme",
        got=f"{scheme}://",
        expected="wasbs://, abfss:// or https://",
        action="correct the input location",
    )
