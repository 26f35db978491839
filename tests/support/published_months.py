"""A month that is published again and again under readers of every style.

What is here knows no storage: a storage brings a :class:`PublishedMonth` of its own and is judged by
:func:`republish`. Results on files are :class:`tests.support.month_on_files.MonthOnFiles`.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq
from confidential_spark.agent.protocol import canonical_json

from tests.support.factories.bundles import Bundle, make_bundle, run_report

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.synchronize import Event

Files = dict[str, bytes]
VERSIONS = 4


class TornError(Exception):
    """A reader found what no publication made."""


@dataclass(frozen=True)
class Version:
    """One content of the month, which verifies.

    :param files: name → content, of results and companions.
    """

    number: int
    bundle: Bundle
    files: Files

    @property
    def digests(self) -> dict[str, str]:
        """Name → hex SHA-256 of the result files."""
        return {name: _sha256(content) for name, content in self.bundle.results.items()}


@dataclass(frozen=True)
class Style:
    """One way to read the month.

    :param read: reads it once, whole or in part. What it returns is judged, unless it is None; an error is a
        fault.
    :param consistent: whether all files of one reading belong together. Of the other styles each file alone
        is whole, and none is missing.
    """

    name: str
    read: Callable[[], Mapping[str, bytes] | None]
    consistent: bool = True


class PublishedMonth(Protocol):
    """One month in some storage, with one publisher."""

    def publish(self, version: Version) -> None:
        """Make a version the one that readers see; a try of its own each time."""

    def styles(self) -> Sequence[Style]:
        """Return the ways to read it."""


@dataclass
class Tally:
    """What one reader met.

    :param mixed: readings whose files belong to several versions.
    :param faults: what else was wrong, as text.
    :param versions: how often each version was read whole.
    """

    readings: int = 0
    mixed: int = 0
    faults: list[str] = field(default_factory=list)
    versions: Counter[int] = field(default_factory=Counter)


@cache
def versions() -> tuple[Version, ...]:
    """Return the contents that are published in turn; no two share a file."""
    return tuple(_version(number) for number in range(VERSIONS))


def _version(number: int) -> Version:
    table = pa.BufferOutputStream()
    pq.write_table(pa.table({"hour": list(range(24)), "trips": [number] * 24}), table)
    summary = {"month": "2018-05", "totals": {"trips": number}, "rows": {"input": number}}
    results = {
        "summary.json": json.dumps(summary).encode(),
        "by_hour.parquet": table.getvalue().to_pybytes(),
        "tables/part-0.bin": bytes([number]) * 300_000,
    }

    def list_results(statement: dict[str, Any]) -> dict[str, Any]:
        subject = [{"name": name, "digest": {"sha256": _sha256(results[name])}} for name in sorted(results)]
        return {**statement, "subject": subject}

    bundle = make_bundle(statement=list_results, results=lambda _: results)
    envelope = canonical_json(json.loads(bundle.evidence)["envelope"])
    report = json.dumps(run_report(bundle, trips=number, rows=number)).encode()
    companions = {"evidence.json": bundle.evidence, "envelope.json": envelope, "report.json": report}
    return Version(number, bundle, {**results, **companions})


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def republish(month: PublishedMonth, publications: int) -> dict[str, Tally]:
    """Publish the month this often, with a reader of each style beside it; return what each met.

    Each reader reads at least once while the month is published, and once afterwards.
    """
    month.publish(versions()[-1])
    styles = month.styles()
    context = multiprocessing.get_context("fork")
    end = context.Event()
    readers = [_Reader(context, style, end) for style in styles]
    try:
        for reader in readers:
            reader.wait_for_first()
        for version in islice(cycle(versions()), publications):
            month.publish(version)
    finally:
        end.set()
        tallies = {reader.style.name: reader.tally() for reader in readers}
    return tallies


class _Reader:
    """One style in a process of its own, which reads until it is told to end."""

    def __init__(self, context: Any, style: Style, end: Event) -> None:
        self.style = style
        self._results, theirs = context.Pipe()
        self._process = context.Process(target=_read_often, args=(style, end, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def wait_for_first(self) -> None:
        assert self._results.recv() == "read once"

    def tally(self) -> Tally:
        tally: Tally = self._results.recv()
        self._process.join()
        return tally


def _read_often(style: Style, end: Event, results: Connection) -> None:
    tally = Tally()
    last = False
    while not last:
        last = end.is_set()
        _read(style, tally)
        if tally.readings == 1:
            results.send("read once")
    results.send(tally)


def _read(style: Style, tally: Tally) -> None:
    tally.readings += 1
    try:
        files = style.read()
        found = None if files is None else [_versions_of(name, content) for name, content in files.items()]
    except Exception as error:
        tally.faults.append(f"{type(error).__name__}: {error}")
        return
    if found is not None:
        whole = set.intersection(*found)
        tally.versions.update(whole)
        tally.mixed += not whole


def require_complete(files: Files) -> Files:
    """Accept a reading that has every file of the month, and return it."""
    expected = versions()[0].files.keys()
    if files.keys() != expected:
        raise TornError(f"found {sorted(files)} instead of {sorted(expected)}")
    return files


def _versions_of(name: str, content: bytes) -> set[int]:
    found = {version.number for version in versions() if version.files.get(name) == content}
    if not found:
        raise TornError(f"{name}: {len(content)} bytes that nobody published")
    return found
