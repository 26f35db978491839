"""What a results folder keeps for how long; `docs/results.md` has the table for people.

Every run sweeps at its end, and housekeeping may at any time: what is swept is in nobody's use.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from confidential_spark.hooks.durable_files import best_effort
from confidential_spark.hooks.published_versions import GRACE
from confidential_spark.hooks.result_store import ABANDONED_AFTER, SAFE_NAME, SEEN, ResultStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True)
class Retention:
    """How long is kept what no reader needs.

    :param replaced: versions of a month after they are replaced.
    :param tries: unpublished tries that nobody touched. Days: a run may wait that long for a worker.
    :param refused: tries that the enclave signed and that were not published.
    :param seen: used nonces and token ids. A token is accepted for hours, so its record is needed no longer.
    """

    replaced: timedelta = GRACE
    tries: timedelta = timedelta(days=7)
    refused: timedelta = timedelta(days=90)
    seen: timedelta = timedelta(days=90)


def stale_results(root: Path, retention: Retention) -> list[Path]:
    """Return what :func:`sweep_results` would remove if nobody works on it."""
    stale: list[Path] = []
    with best_effort(f"look at {root}"):
        for store in _stores(root):
            stale += store.stale(retention)
        stale += _stale_seen(root / SEEN, retention)
    return stale


def sweep_results(root: Path, retention: Retention) -> list[Path]:
    """Remove what is older than it is kept, of every DAG, and return it.

    What cannot be removed is logged, and stays for the next time.

    :param root: the deployment's ``results_dir``.
    """
    removed: list[Path] = []
    with best_effort(f"sweep {root}"):
        for store in _stores(root):
            removed += store.sweep(retention)
    with best_effort(f"sweep {root / SEEN}"):
        for record in _stale_seen(root / SEEN, retention):
            record.unlink(missing_ok=True)
            removed.append(record)
    return removed


def _stores(root: Path) -> list[ResultStore]:
    homes = [path for path in sorted(root.iterdir()) if SAFE_NAME.fullmatch(path.name) and path.is_dir()]
    return [ResultStore(root, home.name) for home in homes]


def _stale_seen(seen: Path, retention: Retention) -> Iterator[Path]:
    now = time.time()
    for record in sorted(seen.glob("*/*")):
        # A hidden one is the draft of a process that was killed.
        kept = ABANDONED_AFTER if record.name.startswith(".") else retention.seen
        if record.lstat().st_mtime < now - kept.total_seconds():
            yield record
