"""The blobs below one prefix: whole reads and writes, conditions, listings, and errors that name the cause.

Errors of the client library never leave this module: their texts may have the request's address in them, and
that has the SAS.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from azure.core import MatchConditions
from azure.core.exceptions import AzureError
from azure.storage.blob import BlobLeaseClient, ContentSettings

from confidential_spark.hooks.blob.answers import NO_REDIRECTS, client_errors, code_of, require_blob_service
from confidential_spark.hooks.results.blob_errors import named_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from azure.storage.blob import BlobClient, BlobProperties, ContainerClient

OPTIONS: Mapping[str, Any] = {"connection_timeout": 10, "read_timeout": 60, **NO_REDIRECTS}
"""Seconds for a connection, and between two pieces of an answer."""
NOTHING = ""
ABSENT = "BlobNotFound"
NOT_MET = frozenset({"BlobAlreadyExists", "ConditionNotMet", "TargetConditionNotMet", ABSENT})
OF_A_LEASE = frozenset(
    {
        "LeaseAlreadyPresent",
        "LeaseIdMissing",
        "LeaseIdMismatchWithBlobOperation",
        "LeaseIdMismatchWithLeaseOperation",
        "LeaseLost",
        "LeaseNotPresentWithBlobOperation",
        "LeaseNotPresentWithLeaseOperation",
        "LeaseIsBreakingAndCannotBeAcquired",
        "LeaseIsBreakingAndCannotBeChanged",
        "LeaseIsBrokenAndCannotBeRenewed",
    }
)


@dataclass(frozen=True)
class Entry:
    """One blob of a listing.

    :param name: below the folder's prefix.
    """

    name: str
    size: int
    etag: str
    modified: datetime
    metadata: Mapping[str, str] = field(default_factory=dict)


class BlobFolder:
    """The blobs below one prefix of one container.

    :param container: client of the container, with its credentials.
    :param prefix: ends with a slash, or is empty.
    :param url: what the prefix is called in messages; without credentials.
    :param shown: what the account is shown, for messages, e.g. ``with an account key``.
    """

    def __init__(self, container: ContainerClient, prefix: str, url: str, shown: str = "") -> None:
        """Keep the names; nothing is asked yet."""
        self._container = container
        self._prefix = prefix
        self.url = url.rstrip("/")
        self._shown = shown
        self._now = datetime.now(UTC)

    @property
    def now(self) -> datetime:
        """The service's clock, as it was in its latest answer: ages are differences of its own times."""
        return self._now

    def read(self, name: str, limit: int) -> tuple[bytes, str] | None:
        """Return a blob's content and ETag, or None when there is no such blob.

        :raises ValueError: it has more than ``limit`` bytes.
        :raises ResultError: what the storage refuses.
        """
        with self._asking(f"read {name}", {ABSENT}):
            stream = self._blob(name).download_blob(**self._options)
            if stream.size > limit:
                raise ValueError(f"more than {limit} bytes")
            return stream.readall(), stream.properties.etag
        return None

    def download(self, entry: Entry, path: Path) -> bool:
        """Write a listed blob to a file; return whether it still is the one that was listed."""
        condition: dict[str, Any] = {"etag": entry.etag, "match_condition": MatchConditions.IfNotModified}
        with self._asking(f"read {entry.name}", NOT_MET), path.open("wb") as file:
            self._blob(entry.name).download_blob(**condition, **self._options).readinto(file)
            return True
        return False

    def write(
        self,
        name: str,
        content: bytes | Path,
        *,
        replaces: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> bool:
        """Write a blob; return whether the condition was met.

        :param replaces: the ETag of what it replaces, or :data:`NOTHING`; None: whatever is there.
        """
        condition: dict[str, Any] = {"overwrite": replaces != NOTHING, "metadata": dict(metadata or {})}
        if replaces:
            condition |= {"etag": replaces, "match_condition": MatchConditions.IfNotModified}
        if name.endswith(".json"):
            condition["content_settings"] = ContentSettings(content_type="application/json")
        with self._asking(f"write {name}", NOT_MET if replaces is not None else set()):
            if isinstance(content, bytes):
                self._blob(name).upload_blob(content, **condition, **self._options)
            else:
                with content.open("rb") as file:
                    self._blob(name).upload_blob(file, **condition, **self._options)
            return True
        return False

    def entries(self, below: str = "") -> Iterator[Entry]:
        """List the blobs whose names begin so; markers of folders, which some tools write, are left out."""
        for blob in self._listed(below):
            if (blob.metadata or {}).get("hdi_isfolder") != "true" and not blob.name.endswith("/"):
                name = blob.name.removeprefix(self._prefix)
                yield Entry(name, blob.size, blob.etag, blob.last_modified, blob.metadata or {})

    def folders(self) -> list[str]:
        """Return the names of the folders directly below the prefix."""
        with self._asking("list"):
            found = self._container.walk_blobs(name_starts_with=self._prefix, delimiter="/", **self._options)
            names = [item.name.removeprefix(self._prefix) for item in found]
            return sorted(name.removesuffix("/") for name in names if name.endswith("/"))
        return []

    def delete(self, name: str, *, etag: str | None = None, lease: str | None = None) -> bool:
        """Delete a blob; return False when it was gone, or is no longer the one with this ETag."""
        condition: dict[str, Any] = {"lease": lease} if lease else {}
        if etag:
            condition |= {"etag": etag, "match_condition": MatchConditions.IfNotModified}
        with self._asking(f"delete {name}", NOT_MET | OF_A_LEASE):
            self._blob(name).delete_blob(**condition, **self._options)
            return True
        return False

    def delete_all(self, below: str) -> None:
        """Delete the blobs whose names begin so, deepest first, markers of folders included."""
        names = [blob.name.removeprefix(self._prefix) for blob in self._listed(below)]
        for name in sorted(names, reverse=True):
            self.delete(name)

    def exists(self, name: str) -> bool:
        """Whether there is such a blob."""
        with self._asking(f"look for {name}"):
            return bool(self._blob(name).exists(**self._options))
        return False

    def touch(self, name: str, lease: str) -> None:
        """Set a blob's time of change to now."""
        with self._asking(f"touch {name}", NOT_MET | OF_A_LEASE):
            self._blob(name).set_blob_metadata({}, lease=lease, **self._options)

    def acquire(self, name: str, seconds: int, lease: str) -> str:
        """Take a lease on a blob; return ``held``, ``absent``, or ``taken`` when somebody else has it.

        :param lease: the id it shall have: a repeated request with the same id succeeds again.
        """
        with self._asking(f"lock {name}", OF_A_LEASE | {ABSENT}) as ask:
            self._blob(name).acquire_lease(seconds, lease_id=lease, **self._options)
            return "held"
        return "absent" if ask.code == ABSENT else "taken"

    def renew(self, name: str, lease: str) -> bool:
        """Renew a lease; return whether it is still ours."""
        return self._of_lease(name, lease, lambda client: client.renew(**self._options))

    def release(self, name: str, lease: str) -> bool:
        """Give a lease back; return whether it was still ours."""
        return self._of_lease(name, lease, lambda client: client.release(**self._options))

    def _of_lease(self, name: str, lease: str, request: Callable[[BlobLeaseClient], object]) -> bool:
        with self._asking(f"lock {name}", OF_A_LEASE | {ABSENT}):
            request(BlobLeaseClient(self._blob(name), lease_id=lease))
            return True
        return False

    def _listed(self, below: str) -> Iterator[BlobProperties]:
        with self._asking("list"):
            yield from self._container.list_blobs(
                name_starts_with=self._prefix + below, include=["metadata"], **self._options
            )

    def _blob(self, name: str) -> BlobClient:
        return self._container.get_blob_client(self._prefix + name)

    @property
    def _options(self) -> dict[str, Any]:
        return {**OPTIONS, "raw_response_hook": self._look_at}

    def _look_at(self, response: Any) -> None:
        require_blob_service(response)
        if date := response.http_response.headers.get("Date"):
            self._now = parsedate_to_datetime(date)

    @contextmanager
    def _asking(self, what: str, expected: frozenset[str] | set[str] = frozenset()) -> Iterator[_Asked]:
        """Name what the storage refuses; an expected refusal ends the block quietly."""
        asked = _Asked()
        try:
            with client_errors():
                yield asked
        except AzureError as error:
            asked.code = code_of(error)
            if asked.code not in expected:
                # Without its cause, whose text a traceback would show.
                raise named_error(error, what, self.url, self._shown) from None


@dataclass
class _Asked:
    """How a request ended.

    :param code: the service's own, of a refusal that was expected.
    """

    code: str = ""
