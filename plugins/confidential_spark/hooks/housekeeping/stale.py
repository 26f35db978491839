"""What a deployment keeps for how long: results, caches and logs; `docs/results.md` has the table for people.

Caches hold what can be made or downloaded again. Drafts in them have names that begin with a dot: a process
that is killed leaves its own, and nobody reads it.
"""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from confidential_spark.hooks.durable_files import best_effort, log, size_of
from confidential_spark.hooks.housekeeping.mounts import mounts_below
from confidential_spark.hooks.results.location import results_at
from confidential_spark.hooks.results.retention import Retention

if TYPE_CHECKING:
    from collections.abc import Iterator

    from confidential_spark.hooks.results.store import Location
    from confidential_spark.settings import Settings

USER_CACHE = Path("~/.cache/confidential-spark")
"""Where the tools of a checkout keep what all checkouts share."""
DRAFTS = (".building-*", ".wheels-*", ".jars-*", ".debootstrap-*", "cluster/.building-*")
# Each of the newest is what the present lock files, Java and sources ask for.
BUILDS = (
    "spark-classes-*.jsa",
    "wheels-*",
    "jars-*",
    "debian-*.tar",
    "azurite-*",
    "cluster/network-*",
    "cluster/programs-*",
)
REMOVED = ".building-removed-"


@dataclass(frozen=True)
class Kept:
    """How long is kept what no run needs.

    :param drafts: what killed builds and downloads left. The longest takes minutes.
    :param builds: what newer builds have replaced.
    :param logs: Airflow's and ours.
    """

    results: Retention = field(default_factory=Retention)
    drafts: timedelta = timedelta(days=1)
    builds: timedelta = timedelta(days=30)
    logs: timedelta = timedelta(days=90)

    @classmethod
    def of(cls, settings: Settings) -> Kept:
        """Return how long a deployment keeps things."""
        return cls(results=Retention(replaced=settings.results_grace))


@dataclass(frozen=True)
class Places:
    """Where a deployment keeps what.

    :param logs: Airflow's folder of logs; None: they are somebody else's.
    """

    results: Location
    caches: tuple[Path, ...]
    logs: Path | None

    @classmethod
    def of(cls, settings: Settings, logs: Path | None) -> Places:
        """Return a deployment's places."""
        caches = dict.fromkeys(path.resolve() for path in (settings.cache_dir, USER_CACHE.expanduser()))
        return cls(settings.results_dir, tuple(caches), logs)


@dataclass(frozen=True)
class Stale:
    """Something that is older than it is kept.

    :param why: what kind of thing it is.
    """

    path: Location
    why: str
    bytes: int


def find_stale(places: Places, kept: Kept) -> list[Stale]:
    """Return what :func:`remove_stale` would remove now."""
    results = results_at(places.results)
    stale = [Stale(path, "results", results.size_of(path)) for path in results.stale(kept.results)]
    return [*stale, *_outside_results(places, kept)]


def remove_stale(places: Places, kept: Kept) -> list[Stale]:
    """Remove what is older than it is kept, and return it.

    What is in use stays; what cannot be removed is logged, and stays for the next time.
    """
    results = results_at(places.results)
    sizes = {path: results.size_of(path) for path in results.stale(kept.results)}
    removed = [Stale(path, "results", sizes.get(path, 0)) for path in results.sweep(kept.results)]
    for each in _outside_results(places, kept):
        with best_effort(f"remove {each.path}"):
            _remove(Path(each.path))
            removed.append(each)
    return removed


def _outside_results(places: Places, kept: Kept) -> Iterator[Stale]:
    for cache in places.caches:
        for path in (*_drafts(cache, kept.drafts), *_replaced_builds(cache, kept.builds)):
            if mounted := mounts_below(path):
                log.warning("%s stays: %s is mounted below it", path, mounted[0])
            else:
                yield Stale(path, "cache", size_of(path))
    if places.logs is not None:
        yield from (Stale(path, "logs", size_of(path)) for path in _old_logs(places.logs, kept.logs))


def _drafts(cache: Path, kept: timedelta) -> Iterator[Path]:
    found = (path for pattern in DRAFTS for path in sorted(cache.glob(pattern)))
    return (path for path in found if _is_older(path, kept))


def _replaced_builds(cache: Path, kept: timedelta) -> Iterator[Path]:
    for pattern in BUILDS:
        replaced = sorted(cache.glob(pattern), key=_changed)[:-1]
        yield from (path for path in replaced if _is_older(path, kept))


def _old_logs(logs: Path, kept: timedelta) -> Iterator[Path]:
    """Yield old files, and folders that have been empty for as long; links are left alone."""
    for folder, folders, names in os.walk(logs):
        paths = [Path(folder, name) for name in sorted(names) if ".log" in name]
        if not folders and not names and Path(folder) != logs:
            paths = [Path(folder)]
        yield from (path for path in paths if not path.is_symlink() and _is_older(path, kept))


def _is_older(path: Path, kept: timedelta) -> bool:
    return _changed(path) < time.time() - kept.total_seconds()


def _changed(path: Path) -> float:
    """Return when something was changed last; never, if it has gone meanwhile."""
    try:
        return path.lstat().st_mtime
    except FileNotFoundError:
        return float("inf")


def _remove(path: Path) -> None:
    if path.is_symlink() or not path.is_dir():
        path.unlink()
    elif not any(path.iterdir()):
        path.rmdir()
    else:
        # Renamed first, so that no build of a name is ever half a build.
        draft = path if path.name.startswith(".") else path.with_name(f"{REMOVED}{path.name}")
        shutil.rmtree(path if draft == path else path.rename(draft))
