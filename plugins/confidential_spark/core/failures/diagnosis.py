"""From log lines and an exit code to a cause."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from confidential_spark.agent.errors import ExitCode
from confidential_spark.core.errors import EnclaveError, shorten
from confidential_spark.core.failures.model import Failure, FailureKind
from confidential_spark.core.failures.table import FAILURES, UNNAMED

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# As this project's own errors print their codes: where a line begins, and not where it quotes somebody.
OUR_NAME = re.compile(r"(?:Error: )?\[([a-z0-9-]{1,64})\]")
OF_PEERS = "peer-"
LINE_LIMIT = 8_192
"""Characters of one log line that are looked at; the agent cuts its own lines far below."""


@dataclass(frozen=True)
class Sighting:
    """A row of the table and the first log line that showed it; no line when the exit code did."""

    failure: Failure
    line: str | None


@dataclass(frozen=True)
class Diagnosis:
    """Why a process failed.

    :param cause: the most specific failure; never benign.
    :param exit_code: as a shell reports it, 128 + signal number for a killed process.
    :param also_seen: consequences of the cause, or other failures, in the table's order.
    :param benign: harmless lines that look alarming, named so that nobody chases them.
    """

    cause: Sighting
    exit_code: int | None
    also_seen: tuple[Sighting, ...] = ()
    benign: tuple[Sighting, ...] = ()

    @classmethod
    def named(cls, name: str, line: str) -> Self:
        """Return the diagnosis with this row of the table, which the line showed.

        :raises LookupError: there is no such row.
        """
        failure = failure_named(name)
        if failure is None:
            raise LookupError(name)
        return cls(Sighting(failure, shorten(line)), None)

    @property
    def failure(self) -> Failure:
        """The cause's row."""
        return self.cause.failure

    def error(self) -> EnclaveError:
        """Return the diagnosis as this project's error, ready to be raised."""
        failure = self.failure
        return EnclaveError(
            failure.meaning,
            code=failure.name,
            got=self.cause.line or f"exit code {self.exit_code}",
            action=f"{failure.action} See {failure.runbook}",
            retryable=failure.retryable,
        )

    def text(self) -> str:
        """Return the diagnosis for the log: cause and cure, then what else was seen."""
        failure = self.failure
        return "\n".join(
            [
                f"FAILED: {failure.name} ({failure.kind}), exit code {self.exit_code}",
                f"  seen:     {self.cause.line or 'the exit code'}",
                f"  meaning:  {failure.meaning}",
                f"  do:       {failure.action}",
                f"  runbook:  {failure.runbook}",
                *(f"  also:     {s.failure.name}: {s.line or 'the exit code'}" for s in self.also_seen),
                *(f"  harmless: {s.failure.name}: {s.failure.meaning}" for s in self.benign),
            ]
        )


class LogWatcher:
    """Reads a log while it streams and remembers the first line of each failure it knows.

    Memory is bounded by the table's length. Lines may repeat (a re-attached pod replays its log) and may come
    from several processes in any order.
    """

    def __init__(self, table: Sequence[Failure] = FAILURES) -> None:
        """Watch for the rows of ``table``."""
        self._table = tuple(table)
        self._unseen = list(self._table)
        self._lines: dict[str, str] = {}

    def feed(self, line: str) -> list[Failure]:
        """Look at one line and return the failures that it shows for the first time."""
        head = line[:LINE_LIMIT]
        named = OUR_NAME.match(head)
        name = named[1] if named else None
        fresh = [f for f in self._unseen if f.name == name or f.shows_in(head)]
        for failure in fresh:
            self._unseen.remove(failure)
            self._lines[failure.name] = shorten(head.strip())
        return fresh

    def diagnose(self, exit_code: int | None = None) -> Diagnosis:
        """Return the cause, given how the process ended.

        :param exit_code: the process' code; negative means killed by that signal, as `subprocess` reports it.
        """
        code = 128 - exit_code if exit_code is not None and exit_code < 0 else exit_code
        sightings = [
            Sighting(failure, self._lines.get(failure.name))
            for failure in self._table
            if failure.name in self._lines or code in failure.exit_codes
        ]
        benign = tuple(s for s in sightings if s.failure.kind is FailureKind.BENIGN)
        causes = [s for s in sightings if s.failure.kind is not FailureKind.BENIGN] or [
            Sighting(UNNAMED, None)
        ]
        if code == ExitCode.ATTESTATION_REFUSED or any(s.failure.name.startswith(OF_PEERS) for s in causes):
            # Whatever else is in the log, possibly a stranger's work, does not make a refusal one to retry.
            causes.sort(key=lambda sighting: sighting.failure.kind is FailureKind.TRANSIENT)
        return Diagnosis(causes[0], code, tuple(causes[1:]), benign)


def classify(log_lines: Iterable[str], exit_code: int | None = None) -> Diagnosis:
    """Return why a process failed, from its whole log and its exit code (or minus its signal)."""
    watcher = LogWatcher()
    for line in log_lines:
        watcher.feed(line)
    return watcher.diagnose(exit_code)


def failure_named(name: str) -> Failure | None:
    """Return the row of that name; the error codes of this project that are failures are names too."""
    return next((failure for failure in (*FAILURES, UNNAMED) if failure.name == name), None)
