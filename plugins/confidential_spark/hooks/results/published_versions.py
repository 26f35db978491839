"""The published versions of one key, and the commit marker that names the one readers see.

    {home}/month=2018-05 -> .versions/month=2018-05/<version>   the commit marker
    {home}/.versions/month=2018-05/<version>/                   whole; never changed or moved while it is kept
    {home}/.versions/month=2018-05/<version>.replaced           since when it is replaced (its time of change)

On files the marker is a symbolic link, so that people and tools can read through it. Readers resolve it once
and read everything from the version, which is kept for a grace period after it is replaced. Publishers hold
the key's lock. ADR 0012 has the design, which does not depend on links.
"""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from confidential_spark.core.errors import ResultError
from confidential_spark.hooks.durable_files import switch_link, sync, sync_tree
from confidential_spark.hooks.results.store import (
    MAX_JSON_BYTES,
    VERSIONS,
    Publication,
    VersionFiles,
    attempt_published,
    attempt_replaced,
)

if TYPE_CHECKING:
    from datetime import timedelta
    from pathlib import Path

REPLACED = ".replaced"


@dataclass(frozen=True)
class FolderFiles(VersionFiles):
    """The files of a folder."""

    location: Path

    def names(self) -> list[str]:
        """Return the names of its plain files."""
        paths = (path for path in self.location.rglob("*") if path.is_file() and not path.is_symlink())
        return sorted(path.relative_to(self.location).as_posix() for path in paths)

    def content(self, name: str, limit: int = MAX_JSON_BYTES) -> bytes:
        """Return a plain file's content; a link is none."""
        path = self.location / name
        if not path.is_file() or path.is_symlink():
            raise FileNotFoundError(f"no plain file {path}")
        with path.open("rb") as file:
            content = file.read(limit + 1)
        if len(content) > limit:
            raise ValueError(f"more than {limit} bytes")
        return content


class PublishedVersions:
    """The versions of one key of one DAG.

    :param home: the DAG's folder of results.
    :param key: a safe name, e.g. ``month=2018-05``.
    """

    def __init__(self, home: Path, key: str) -> None:
        """Name the folders; nothing is created yet."""
        self.marker = home / key
        self._key = key
        self._folder = home / VERSIONS / key

    def current(self) -> Path | None:
        """Return the version that readers see now, or None.

        A link that leads out of the versions names none: its files would be copied and served as results.
        """
        if not (self.marker.is_symlink() and self.marker.is_dir()):
            return None
        version = self.marker.resolve()
        return version if version.is_relative_to(self._folder.parent.resolve()) else None

    def replaced(self) -> dict[str, datetime]:
        """Return the versions that were replaced and are still kept, and when that was."""
        try:
            notes = [path for path in self._folder.iterdir() if path.name.endswith(REPLACED)]
            times = {note.name.removesuffix(REPLACED): note.stat().st_mtime for note in notes}
        except OSError:
            return {}
        kept = {name: at for name, at in times.items() if self.version(name).is_dir()}
        return {name: datetime.fromtimestamp(at, UTC) for name, at in kept.items()}

    def version(self, name: str) -> Path:
        """Return where a version is, or would be."""
        return self._folder / name

    def require_place(self) -> None:
        """Accept a place where the marker is, or can be put.

        :raises ResultError: ``results-obstructed``.
        """
        if os.path.lexists(self.marker) and not self.marker.is_symlink():
            raise ResultError(
                "Something else stands where the results should be published.",
                code="results-obstructed",
                got=f"{self.marker} is a {'folder' if self.marker.is_dir() else 'file'}",
                expected="nothing, or the link that an earlier publication made",
                action="move it away, then clear the task",
            )

    def add(self, staging: Path, name: str) -> None:
        """Move a complete folder to where its version stays; nobody sees it yet.

        :raises ResultError: ``attempt-published``.
        """
        version = self.version(name)
        if version.exists():
            raise attempt_published(version)
        sync_tree(staging)
        self._folder.mkdir(parents=True, exist_ok=True)
        staging.rename(version)
        sync(self._folder)

    def commit(self, name: str) -> Publication:
        """Make a version the one that readers see; committing it again changes nothing.

        :raises ResultError: ``attempt-replaced``: it was what readers see, and no longer is.
        """
        version, current = self.version(name), self.current()
        if current is None or not current.samefile(version):
            self._require_never_replaced(name)
            if current is not None:
                # Before the switch: a publisher that dies here leaves no version without its grace period.
                self._note_replaced(current.name)
            switch_link(self.marker, f"{VERSIONS}/{self._key}/{name}", self._folder / ".marker")
        return Publication(self.marker, FolderFiles(version))

    def sweep(self, grace: timedelta) -> list[Path]:
        """Remove the versions that were replaced longer ago, and what killed publishers left; return them."""
        stale = self.stale(grace)
        for path in stale:
            self._remove(path)
        return stale

    def stale(self, grace: timedelta) -> list[Path]:
        """Return what :meth:`sweep` would remove: nothing while no version is what readers see."""
        current = self.current()
        if current is None or not self._folder.is_dir():
            return []
        oldest_kept = time.time() - grace.total_seconds()
        return [path for path in sorted(self._folder.iterdir()) if self._is_stale(path, current, oldest_kept)]

    def _is_stale(self, path: Path, current: Path, oldest_kept: float) -> bool:
        if path.name.startswith("."):
            return True
        if path.name.endswith(REPLACED):
            return not path.with_name(path.name.removesuffix(REPLACED)).exists()
        if path.is_symlink() or not path.is_dir() or path.samefile(current):
            return False
        note = self._note(path.name)
        # Without a note it was never what readers saw: its publisher died before the switch.
        return (note if note.exists() else path).stat().st_mtime < oldest_kept

    def _remove(self, path: Path) -> None:
        if path.is_symlink() or not path.is_dir():
            path.unlink()
            return
        # Renamed first, so that a folder of a version's name is never half a version.
        hidden = path if path.name.startswith(".") else path.rename(path.with_name(f".{path.name}.removed"))
        shutil.rmtree(hidden)
        self._note(path.name).unlink(missing_ok=True)

    def _note(self, name: str) -> Path:
        return self._folder / f"{name}{REPLACED}"

    def _note_replaced(self, name: str) -> None:
        note = self._note(name)
        note.touch()
        sync(note)
        sync(self._folder)

    def _require_never_replaced(self, name: str) -> None:
        if self._note(name).exists():
            raise attempt_replaced(name, f"{self.marker} leads to {self.current()}")
