"""Published results in Azure Blob Storage, as local copies that a page judges like a folder of results."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from confidential_spark.ui.results.published import PublishedResult, latest_first

if TYPE_CHECKING:
    from confidential_spark.hooks.index.index import IndexFile
    from confidential_spark.hooks.results.blob_copies import BlobCopies
    from confidential_spark.ui.results.published import ReplacedVersion

# One page copies for so long; what is left is "not verified yet", until the page is loaded again.
COPY_SECONDS = 1.0


class PublishedBlobs:
    """What one request of a page sees of the results.

    :param copies: of this request alone.
    """

    def __init__(self, copies: BlobCopies) -> None:
        """Copy nothing yet."""
        self._copies = copies
        self._copy_until: float | None = None

    def keys(self, dag_id: str) -> list[str]:
        """Return what is published for a DAG, e.g. ``month=2018-05``, in order."""
        return sorted(self._copies.current(dag_id))

    def result(self, dag_id: str, key: str, version: str = "") -> PublishedResult | None:
        """Return the version that is published now, or None.

        :param version: return this one instead, while it is kept.
        """
        if key not in self.keys(dag_id):
            return None
        place = self._copies.place(dag_id, key, version or self._copies.current(dag_id)[key])
        if place is None:
            return None
        if not place.is_dir() and self._has_time():
            self._copies.fetch(dag_id, key, place)
        return PublishedResult(key, place, place, copied_from=f"{self._copies.url}/{dag_id}")

    def replaced(self, dag_id: str, key: str) -> tuple[ReplacedVersion, ...]:
        """Return the versions of a published key that were replaced and are still kept, the latest first."""
        return latest_first(self._copies.replaced(dag_id, key))

    def listed(self, dag_id: str) -> dict[str, PublishedResult]:
        """Return all versions of a DAG that are published now, by key, in order; no file is copied for it."""
        places = (
            (key, self._copies.place(dag_id, key, version))
            for key, version in sorted(self._copies.current(dag_id).items())
        )
        return {key: PublishedResult(key, place, place) for key, place in places if place}

    def count(self, dag_id: str) -> int:
        """Return how many results of a DAG are published."""
        return len(self._copies.current(dag_id))

    def provide(self, dag_id: str, result: PublishedResult) -> None:
        """Copy them, unless they are here."""
        self._copies.fetch(dag_id, result.key, result.folder)

    def index(self, dag_id: str) -> IndexFile:
        """Return where the index of a DAG's results is."""
        return self._copies.index(dag_id)

    def _has_time(self) -> bool:
        """Whether to copy one more version; the first one always."""
        now = time.monotonic()
        if self._copy_until is None:
            self._copy_until = now + COPY_SECONDS
        return now < self._copy_until
