"""What an enclave prints, wherever it runs: log lines, progress, and the name of a failure."""

from __future__ import annotations

import re
import time
from collections import deque
from typing import TYPE_CHECKING, Any, NoReturn

from confidential_spark.agent.progress import parse_progress
from confidential_spark.core.failures import LogWatcher

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from confidential_spark.core.failures import Diagnosis

PROGRESS_INTERVAL_SECONDS = 2.0
MAX_LINE = 8_192
"""Characters of one line that are copied."""
MAX_LOGGED = 2 * 1024 * 1024
"""Characters that are copied to the task's log; a job that prints more shows its beginning and its end."""
LAST_LINES = 200
# Airflow's page folds lines away between two of these.
FOLDS = re.compile(r"::(?=(?:end)?group::)")


def harmless(text: str) -> str:
    """Return one line without what a terminal or Airflow's page would obey: it shows, and does nothing."""
    shown = "".join(c if c.isprintable() or c == "\t" else "\N{REPLACEMENT CHARACTER}" for c in text)
    return FOLDS.sub(": :", shown)


class EnclaveOutput:
    """Reads the agent's output line by line, in bounded memory.

    :param log: takes one line of output.
    :param on_progress: takes one progress record, at most every two seconds.
    """

    def __init__(
        self,
        *,
        log: Callable[[str], None],
        on_progress: Callable[[Mapping[str, Any]], None] = lambda record: None,
    ) -> None:
        """Start with an empty log."""
        self.log: Callable[[str], None] = lambda line: log(harmless(line))
        self._log = log
        self.on_progress = on_progress
        self.watcher = LogWatcher()
        self._room = MAX_LOGGED
        self._withheld = 0
        self._last: deque[str] = deque(maxlen=LAST_LINES)
        self._next_progress = 0.0

    def feed(self, line: str, *, known: bool = False) -> None:
        """Take one line.

        :param known: an earlier try has logged it; it only counts for the diagnosis.
        """
        text = line[:MAX_LINE].rstrip("\r\n")
        record = parse_progress(text)
        if record is None:
            self.watcher.feed(text)
        if known:
            return
        if record is None:
            self._copy(text)
        elif time.monotonic() >= self._next_progress:
            self._next_progress = time.monotonic() + PROGRESS_INTERVAL_SECONDS
            self.on_progress(record | {name: harmless(record[name]) for name in ("stage", "text")})

    def close(self) -> None:
        """Log the end of an output that was too long to be copied as a whole."""
        if self._withheld:
            self.log(f"[log-cut] {self._withheld - len(self._last)} lines are not copied; the last ones are:")
        for line in self._last:
            self.log(line)
        self._last.clear()
        self._withheld = 0

    def fail(self, diagnosis: Diagnosis) -> NoReturn:
        """Log and raise why the enclave failed.

        :raises EnclaveError: named by the failure table, retryable where the table says so.
        """
        self._log("\n".join(harmless(line) for line in diagnosis.text().split("\n")))
        raise diagnosis.error()

    def _copy(self, text: str) -> None:
        if self._room > 0:
            self._room -= len(text) + 1
            self.log(text)
            return
        if not self._withheld:
            self.log(f"[log-cut] More than {MAX_LOGGED} characters; what follows now is the end.")
        self._withheld += 1
        self._last.append(text)
