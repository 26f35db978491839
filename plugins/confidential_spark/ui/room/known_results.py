"""What a process knows of the published results of a DAG: their listing, the index, and its own verdicts.

A verdict is only ever of a verification that this process made, and holds while no file of the version has
changed. Figures come from the index until the version is verified, and from its own files afterwards.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from confidential_spark.hooks.index.entry import index_entry
from confidential_spark.hooks.index.index import Index
from confidential_spark.ui.results.live_verification import EVIDENCE, MAX_BYTES_ON_PAGE
from confidential_spark.verification import Outcome
from confidential_spark.verification.evidence.bundle import MAX_EVIDENCE_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from confidential_spark.hooks.index.entry import IndexEntry
    from confidential_spark.hooks.index.index import IndexFile
    from confidential_spark.ui.results.live_verification import Judge, Judgement, State
    from confidential_spark.ui.results.published import PublishedResult

MAX_KEPT = 8192


@dataclass(frozen=True)
class KnownResult:
    """One published version, and what is known of it.

    :param entry: of its own files where ``judgement`` is there; else of the index, which nobody has checked;
        None where neither is known yet.
    :param judgement: of this process, about the files as they are.
    """

    result: PublishedResult
    entry: IndexEntry | None
    judgement: Judgement | None

    @property
    def key(self) -> str:
        """What it is published under."""
        return self.result.key

    @property
    def is_verified(self) -> bool:
        """Whether every step has passed; without a policy, for example, nothing can be verified."""
        return self.judgement is not None and self.judgement.report.outcome is Outcome.VERIFIED


class OwnEntries:
    """What this process itself has read of versions that it verified."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._kept: OrderedDict[Path, tuple[State, IndexEntry]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, folder: Path, state: State) -> IndexEntry | None:
        """Return what was read of a version whose files were in this state."""
        with self._lock:
            kept = self._kept.get(folder)
        return kept[1] if kept and kept[0] == state else None

    def put(self, folder: Path, state: State, entry: IndexEntry) -> None:
        """Keep an entry; the one that was kept longest is forgotten."""
        with self._lock:
            self._kept[folder] = (state, entry)
            self._kept.move_to_end(folder)
            while len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)


OWN = OwnEntries()


def known_results(
    judge: Judge, results: Mapping[str, PublishedResult], index: Index, own: OwnEntries = OWN
) -> dict[str, KnownResult]:
    """Return what is known of a DAG's published versions without reading a file of them.

    :param results: the versions that are published now, by key.
    """
    return {key: _known(judge, result, index, own) for key, result in results.items()}


def _known(judge: Judge, result: PublishedResult, index: Index, own: OwnEntries) -> KnownResult:
    state = judge.state(result)
    judgement, entry = judge.known_in(state, result), own.get(result.folder, state[0])
    if judgement and entry:
        return KnownResult(result, entry, judgement)
    return KnownResult(result, entry or index.entry(result.key, result.version), None)


def verify(judge: Judge, result: PublishedResult, own: OwnEntries = OWN) -> KnownResult:
    """Verify a version unless that is known, and read what its files say of it."""
    state = judge.state(result)
    judgement, entry = judge.known_in(state, result), own.get(result.folder, state[0])
    if judgement is None:
        judgement = judge.judge(result, limit=MAX_BYTES_ON_PAGE)
    if entry is None:
        entry = read_entry(judge, result)
        if judge.state(result)[0] == state[0]:
            own.put(result.folder, state[0], entry)
    return KnownResult(result, entry, judgement)


def read_entry(judge: Judge, result: PublishedResult) -> IndexEntry:
    """Return what the files of a version say of it."""
    return index_entry(
        result.version,
        result.document("report.json"),
        result.document("summary.json"),
        result.content(EVIDENCE, MAX_EVIDENCE_BYTES),
        judge.job,
    )


class IndexCopies:
    """Indexes as they were parsed, each for one state of its file."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._kept: dict[str, tuple[str, Index]] = {}
        self._lock = threading.Lock()

    def get(self, file: IndexFile) -> Index:
        """Return the index of a DAG's results; an unchanged one is not parsed again.

        :raises ResultError: what the storage refuses.
        """
        found = file.read()
        content, state = found or (None, "")
        with self._lock:
            kept = self._kept.get(file.dag_id)
        if kept and state and kept[0] == state:
            return kept[1]
        index = Index.parse(content, file.dag_id)
        with self._lock:
            self._kept[file.dag_id] = (state, index)
        return index


INDEXES = IndexCopies()
