"""Bringing the cluster up and down."""

from __future__ import annotations

import fcntl
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import yaml
from confidential_spark.core.errors import ConfidentialSparkError

from tests.support.cluster.api_server import is_api_ready
from tests.support.cluster.images import is_containerd_ready, load_image, write_program_image
from tests.support.cluster.machine import MachineUnfitError, cni_folder, require_machine
from tests.support.cluster.namespaces import end_node, find_node, inside_node, remove_node, start_node
from tests.support.cluster.places import NODE_NAME, SOURCES, Places
from tests.support.cluster.programs import NETWORK, ensure_programs
from tests.support.cluster.settings_files import COREDNS_IMAGE, PAUSE_IMAGE, write_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

START_SECONDS = 180
SOCKET_BACKLOG = 128
# Of network/main.go: the queue it listens to last.
POLICY_QUEUE = 100


def bring_up(places: Places) -> None:
    """Return when a pod can be started; a cluster that is ready already stays as it is.

    What an earlier cluster left is removed first, whatever state it was killed in.

    :raises MachineUnfitError: when this machine cannot run one.
    :raises ConfidentialSparkError: ``cluster-not-ready`` with the logs' folder; the processes are ended.
    """
    require_machine()
    with changing(places):
        programs, network = ensure_programs(places), ensure_programs(places, NETWORK)
        if is_up(places):
            return
        end_node(places)
        remove_node(places)
        started = time.monotonic()
        try:
            _start(places, programs, network)
        except BaseException:
            end_node(places)
            raise
        places.complete.touch()
        print(f"up in {time.monotonic() - started:.1f} s", file=sys.stderr)


def bring_down(places: Places) -> None:
    """End the cluster and remove everything of it but the compiled programs."""
    with changing(places):
        end_node(places)
        remove_node(places)


@contextmanager
def changing(places: Places) -> Iterator[None]:
    """Keep other commands from changing the cluster meanwhile."""
    places.home.mkdir(parents=True, exist_ok=True)
    with places.lock.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def is_up(places: Places) -> bool:
    """Return whether the node was brought up completely, runs, and its API server is ready."""
    return places.complete.is_file() and find_node(places) is not None and _api_answers(places)


def is_enforcing(places: Places) -> bool:
    """Return whether somebody answers when the kernel asks about a pod's connection."""
    listeners = subprocess.run(
        inside_node(places, ["cat", "/proc/net/netfilter/nfnetlink_queue"]),
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    return any(line.split()[:1] == [str(POLICY_QUEUE)] for line in listeners.splitlines())


def kubectl(places: Places, programs: Path, *arguments: str) -> str:
    """Run kubectl as the cluster's administrator and return what it printed.

    :raises ConfidentialSparkError: ``cluster-kubectl-failed`` with its error text.
    """
    done = subprocess.run(
        kubectl_command(places, programs, *arguments), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise ConfidentialSparkError(
            "kubectl failed",
            code="cluster-kubectl-failed",
            got=done.stderr.strip(),
            action=" ".join(arguments),
        )
    return done.stdout


def kubectl_command(places: Places, programs: Path, *arguments: str) -> list[str]:
    """Return the command line of a kubectl that talks to this cluster, whatever $KUBECONFIG says."""
    return [f"{programs}/kubectl", f"--kubeconfig={places.kubeconfig}", *arguments]


def _start(places: Places, programs: Path, network: Path) -> None:
    plugins = cni_folder()
    if plugins is None:
        raise MachineUnfitError("the CNI plugins are gone", code="cluster-machine-unfit")
    places.node.mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0), backlog=SOCKET_BACKLOG) as listener:
        write_settings(places, plugins, listener.getsockname()[1])
        start_node(places, programs, network, listener)
    _wait(places, "containerd", lambda: is_containerd_ready(places))
    for name, program in ((PAUSE_IMAGE, "pause"), (COREDNS_IMAGE, "coredns")):
        archive = places.node / f"{program}.tar"
        write_program_image(archive, name, programs / program)
        load_image(places, archive)
        archive.unlink()
    _wait(places, "the API server", lambda: _api_answers(places))
    kubectl(places, programs, "apply", "--filename", str(SOURCES / "manifests"))
    _wait(places, "network-policies", lambda: is_enforcing(places))
    timeout = f"--timeout={START_SECONDS}s"
    # Each of them is there a moment after the API server: a pod of the first test needs all three.
    kubectl(places, programs, "wait", timeout, "--for=create", f"node/{NODE_NAME}")
    kubectl(places, programs, "wait", timeout, "--for=condition=Ready", f"node/{NODE_NAME}")
    kubectl(places, programs, "wait", timeout, "--for=create", "serviceaccount/default")
    kubectl(
        places,
        programs,
        "wait",
        timeout,
        "--namespace=kube-system",
        "--for=condition=Available",
        "deployment/coredns",
    )


def _wait(places: Places, what: str, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not holds():
        if time.monotonic() > deadline or find_node(places) is None:
            raise ConfidentialSparkError(
                f"{what} does not answer",
                code="cluster-not-ready",
                got=_last_words(places),
                expected=f"an answer within {START_SECONDS} s",
                action=f"read the logs in {places.logs}; they stay until the next up or down",
                retryable=True,
            )
        time.sleep(0.1)


def _last_words(places: Places) -> str:
    """Return the end of the node's own log, where every program that ended is named."""
    log = (places.logs / "node.log").read_text(encoding="utf-8", errors="replace").strip()
    return log[-200:] or "no program ended"


def _api_answers(places: Places) -> bool:
    config = yaml.safe_load(places.kubeconfig.read_text(encoding="utf-8"))
    port = urlsplit(config["clusters"][0]["cluster"]["server"]).port
    return port is not None and is_api_ready(port, places.settings)
