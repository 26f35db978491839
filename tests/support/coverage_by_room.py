"""Print what the tests covered by room of the package, and hold those that judge evidence to their branches.

`python -m tests.support.coverage_by_room` after `coverage combine`. Exit code 1: a room is below its share.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from pathlib import PurePath

# Percent of the branches: what is wrong here, an outsider believes.
WANTED = {"agent": 95, "verification": 95}
PACKAGE = "confidential_spark"
COUNTS = ("covered_lines", "num_statements", "covered_branches", "num_branches")


def main() -> int:
    """Print one line for each room, and return whether all have their share."""
    command = [sys.executable, "-m", "coverage", "json", "--quiet", "-o", "-"]
    answer = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    rooms = by_room({path: file["summary"] for path, file in answer["files"].items()})
    for room, counts in rooms.items():
        print(f"{room:16} lines {share(*counts[:2]):5.1f} %   branches {share(*counts[2:]):5.1f} %")
    missing = {room: least for room, least in WANTED.items() if share(*rooms.get(room, [0] * 4)[2:]) < least}
    for room, least in missing.items():
        print(f"FAILED: less than {least} % of the branches of {room}/ are tested: `coverage report -m`")
    return bool(missing)


def by_room(files: dict[str, dict[str, int]]) -> dict[str, list[int]]:
    """Return the sums of each room and of the whole package."""
    rooms: defaultdict[str, list[int]] = defaultdict(lambda: [0] * len(COUNTS))
    for path, summary in sorted(files.items()):
        inside = PurePath(path.rpartition(f"{PACKAGE}/")[2]).parts
        for room in (inside[0] if len(inside) > 1 else "(root)", "TOTAL"):
            rooms[room] = [have + summary[name] for have, name in zip(rooms[room], COUNTS, strict=True)]
    rooms["TOTAL"] = rooms.pop("TOTAL", [0] * len(COUNTS))
    return dict(rooms)


def share(covered: int, number: int) -> float:
    """Return percent; nothing at all is covered where nothing was measured."""
    return 100 * covered / number if number else 0.0


if __name__ == "__main__":
    raise SystemExit(main())
