"""The index of one DAG's results: one small JSON file beside them, replaced as a whole.

    {"v": 1, "dag_id": "nytaxi_local", "entries": {"month=2018-05": {"version": "<attempt>", …}, …}}

It saves readers from opening thousands of files to draw a page. It is a copy and proves nothing: what is
published is what the commit markers name, an entry holds for the version that it names and for no other, and
whether a version is what its enclave made is for a verification of its own files to say. So an index that is
lost, late or altered costs time, and never makes a claim (ADR 0015).
"""

from __future__ import annotations

import logging
import random
import time
from typing import TYPE_CHECKING, Literal, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError

from confidential_spark.core.errors import ConfidentialSparkError, ResultError
from confidential_spark.hooks.index.entry import IndexEntry, Name  # noqa: TC001 - pydantic reads them

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

log = logging.getLogger(__name__)
FILE = ".index.json"
MAX_INDEX_BYTES = 16 * 1024 * 1024
MAX_WRITES = 30
# Seconds that a writer waits, at most, before it tries again; each waits for a random part of it.
WAIT_S = 0.3


class Index(BaseModel):
    """What the index says of one DAG: key → entry."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    v: Literal[1] = 1
    dag_id: Name
    entries: dict[Name, IndexEntry] = {}

    @classmethod
    def parse(cls, content: bytes | None, dag_id: str) -> Index:
        """Read an index; one that is absent, malformed or of another DAG is an empty one."""
        try:
            index = cls.model_validate_json(content) if content else None
        except ValidationError as error:
            log.warning(
                "The index of %s is malformed, and is made anew: %s", dag_id, error.errors()[0]["msg"]
            )
            index = None
        return index if index and index.dag_id == dag_id else cls(dag_id=dag_id)

    def to_bytes(self) -> bytes:
        """Return it as it is stored."""
        return (self.model_dump_json(exclude_defaults=True, exclude={"v"})[:-1] + ',"v":1}\n').encode()

    def entry(self, key: str, version: str) -> IndexEntry | None:
        """Return the entry of a version, or None when there is none, or one of another version."""
        found = self.entries.get(key)
        return found if found and found.version == version else None

    def with_entries(self, entries: Mapping[str, IndexEntry]) -> Index:
        """Return the index with these entries added or replaced."""
        return self.model_copy(update={"entries": dict(sorted({**self.entries, **entries}.items()))})

    def only(self, versions: Mapping[str, str]) -> Index:
        """Return the index without entries of anything else than these versions, by key."""
        kept = {key: entry for key, entry in self.entries.items() if versions.get(key) == entry.version}
        return self.model_copy(update={"entries": kept})


class IndexFile(Protocol):
    """Where an index is kept."""

    dag_id: str

    def read(self) -> tuple[bytes, str] | None:
        """Return content and the name of its state, or None when there is none; of one too large no content.

        :raises ResultError: what the storage refuses.
        """

    def replace(self, content: bytes, state: str) -> bool:
        """Replace it on the condition that it is still in that state; return whether it was.

        :param state: of what was read, or empty when there was none.
        :raises ResultError: what the storage refuses.
        """

    def versions(self) -> dict[str, str]:
        """Return what is published: key → version that readers see.

        :raises ResultError: what the storage refuses.
        """


def read_index(file: IndexFile) -> Index:
    """Return the index as it is.

    :raises ResultError: what the storage refuses.
    """
    found = file.read()
    return Index.parse(found[0] if found else None, file.dag_id)


def change_index(file: IndexFile, change: Callable[[Index], Index]) -> Index:
    """Change the index, whoever else changes it meanwhile; nothing is written where nothing changes.

    :raises ResultError: ``results-busy`` (retryable), and what the storage refuses.
    """
    for _ in range(MAX_WRITES):
        found = file.read()
        index = Index.parse(found[0] if found else None, file.dag_id)
        changed = change(index)
        if found and changed == index:
            return index
        if file.replace(changed.to_bytes(), found[1] if found else ""):
            return changed
        time.sleep(random.uniform(0, WAIT_S))  # noqa: S311 - no secret: writers must not stay in step
    raise ResultError(
        "Others change the index of the results all the time.",
        code="results-busy",
        got=f"{MAX_WRITES} changes of the index of {file.dag_id} meanwhile",
        expected="a moment without another change",
        action="nothing: pages read the results themselves; `confidential-spark index rebuild` makes it anew",
        retryable=True,
    )


def note_publication(file: IndexFile, key: str, entry: IndexEntry) -> None:
    """Put a publication into the index, if possible: it is published either way, and pages find it."""
    try:
        change_index(file, lambda index: index.with_entries({key: entry}))
    except (ConfidentialSparkError, OSError) as error:
        log.warning("%s is published and not in the index yet: %s", key, error)
