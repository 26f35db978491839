"""Published results, read-only: names from outside are compared with what is there, never joined to a path.

The layout is that of :mod:`confidential_spark.hooks.results.folder_store`. This reader takes no locks and
creates nothing.
"""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from confidential_spark.hooks.index.places import FolderIndex
from confidential_spark.hooks.results.published_versions import PublishedVersions
from confidential_spark.hooks.results.store import KEY_PREFIXES, SAFE_NAME, VERSIONS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    from confidential_spark.hooks.index.index import IndexFile

DOCUMENTS = ("evidence.json", "summary.json", "report.json")
MAX_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class PublishedResult:
    """One published version: its files stay consistent with each other while the month is replaced.

    :param link: what readers see.
    :param folder: the version it led to, or another one that is still kept.
    :param copied_from: address of its DAG's results, where ``folder`` is a copy of blobs.
    """

    key: str
    link: Path
    folder: Path
    copied_from: str = ""

    @property
    def version(self) -> str:
        """Name of the version, by which a page's downloads ask for the same one."""
        return self.folder.name

    def content(self, name: str, limit: int | None = None) -> bytes | None:
        """Return one of the :data:`DOCUMENTS`, or None when it is absent, no plain file, or too large."""
        return _content(self.folder / name, limit or MAX_BYTES) if name in DOCUMENTS else None

    def document(self, name: str) -> dict[str, Any]:
        """Return a JSON object; empty when it is absent or unreadable, so that a page shows what there is."""
        try:
            value = json.loads(self.content(name) or b"{}")
        except (ValueError, RecursionError):
            return {}
        return value if isinstance(value, dict) else {}

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Return a table's rows; none when it is absent or unreadable.

        :param table: as the job's entry names it, never a name from outside.
        """
        # Imported late: most pages show no table.
        import pyarrow as pa
        import pyarrow.parquet as pq

        content = _content(self.folder / f"{table}.parquet", MAX_BYTES)
        try:
            return pq.read_table(pa.BufferReader(content)).to_pylist() if content else []
        except (pa.ArrowException, OSError, ValueError):
            return []


@dataclass(frozen=True)
class ReplacedVersion:
    """A version that readers saw before, and that is kept for a while.

    :param at: when it was replaced.
    """

    version: str
    at: datetime


class PublishedResults(Protocol):
    """What is published, wherever it is."""

    def keys(self, dag_id: str) -> list[str]:
        """Return what is published for a DAG, e.g. ``month=2018-05``, in order."""

    def result(self, dag_id: str, key: str, version: str = "") -> PublishedResult | None:
        """Return the version that is published now, or None.

        :param version: return this one instead, while it is kept.
        """

    def replaced(self, dag_id: str, key: str) -> tuple[ReplacedVersion, ...]:
        """Return the versions of a published key that were replaced and are still kept, the latest first."""

    def listed(self, dag_id: str) -> dict[str, PublishedResult]:
        """Return all versions of a DAG that are published now, by key, in order."""

    def count(self, dag_id: str) -> int:
        """Return how many results of a DAG are published."""

    def provide(self, dag_id: str, result: PublishedResult) -> None:
        """Make the files of a listed version readable on this machine.

        :raises ResultError: what the storage refuses.
        """

    def index(self, dag_id: str) -> IndexFile:
        """Return where the index of a DAG's results is."""


class _Listing(NamedTuple):
    """What one DAG has published.

    :param home: its folder, without links.
    :param entries: what readers see, by key.
    """

    home: Path
    entries: dict[str, Path]


@dataclass(frozen=True)
class Published:
    """The results folder as one request sees it: one folder per DAG, one entry per published month or run.

    A DAG's folder is listed once, when it is first asked for; entries that are made later are not seen.

    :param root: the deployment's ``results_dir``.
    """

    root: Path
    _listings: dict[str, _Listing] = field(default_factory=dict, init=False, repr=False, compare=False)

    def keys(self, dag_id: str) -> list[str]:
        """Return what is published for a DAG, e.g. ``month=2018-05``, in order."""
        return sorted(self._listing(dag_id).entries)

    def result(self, dag_id: str, key: str, version: str = "") -> PublishedResult | None:
        """Return the version that is published now, or None.

        :param version: return this one instead, while it is kept.
        """
        home, entries = self._listing(dag_id)
        entry = entries.get(key)
        if entry is None:
            return None
        folder = _folders(entry.parent / VERSIONS / key).get(version) if version else _current(entry, home)
        return PublishedResult(key, entry, folder) if folder else None

    def replaced(self, dag_id: str, key: str) -> tuple[ReplacedVersion, ...]:
        """Return the versions of a published key that were replaced and are still kept, the latest first."""
        entry = self._listing(dag_id).entries.get(key)
        kept = PublishedVersions(entry.parent, key).replaced() if entry else {}
        return latest_first(kept)

    def listed(self, dag_id: str) -> dict[str, PublishedResult]:
        """Return all versions of a DAG that are published now, by key, in order."""
        home, entries = self._listing(dag_id)
        versions = self.index(dag_id).versions()
        found = {key: _listed(self.root, dag_id, key, version) for key, version in versions.items()}
        # What the store has not put there is verified too, so that it is refused by name instead of missing.
        strays = entries.keys() - found.keys()
        found |= {key: PublishedResult(key, entries[key], _current(entries[key], home)) for key in strays}
        return dict(sorted(found.items()))

    def count(self, dag_id: str) -> int:
        """Return how many results of a DAG are published."""
        try:
            return sum(name.startswith(KEY_PREFIXES) for name in os.listdir(self.root / dag_id))  # noqa: PTH208 - names
        except OSError:
            return 0

    def provide(self, dag_id: str, result: PublishedResult) -> None:
        """Do nothing: they are."""

    def index(self, dag_id: str) -> IndexFile:
        """Return where the index of a DAG's results is."""
        return FolderIndex(self.root, dag_id)

    def _listing(self, dag_id: str) -> _Listing:
        if dag_id not in self._listings:
            home = _folders(self.root).get(dag_id)
            self._listings[dag_id] = (
                _Listing(home.resolve(), _entries(home)) if home else _Listing(self.root, {})
            )
        return self._listings[dag_id]


def latest_first(kept: Mapping[str, datetime]) -> tuple[ReplacedVersion, ...]:
    """Return replaced versions, the one that was replaced last first.

    :param kept: when each was replaced.
    """
    found = sorted(kept.items(), key=lambda item: (item[1], item[0]), reverse=True)
    return tuple(ReplacedVersion(version, at) for version, at in found)


def _current(entry: Path, home: Path) -> Path:
    """Return the version that readers of an entry see; no link out of the DAG's folder is followed."""
    try:
        kind, key, version = entry.readlink().parts
    except (OSError, ValueError):
        return _within(entry, home)
    plain = (kind, key) == (VERSIONS, entry.name) and SAFE_NAME.fullmatch(version)
    return home / kind / key / version if plain else _within(entry, home)


def _within(entry: Path, home: Path) -> Path:
    try:
        place = entry.resolve()
    except (OSError, RuntimeError):
        return home / VERSIONS / entry.name
    return place if place.is_relative_to(home) else home / VERSIONS / entry.name


@lru_cache(maxsize=8192)
def _listed(root: Path, dag_id: str, key: str, version: str) -> PublishedResult:
    """Return a version that a listing names; kept, because paths take a page's time to be made."""
    home = root / dag_id
    return PublishedResult(key, home / key, home / VERSIONS / key / version)


def _content(path: Path, limit: int) -> bytes | None:
    try:
        # A pipe or a device in the place of a file must not keep the page waiting.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return None
            content = file.read(limit + 1)
    except OSError:
        return None
    return content if len(content) <= limit else None


def _folders(parent: Path) -> dict[str, Path]:
    try:
        with os.scandir(parent) as entries:
            names = [each.name for each in entries if each.is_dir() and not each.name.startswith(".")]
    except OSError:
        return {}
    return {name: parent / name for name in names}


def _entries(home: Path) -> dict[str, Path]:
    try:
        return {name: home / name for name in os.listdir(home) if name.startswith(KEY_PREFIXES)}  # noqa: PTH208 - names
    except OSError:
        return {}
