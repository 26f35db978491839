"""A single-node Kubernetes cluster for machines that cannot pull images.

`python -m tests.support.cluster --help` lists its commands.

Exit codes: 0 done, 1 failed, 3 this machine cannot run the cluster.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from confidential_spark.core.errors import ConfidentialSparkError

from tests.support.cluster.cluster import bring_down, bring_up, changing, is_up, kubectl, kubectl_command
from tests.support.cluster.commands import node_programs
from tests.support.cluster.epc import EPC_RESOURCE, epc_patch
from tests.support.cluster.images import load_image
from tests.support.cluster.machine import UNFIT, MachineUnfitError, install_packages, refusal
from tests.support.cluster.places import NODE_NAME, Places
from tests.support.cluster.programs import NETWORK, ensure_programs, require_compiler

NAMES = [program.name for program in node_programs(Path(), Path(), Path())]


def main() -> int:
    """Run one command; errors go to standard error in one line."""
    arguments = _parser().parse_args()
    places = Places.of_environment()
    try:
        return int(COMMANDS[arguments.command](places, arguments) or 0)
    except MachineUnfitError as unfit:
        print(refusal(unfit), file=sys.stderr)
        return UNFIT
    except ConfidentialSparkError as failed:
        print(failed.diagnostics(), file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.support.cluster", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("install", help="install the Debian packages it needs (root)")
    commands.add_parser("build", help="compile the programs, unless this cache has them")
    commands.add_parser("up", help="bring the cluster up and print its kubeconfig's path")
    commands.add_parser("down", help="end it and remove everything but the compiled programs")
    commands.add_parser("status", help="show nodes and pods; exit 1 when it is not up")
    commands.add_parser("kubeconfig", help="print the path of the administrator's kubeconfig")
    load = commands.add_parser(
        "load-image", help="import an archive of `docker save NAME:TAG`; print its names"
    )
    load.add_argument("archive", type=Path)
    epc = commands.add_parser("epc", help=f"give the node a capacity of {EPC_RESOURCE}, without SGX")
    epc.add_argument("quantity", help="e.g. 64Mi; 0 takes it away")
    for verb, effect in (("stop", "kill -9 a program and keep it stopped"), ("start", "start it again")):
        commands.add_parser(verb, help=effect).add_argument("program", choices=NAMES)
    commands.add_parser("kubectl", help="kubectl as administrator").add_argument(
        "rest", nargs=argparse.REMAINDER
    )
    return parser


def _install(places: Places, _arguments: argparse.Namespace) -> None:
    # First, so that no package is installed for nothing.
    require_compiler(places)
    install_packages()


def _build(places: Places, _arguments: argparse.Namespace) -> None:
    with changing(places):
        print(ensure_programs(places))
        print(ensure_programs(places, NETWORK))


def _up(places: Places, _arguments: argparse.Namespace) -> None:
    bring_up(places)
    print(places.kubeconfig)


def _down(places: Places, _arguments: argparse.Namespace) -> None:
    bring_down(places)


def _status(places: Places, _arguments: argparse.Namespace) -> int:
    if not is_up(places):
        print("the test cluster is not up")
        return 1
    print(
        kubectl(places, ensure_programs(places), "get", "nodes,pods", "--all-namespaces", "--output=wide"),
        end="",
    )
    return 0


def _kubeconfig(places: Places, _arguments: argparse.Namespace) -> None:
    _require_up(places)
    print(places.kubeconfig)


def _load_image(places: Places, arguments: argparse.Namespace) -> None:
    _require_up(places)
    print(json.dumps([asdict(image) for image in load_image(places, arguments.archive)], indent=2))


def _epc(places: Places, arguments: argparse.Namespace) -> None:
    patch = epc_patch(NODE_NAME, arguments.quantity)
    _require_up(places)
    print(kubectl(places, ensure_programs(places), *patch), end="")


def _stop(places: Places, arguments: argparse.Namespace) -> None:
    _require_node(places)
    (places.stopped / arguments.program).touch()


def _start(places: Places, arguments: argparse.Namespace) -> None:
    _require_node(places)
    (places.stopped / arguments.program).unlink(missing_ok=True)


def _kubectl(places: Places, arguments: argparse.Namespace) -> None:
    _require_node(places)
    programs = ensure_programs(places)
    os.execv(programs / "kubectl", kubectl_command(places, programs, *arguments.rest))  # noqa: S606 – no shell wanted


def _require_up(places: Places) -> None:
    if not is_up(places):
        raise _down_error()


def _require_node(places: Places) -> None:
    # Not more: the API server may be the program that is stopped.
    if not places.kubeconfig.is_file():
        raise _down_error()


def _down_error() -> ConfidentialSparkError:
    return ConfidentialSparkError(
        "the test cluster is not up", code="cluster-down", action="run `python -m tests.support.cluster up`"
    )


COMMANDS = {
    "build": _build,
    "down": _down,
    "epc": _epc,
    "install": _install,
    "kubeconfig": _kubeconfig,
    "kubectl": _kubectl,
    "load-image": _load_image,
    "start": _start,
    "status": _status,
    "stop": _stop,
    "up": _up,
}

if __name__ == "__main__":
    sys.exit(main())
