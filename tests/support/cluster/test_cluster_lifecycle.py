"""Of the cluster nothing stays behind, however it ends; and `up` makes good what was left half done."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.cluster.namespaces import find_node

if TYPE_CHECKING:
    from tests.support.cluster.conftest import CommandLine
    from tests.support.cluster.places import Places

pytestmark = pytest.mark.cluster

# What no cluster of ours may add to the machine: the defaults of Kubernetes' and containerd's programs.
FOREIGN = (
    "/etc/cni",
    "/run/netns",
    "/usr/libexec/kubernetes",
    "/var/lib/cni",
    "/var/lib/kubelet",
    "/var/log/pods",
)
SYSCTLS = ("kernel/panic", "kernel/panic_on_oops", "vm/overcommit_memory", "net/ipv4/ip_forward")


@pytest.mark.parametrize("end", ["down", "killed"])
def test_nothing_stays_behind(command_line: CommandLine, end: str) -> None:
    command_line.run("down")
    before = machine(command_line.places)
    command_line.run("up")
    holder = find_node(command_line.places)
    assert holder is not None
    if end == "killed":
        os.kill(holder, signal.SIGKILL)
    command_line.run("down")
    assert find_node(command_line.places) is None
    assert not command_line.places.node.exists()
    assert machine(command_line.places) == before


def test_an_up_that_was_killed_is_made_good(command_line: CommandLine) -> None:
    command_line.run("down")
    command_line.run("up")
    # What a killed `up` leaves: a node that answers, and is not complete.
    command_line.kubectl("delete", "--namespace=kube-system", "deployment/coredns")
    command_line.places.complete.unlink()
    assert command_line.run("status", check=False).returncode == 1
    command_line.run("up")
    assert "coredns" in command_line.run("status").stdout


def machine(places: Places) -> dict[str, object]:
    """Everything of this machine that a cluster without namespaces of its own would change."""
    links = {at.name for at in Path("/sys/class/net").iterdir()}
    return {
        "folders": {name: Path(name).exists() for name in FOREIGN},
        "sysctls": {name: Path("/proc/sys", name).read_text(encoding="ascii") for name in SYSCTLS},
        "links": links & {"pods0", "gateway0"},
        "cgroups": [str(at) for at in Path("/sys/fs/cgroup").glob(f"**/{places.unique_name}")],
    }
