"""What a container holds where a month may be: names, sizes and versions, a few requests for each place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from azure.core import MatchConditions
from azure.storage.blob import BlobPrefix

from confidential_spark.core.errors import InputError
from confidential_spark.hooks.blob.failures import named, storage_errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from azure.storage.blob import BlobProperties

    from confidential_spark.hooks.blob.account import BlobAccount

MOST_BLOBS = 20_000
"""Of one folder; Azure sends them by pages of 5,000."""
# Data Lake, WASB of Hadoop: an empty blob that stands for a folder.
FOLDER_MARKS = ("hdi_isfolder", "Hdi_isfolder")


@dataclass(frozen=True)
class Blob:
    """A blob, or a folder with blobs in it.

    :param path: in its container, no slash at its end.
    :param etag: its version; empty for a folder.
    """

    path: str
    bytes: int = 0
    etag: str = ""

    @property
    def is_folder(self) -> bool:
        """Whether there are blobs below it."""
        return not self.etag


class BlobListing:
    """Asks one account.

    :raises InputError: each method: ``storage-…``, ``input-too-many-files``.
    """

    def __init__(self, account: BlobAccount) -> None:
        """Ask nothing yet."""
        self.account = account

    def folder(self, path: str, beginning: str = "") -> list[Blob]:
        """Return what is directly in a folder, where its name begins so; empty placeholders are left out."""
        prefix = f"{path}/{beginning}" if path else beginning
        found: list[Blob] = []
        with self._errors(path):
            for item in self.account.container.walk_blobs(prefix, include=["metadata"], delimiter="/"):
                found += self._blobs(item, f"{path}/" if path else "")
                if len(found) > MOST_BLOBS:
                    raise _too_many(self.account.location.url(path))
        return found

    def has_folder(self, path: str) -> bool:
        """Return whether there is anything in a folder but what stands for folders."""
        prefix = f"{path}/" if path else None
        with self._errors(path):
            found = self.account.container.list_blobs(prefix, include=["metadata"])
            return any(not item.name.endswith("/") and not _stands_for_folder(item) for item in found)

    def blob(self, path: str) -> Blob | None:
        """Return the blob of exactly this path, unless it only stands for a folder."""
        parent, _, name = path.rpartition("/")
        return next((blob for blob in self.folder(parent, name) if blob.path == path and blob.etag), None)

    def read(self, blob: Blob, start: int, length: int) -> bytes:
        """Return a part of a blob, in the version that was listed; the part must lie within its size."""
        client = self.account.container.get_blob_client(blob.path)
        with self._errors(blob.path):
            answer = client.download_blob(
                start, length, etag=f'"{blob.etag}"', match_condition=MatchConditions.IfNotModified
            )
            content = bytes(answer.readall())
        if len(content) != length:
            url = self.account.location.url(blob.path)
            raise named("storage-garbage", f"{url}: {len(content)} bytes where {length} were asked for")
        return content

    def _blobs(self, item: BlobProperties | BlobPrefix, folder: str) -> Iterator[Blob]:
        path = str(item.name)
        if isinstance(item, BlobPrefix):
            if self.has_folder(path.removesuffix("/")):
                yield Blob(path.removesuffix("/"))
        elif path == folder or path.endswith("/") or _stands_for_folder(item):
            return
        else:
            yield Blob(path, int(item.size), str(item.etag).strip('"'))

    def _errors(self, path: str) -> AbstractContextManager[None]:
        return storage_errors(self.account.location.url(path), self.account.sas, self.account.shown)


def _stands_for_folder(item: BlobProperties) -> bool:
    metadata = item.metadata or {}
    return item.size == 0 and any(metadata.get(mark) == "true" for mark in FOLDER_MARKS)


def _too_many(got: str) -> InputError:
    return InputError(
        "The folder holds more blobs than a month has.",
        code="input-too-many-files",
        got=f"{got}: more than {MOST_BLOBS}",
        expected="the folder of one month",
        action="correct the input location, or write the month into fewer files",
    )
