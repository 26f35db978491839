"""Azurite for simulated pods, which reach it by a socket that its caller has made for them."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tests.support.azure.azurite import azurite, install
from tests.support.cluster.forwarder import forward
from tests.support.cluster.places import NODE_IP

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from tests.support.azure.azurite import Azurite

# On the cluster of `tests/support/cluster`: Azurite's usual port, which its network policies let pods reach.
PORT = 10_000
ADDRESS = f"{NODE_IP}:{PORT}"


@contextmanager
def azurite_for_pods(listener: socket.socket) -> Iterator[Azurite]:
    """Yield an emulator that pods reach through a listening socket, until this program ends.

    :raises NoAzuriteError: it cannot be installed.
    :raises AzuriteFailedError: it does not start.
    """
    install()
    with (
        tempfile.TemporaryDirectory(prefix="azurite-") as folder,
        azurite(Path(folder)) as running,
    ):
        forward(listener, urlsplit(running.endpoint).port or 0)
        yield running
