"""Azurite for simulated pods of the cluster of `tests/support/cluster`, who reach nothing else outside."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tests.support.azure.azurite import azurite, install
from tests.support.cluster.forwarder import forward
from tests.support.cluster.namespaces import listen_inside
from tests.support.cluster.places import NODE_IP

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.azure.azurite import Azurite
    from tests.support.cluster.places import Places

# Azurite's usual one, which the overlay `simulation` lets pods reach.
PORT = 10_000
ADDRESS = f"{NODE_IP}:{PORT}"


@contextmanager
def azurite_for_pods(places: Places) -> Iterator[Azurite]:
    """Yield an emulator that pods of a cluster that is up reach at `ADDRESS`, until this program ends.

    :raises NoAzuriteError: it cannot be installed, or does not start.
    """
    install()
    with (
        tempfile.TemporaryDirectory(prefix="azurite-") as folder,
        azurite(Path(folder)) as running,
    ):
        forward(listen_inside(places, PORT), urlsplit(running.endpoint).port or 0)
        yield running
