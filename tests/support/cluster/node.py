"""The node's first process: pid 1 of its own process, mount and network namespaces.

Everything the node does to a machine (mounts, bridges, iptables rules, pods) lives in these namespaces and
ends with this process, however it ends.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.support.cluster.api_server import is_api_ready
from tests.support.cluster.cgroups import create_cgroup
from tests.support.cluster.commands import Program, node_programs
from tests.support.cluster.forwarder import forward
from tests.support.cluster.machine import BRIDGE_RULES
from tests.support.cluster.places import API_PORT, NODE_GATEWAY, NODE_IP, NODE_NAME, Places

GO_AHEAD = b"go\n"
# What the kubelet sets for the whole machine: it gets files to write to instead.
SYSCTLS = (
    "kernel/keys/root_maxbytes",
    "kernel/keys/root_maxkeys",
    "kernel/panic",
    "kernel/panic_on_oops",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
)
ROUND_SECONDS = 0.1
RESTART_SECONDS = 1.0
# Nothing of the caller's environment: a proxy or a credential is no business of the node's.
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}


def main() -> int:
    """Prepare the namespaces, then keep the node's programs running until this process is killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--programs", type=Path, required=True)
    parser.add_argument("--network", type=Path, required=True)
    parser.add_argument("--listener", type=int, required=True, help="file descriptor of a listening socket")
    arguments = parser.parse_args()
    # The record of this process is on disk before it changes anything, or `down` could not find it.
    if sys.stdin.buffer.readline() != GO_AHEAD:
        return 1
    places = Places(arguments.home)
    _prepare_mounts(places)
    _prepare_network()
    create_cgroup(places.unique_name)
    forward(socket.socket(fileno=arguments.listener), API_PORT)
    Supervisor(places, node_programs(arguments.programs, arguments.network, places.settings)).run()
    return 0


def _prepare_mounts(places: Places) -> None:
    # Shared among the node's own mount namespaces, as the kubelet's mounts into pods need it.
    _run("mount", "--make-rshared", "/")
    for name in SYSCTLS:
        stand_in = places.node / "sysctl" / name
        stand_in.parent.mkdir(parents=True, exist_ok=True)
        stand_in.write_bytes(Path("/proc/sys", name).read_bytes())
        _run("mount", "--bind", str(stand_in), f"/proc/sys/{name}")
    for folder in ("/var/lib", "/var/log"):
        own = places.node / folder.strip("/")
        own.mkdir(parents=True)
        _run("mount", "--bind", str(own), folder)
    _run("mount", "-t", "tmpfs", "-o", "mode=755", "node", "/run")


def _prepare_network() -> None:
    socket.sethostname(NODE_NAME)
    _run("ip", "link", "set", "lo", "up")
    _run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "gateway0")
    _run("ip", "address", "add", f"{NODE_IP}/24", "dev", "eth0")
    _run("ip", "link", "set", "gateway0", "up")
    _run("ip", "link", "set", "eth0", "up")
    # Nobody is at the gateway; but without a route no packet gets as far as the rules for service addresses.
    _run("ip", "route", "add", "default", "via", NODE_GATEWAY)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    BRIDGE_RULES.write_text("1")


def _run(*command: str) -> None:
    subprocess.run(command, check=True, env=ENVIRONMENT)


class Supervisor:
    """Starts the programs, starts again what ended, collects the orphans that containers leave to pid 1."""

    def __init__(self, places: Places, programs: tuple[Program, ...]) -> None:
        """Start nothing yet."""
        self._places = places
        self._programs = programs
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._not_before: dict[str, float] = {}
        self._api_answered = False

    def run(self) -> None:
        """Go on for ever."""
        while True:
            self._collect()
            for program in self._programs:
                self._tend(program)
            time.sleep(ROUND_SECONDS)

    def _collect(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for name in [name for name, process in self._running.items() if process.pid == pid]:
                print(f"{name} ended: {os.waitstatus_to_exitcode(status)}", flush=True)
                del self._running[name]
                self._not_before[name] = time.monotonic() + RESTART_SECONDS

    def _tend(self, program: Program) -> None:
        running = self._running.get(program.name)
        if (self._places.stopped / program.name).exists():
            if running is not None:
                running.kill()
        elif running is None and self._may_start(program):
            self._start(program)

    def _may_start(self, program: Program) -> bool:
        if time.monotonic() < self._not_before.get(program.name, 0.0):
            return False
        if program.needs_api and not self._api_answered:
            self._api_answered = is_api_ready(API_PORT, self._places.settings)
            return self._api_answered
        return True

    def _start(self, program: Program) -> None:
        with (self._places.logs / f"{program.name}.log").open("ab") as log:
            self._running[program.name] = subprocess.Popen(
                program.command, env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )


if __name__ == "__main__":
    sys.exit(main())
