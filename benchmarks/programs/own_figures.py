"""How a program says what a part of it cost, where its own start is not in question."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX = "MEASURED "


@contextmanager
def measured(times: int = 1) -> Iterator[None]:
    """Print seconds and CPU seconds of the block, divided by how often it does its work."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(PREFIX + json.dumps({"wall_s": wall / times, "cpu_s": cpu / times}), flush=True)
