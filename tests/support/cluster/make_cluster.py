"""What `make cluster` does: this machine's own node where it can have one, a cluster by kind elsewhere.

Exit codes: 0 done, 1 failed, 3 this machine can have neither.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from confidential_spark.core.errors import ConfidentialSparkError

from tests.support.cluster import kind
from tests.support.cluster.cluster import bring_up, changing
from tests.support.cluster.machine import UNFIT, MachineUnfitError, install_packages, refusal
from tests.support.cluster.places import Places
from tests.support.cluster.programs import require_compiler

if TYPE_CHECKING:
    from pathlib import Path


def main() -> int:
    """Bring a cluster up and print the path of its kubeconfig."""
    places = Places.of_environment()
    try:
        print(_own_node_or_kind(places))
    except MachineUnfitError as unfit:
        print(refusal(unfit), file=sys.stderr)
        return UNFIT
    except ConfidentialSparkError as failed:
        print(failed.diagnostics(), file=sys.stderr)
        return 1
    return 0


def _own_node_or_kind(places: Places) -> Path:
    try:
        return _own_node(places)
    except MachineUnfitError as unfit:
        if not kind.is_here():
            raise
        print(f"a cluster by kind, as this machine cannot have a node of its own: {unfit}", file=sys.stderr)
    cluster = kind.KindCluster(places)
    with changing(places):
        cluster.bring_up()
    return cluster.kubeconfig


def _own_node(places: Places) -> Path:
    # First, so that no package is installed for nothing.
    require_compiler(places)
    install_packages()
    bring_up(places)
    return places.kubeconfig


if __name__ == "__main__":
    sys.exit(main())
