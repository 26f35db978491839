"""Folders with something mounted below them: removing one of those would remove what is mounted, too."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from confidential_spark.core.errors import ConfigurationError

MOUNTS = Path("/proc/self/mountinfo")
# Source: proc_pid_mountinfo(5); blanks, tabs, line breaks and backslashes are written in octal.
MOUNT_POINT = 4
OCTAL = re.compile(r"\\([0-7]{3})")


def mounts_below(folder: Path) -> list[Path]:
    """Return what is mounted at or below a folder, the deepest and the latest first."""
    if not MOUNTS.is_file():
        return []
    real = folder.resolve()
    lines = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    points = [Path(_decoded(line.split(" ")[MOUNT_POINT])) for line in reversed(lines)]
    below = [point for point in points if point.is_relative_to(real)]
    return sorted(below, key=lambda point: len(point.parts), reverse=True)


def remove_unmounted(folder: Path) -> None:
    """Remove a folder after unmounting what is mounted below it.

    :raises ConfigurationError: ``folder-in-use``: something stays mounted, so nothing is removed.
    :raises OSError: the folder cannot be removed.
    """
    for point in mounts_below(folder):
        subprocess.run(["umount", str(point)], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if left := mounts_below(folder):
        raise ConfigurationError(
            "A folder of an earlier run cannot be removed: something is mounted below it.",
            code="folder-in-use",
            got=left[0],
            expected="nothing mounted there",
            action=f"end the processes that use it, then run `umount {left[0]}` as root",
        )
    shutil.rmtree(folder)


def _decoded(field: str) -> str:
    return OCTAL.sub(lambda match: chr(int(match[1], 8)), field)
