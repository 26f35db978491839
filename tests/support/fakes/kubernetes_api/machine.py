"""What the kubelet's parts share."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.fakes.kubernetes_api.images import Images
    from tests.support.fakes.kubernetes_api.rbac import Authorizer
    from tests.support.fakes.kubernetes_api.store import Store


@dataclass
class Machine:
    """The machine that all nodes of the cluster are.

    :param root: folder for volumes.
    :param mark: what the marks of this cluster's processes start with.
    """

    store: Store
    images: Images
    authorizer: Authorizer
    root: Path
    mark: str
    address: tuple[str, int] = ("127.0.0.1", 0)
    _addresses: Iterator[int] = field(default_factory=lambda: count(1))

    def new_address(self) -> str:
        """A pod's own address: all of 127/8 is this machine's loopback, so two pods can use the same port."""
        number = next(self._addresses)
        return f"127.1.{number // 250}.{number % 250 + 1}"
