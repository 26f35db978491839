"""The cgroup below which every pod of the node lives, in whatever hierarchies the machine has."""

from __future__ import annotations

import time
from pathlib import Path

MOUNTS = Path("/sys/fs/cgroup")
CONTROLLERS = "+cpu +cpuset +io +memory +pids"
PATIENCE_SECONDS = 10.0


def create_cgroup(name: str) -> None:
    """Make the cgroup ``name`` in every hierarchy (version 1) or in the one there is (version 2)."""
    for hierarchy in _hierarchies():
        (hierarchy / name).mkdir(exist_ok=True)
        _hand_controllers_down(hierarchy)
        _hand_controllers_down(hierarchy / name)


def remove_cgroup(name: str) -> None:
    """Remove the cgroup ``name`` and all below it; its processes have been ended before.

    :raises OSError: when a process of it lives longer than ten seconds.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    for hierarchy in _hierarchies():
        while (hierarchy / name).is_dir():
            try:
                _remove_tree(hierarchy / name)
            except OSError:
                # The kernel lets go of a cgroup a moment after its last process has ended.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)


def _hierarchies() -> list[Path]:
    if (MOUNTS / "cgroup.procs").is_file():
        return [MOUNTS]
    return sorted({at.parent.resolve() for at in MOUNTS.glob("*/cgroup.procs")})


def _hand_controllers_down(cgroup: Path) -> None:
    # Only version 2 has the file; a controller that is missing is the kubelet's to complain about.
    for controller in CONTROLLERS.split() if (cgroup / "cgroup.subtree_control").is_file() else ():
        try:
            (cgroup / "cgroup.subtree_control").write_text(controller)
        except OSError:
            continue


def _remove_tree(cgroup: Path) -> None:
    for child in cgroup.iterdir():
        if child.is_dir():
            _remove_tree(child)
    cgroup.rmdir()
