"""Notice that a worker of Airflow's LocalExecutor died while it waited for a task.

A waiting worker may hold the lock of the task queue; when it is killed, no other worker ever gets a task.
Airflow does not notice, and a scheduler that is asked to end waits for its workers for ever.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psutil

from scripts.process_tree import children, command_line

if TYPE_CHECKING:
    from collections.abc import Mapping

# Parts of the title that the LocalExecutor gives its processes.
WORKER, IDLE = "LocalExecutor", "<idle>"
# They are forked within moments; a stalled machine may need longer for the next one.
MOST_LOOKS_WITHOUT_GROWTH = 5


@dataclass
class Workers:
    """The workers of one scheduler, as they were last seen.

    :param wanted: how many are started at once with the scheduler; 0 where they are started on demand.
    :param waiting: by process id, whether the worker had no task.
    """

    wanted: int
    waiting: dict[int, bool] = field(default_factory=dict)
    complete: bool = False
    most: int = 0
    looks_without_growth: int = 0

    def look(self, scheduler: int) -> bool:
        """Look at the scheduler's children, and say whether a worker died that waited."""
        try:
            own = command_line(psutil.Process(scheduler))
        except psutil.NoSuchProcess:
            return False
        return self.update(own, {child.pid: command_line(child) for child in children(scheduler)})

    def update(self, scheduler: str, titles: Mapping[int, str]) -> bool:
        """Take the titles of the scheduler and of its children, and say whether a worker died that waited."""
        before = self.waiting
        # A worker that has just been forked still has the scheduler's title.
        self.waiting = {
            pid: IDLE in title or title == scheduler
            for pid, title in titles.items()
            if WORKER in title or title == scheduler
        }
        return self.lacks_one() or any(waiting and pid not in titles for pid, waiting in before.items())

    def lacks_one(self) -> bool:
        """Say whether a worker died before it was ever seen."""
        seen = len(self.waiting)
        self.complete = self.complete or seen >= self.wanted
        grew, self.most = seen > self.most, max(seen, self.most)
        self.looks_without_growth = 0 if grew or not seen else self.looks_without_growth + 1
        return not self.complete and self.looks_without_growth >= MOST_LOOKS_WITHOUT_GROWTH
