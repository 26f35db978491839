"""What a named failure is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property


class FailureKind(StrEnum):
    """Whether a retry can help."""

    FATAL = "fatal"
    TRANSIENT = "transient"
    BENIGN = "benign"


@dataclass(frozen=True)
class Failure:
    """One row of the table.

    :param name: stable short name; also the error's code.
    :param page: file in `docs/runbooks/`, without its ending; it has a heading with the failure's name.
    :param meaning: what happened, in one sentence.
    :param action: what the reader should do.
    :param patterns: regular expressions without unbounded repeats, so that matching stays linear; they are
        searched in single lines, because the lines of several processes interleave.
    :param exit_codes: exit codes that mean this when the log names nothing higher in the table.
    """

    kind: FailureKind
    name: str
    page: str
    meaning: str
    action: str
    patterns: tuple[str, ...] = ()
    exit_codes: tuple[int, ...] = ()

    @property
    def retryable(self) -> bool:
        """Whether the same run may succeed later without a change."""
        return self.kind is FailureKind.TRANSIENT

    @property
    def runbook(self) -> str:
        """The place to read, relative to the repository's root."""
        return f"docs/runbooks/{self.page}.md#{self.name}"

    @cached_property
    def expressions(self) -> tuple[re.Pattern[str], ...]:
        """The patterns, each for itself: a search is fast where an expression starts with plain text."""
        return tuple(re.compile(pattern) for pattern in self.patterns)

    def shows_in(self, line: str) -> bool:
        """Whether one of the patterns is in the line."""
        return any(expression.search(line) for expression in self.expressions)


def fatal(
    name: str, page: str, meaning: str, action: str, *patterns: str, exits: tuple[int, ...] = ()
) -> Failure:
    """Return a row for what a retry cannot help."""
    return Failure(FailureKind.FATAL, name, page, meaning, action, patterns, exits)


def transient(
    name: str, page: str, meaning: str, action: str, *patterns: str, exits: tuple[int, ...] = ()
) -> Failure:
    """Return a row for what may pass by itself."""
    return Failure(FailureKind.TRANSIENT, name, page, meaning, action, patterns, exits)


def benign(name: str, meaning: str, *patterns: str) -> Failure:
    """Return a row for lines that look alarming and are harmless."""
    return Failure(FailureKind.BENIGN, name, "benign", meaning, "Nothing.", patterns)
