"""Verifies what pages want to show and nobody has verified yet, beside the requests, one after the other."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from confidential_spark.core.errors import ConfidentialSparkError
from confidential_spark.hooks.index.index import change_index

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from confidential_spark.hooks.index.entry import IndexEntry
    from confidential_spark.hooks.index.index import Index, IndexFile
    from confidential_spark.ui.results.published import PublishedResult, PublishedResults

    Look = Callable[[PublishedResult], IndexEntry | None]

log = logging.getLogger(__name__)
MAX_WAITING = 4096
# A page that is asked for meanwhile gets at least half of the processor's time.
REST = 1.0


@dataclass(frozen=True)
class Wanted:
    """One version that somebody wants to see verified.

    :param look: verifies it, and returns what its files say of it.
    """

    dag_id: str
    published: PublishedResults
    result: PublishedResult
    look: Look

    def verify(self) -> IndexEntry | None:
        """Verify it, and return what its files say of it.

        :raises ResultError: what the storage refuses.
        """
        self.published.provide(self.dag_id, self.result)
        return self.look(self.result)


class Verifier:
    """A queue of versions, and a thread that lives while there is something in it."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self._waiting: OrderedDict[tuple[str, str, str], Wanted] = OrderedDict()
        self._news: dict[str, tuple[IndexFile, dict[str, IndexEntry]]] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def want(
        self, dag_id: str, published: PublishedResults, results: Iterable[PublishedResult], look: Look
    ) -> None:
        """Verify these versions soon, the first of them first, and put into the index what it lacks.

        :param look: verifies one of them.
        """
        with self._lock:
            for result in results:
                if len(self._waiting) < MAX_WAITING:
                    wanted = Wanted(dag_id, published, result, look)
                    self._waiting[dag_id, result.key, result.version] = wanted
            if self._waiting and not (self._thread and self._thread.is_alive()):
                self._thread = self.start()

    def start(self) -> threading.Thread | None:
        """Start to work beside the requests."""
        thread = threading.Thread(target=self.work, name="verifies results for pages", daemon=True)
        thread.start()
        return thread

    @property
    def waiting(self) -> int:
        """How many versions wait."""
        with self._lock:
            return len(self._waiting)

    def work(self, rest: float = REST) -> None:
        """Verify until nothing waits; then correct the index.

        :param rest: how long to do nothing after each verification, as a part of its duration.
        """
        while wanted := self._next():
            started = time.monotonic()
            try:
                entry = wanted.verify()
            except (ConfidentialSparkError, OSError) as error:
                log.warning("%s of %s cannot be verified: %s", wanted.result.key, wanted.dag_id, error)
            else:
                self._note(wanted, entry)
            time.sleep(rest * (time.monotonic() - started))
        self._correct_indexes()

    def _next(self) -> Wanted | None:
        with self._lock:
            return self._waiting.popitem(last=False)[1] if self._waiting else None

    def _note(self, wanted: Wanted, entry: IndexEntry | None) -> None:
        if entry:
            news = self._news.setdefault(wanted.dag_id, (wanted.published.index(wanted.dag_id), {}))
            news[1][wanted.result.key] = entry

    def _correct_indexes(self) -> None:
        while self._news:
            _, (file, entries) = self._news.popitem()
            try:
                change_index(file, partial(corrected, entries=entries, file=file))
            except (ConfidentialSparkError, OSError) as error:
                log.warning("The index of %s is not corrected: %s", file.dag_id, error)


def corrected(index: Index, *, entries: Mapping[str, IndexEntry], file: IndexFile) -> Index:
    """Return the index with what was read of the versions that are still published, and of no others."""
    versions = file.versions()
    current = {key: entry for key, entry in entries.items() if versions.get(key) == entry.version}
    return index.with_entries(current).only(versions)


VERIFIER = Verifier()
