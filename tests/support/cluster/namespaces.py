"""The process that holds the node's namespaces: starting it, finding it again, ending it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from confidential_spark.core.errors import ConfidentialSparkError

from tests.support.cluster.cgroups import remove_cgroup
from tests.support.cluster.machine import UNSHARE
from tests.support.cluster.node import GO_AHEAD
from tests.support.cluster.places import NODE_IP, REPOSITORY, Places

# The node covers these folders with its own.
COVERED = tuple(Path(folder) for folder in ("/run", "/var/lib", "/var/log"))
PATIENCE_SECONDS = 30.0
# Listens at the node's address, and hands the socket over: it stays in the network that it was made in.
LISTEN = """
import socket, sys
asked = socket.socket(fileno=int(sys.argv[3]))
with asked, socket.create_server((sys.argv[1], int(sys.argv[2]))) as made:
    socket.send_fds(asked, [b"1"], [made.fileno()])
"""


def start_node(places: Places, programs: Path, network: Path, listener: socket.socket) -> None:
    """Start the node's first process, which starts the others; returns before they are ready.

    :raises ConfidentialSparkError: ``cluster-home-covered`` when the node would not see its own home.
    """
    if any(places.home.is_relative_to(folder) for folder in COVERED):
        raise ConfidentialSparkError(
            "the node covers the folder its cache is in",
            code="cluster-home-covered",
            got=places.home,
            expected="a folder outside " + ", ".join(map(str, COVERED)),
            action="set CONFIDENTIAL_SPARK_CACHE_DIR to another folder",
        )
    for folder in (places.logs, places.stopped):
        folder.mkdir(parents=True)
    program = [
        sys.executable,
        "-m",
        "tests.support.cluster.node",
        "--home",
        str(places.home),
        "--programs",
        str(programs),
        "--network",
        str(network),
    ]
    with (places.logs / "node.log").open("ab") as log:
        holder = subprocess.Popen(
            [*UNSHARE, *program, "--listener", str(listener.fileno())],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            pass_fds=[listener.fileno()],
            start_new_session=True,
        )
    places.record.write_text(
        json.dumps({"pid": holder.pid, "started": _started(holder.pid)}), encoding="utf-8"
    )
    if holder.stdin is not None:
        holder.stdin.write(GO_AHEAD)
        holder.stdin.close()
    while _child(holder.pid) is None and holder.poll() is None:
        time.sleep(0.01)


def find_node(places: Places) -> int | None:
    """Return the pid of the process that holds the namespaces, or None when it is gone.

    A pid is used again after a while; with its start time it is unique until the next boot.
    """
    try:
        record = json.loads(places.record.read_text(encoding="utf-8"))
        pid, started = int(record["pid"]), record["started"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return pid if started is not None and _started(pid) == started else None


def inside_node(places: Places, command: list[str]) -> list[str]:
    """Return the command line that runs ``command`` in the node's namespaces.

    :raises ConfidentialSparkError: ``cluster-down`` when there is no node.
    """
    holder = find_node(places)
    first = None if holder is None else _child(holder)
    if first is None:
        raise ConfidentialSparkError(
            "the test cluster is not up",
            code="cluster-down",
            expected="a node started by `python -m tests.support.cluster up`",
            action="run `python -m tests.support.cluster up`",
        )
    return ["nsenter", "-t", str(first), "--mount", "--net", "--pid", "--", *command]


def listen_inside(places: Places, port: int) -> socket.socket:
    """Return a socket on which this process takes what pods send to a port of the node.

    :raises ConfidentialSparkError: ``cluster-down``.
    :raises CalledProcessError: the port is taken.
    """
    ours, theirs = socket.socketpair()
    with ours, theirs:
        command = [sys.executable, "-c", LISTEN, NODE_IP, str(port), str(theirs.fileno())]
        subprocess.run(inside_node(places, command), pass_fds=[theirs.fileno()], check=True)
        _, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
    return socket.socket(fileno=descriptors[0])


def end_node(places: Places) -> None:
    """Kill the node with everything in its namespaces, whatever state it is in."""
    holder = find_node(places)
    if holder is None:
        return
    # Its parent ends after it, and it ends after all others: the kernel sees to both.
    os.kill(_child(holder) or holder, signal.SIGKILL)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while find_node(places) is not None:
        if time.monotonic() > deadline:
            raise ConfidentialSparkError(
                "the node's processes do not end",
                code="cluster-not-ended",
                got=f"pid {holder} still there after {PATIENCE_SECONDS:.0f} s",
                expected="no process",
                action="look for processes in state D, then run down again",
                retryable=True,
            )
        time.sleep(0.05)


def remove_node(places: Places) -> None:
    """Remove what an ended node left: its folder and its cgroup."""
    remove_cgroup(places.unique_name)
    if places.node.exists():
        shutil.rmtree(places.node)


def _child(pid: int) -> int | None:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except OSError:
        return None
    return int(children[0]) if children else None


def _started(pid: int) -> str | None:
    """Return the boot's id and the process's start time in ticks, None for a process that has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None
    # The command's name, in brackets, may hold blanks and brackets of its own.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else f"{boot}/{fields[19]}"
