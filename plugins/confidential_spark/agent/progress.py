"""What the agent prints, and progress lines: what it and its jobs print so that a reader sees movement."""

from __future__ import annotations

import json
from typing import Any

PREFIX = "PROGRESS "
MAX_LINE = 1_000
KEYS = {"stage", "done", "total", "text"}


def say(line: str) -> None:
    """Print one line at once."""
    print(line, flush=True)


def progress_line(stage: str, done: int, total: int, text: str) -> str:
    """Return one line; ``done`` and ``total`` count whatever the stage counts."""
    record = {"stage": stage, "done": done, "total": total, "text": text}
    return PREFIX + json.dumps(record, ensure_ascii=False)


def parse_progress(line: str) -> dict[str, Any] | None:
    """Return the record of a progress line, or None for any other line, malformed ones included."""
    if not line.startswith(PREFIX) or len(line) > MAX_LINE:
        return None
    try:
        record = json.loads(line[len(PREFIX) :])
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or record.keys() != KEYS:
        return None
    texts = (record["stage"], record["text"])
    counts = (record["done"], record["total"])
    valid = all(type(text) is str for text in texts) and all(type(count) is int for count in counts)
    return record if valid else None
