"""Amounts of resources: what a pod asks for, what a node or a quota has left."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING

from kubernetes.utils.quantity import parse_quantity

if TYPE_CHECKING:
    from tests.support.fakes.kubernetes_api.refusals import Json

Amounts = dict[str, Decimal]


def amounts(quantities: Json | None) -> Amounts:
    """Parse a map of quantities, e.g. ``{"memory": "1Gi"}``.

    :raises ValueError: a value is no quantity.
    """
    return {name: Decimal(parse_quantity(value)) for name, value in (quantities or {}).items()}


def pod_amounts(pod: Json, kind: str) -> Amounts:
    """What a pod asks for: the sum of its containers, or its largest init container where that is more.

    :param kind: ``requests`` or ``limits``.
    """
    total: Counter[str] = Counter()
    for container in pod["spec"]["containers"]:
        for name, value in container_amounts(container, kind).items():
            total[name] += value  # type: ignore[assignment]
    for container in pod["spec"].get("initContainers") or []:
        for name, value in container_amounts(container, kind).items():
            total[name] = max(total[name], value)  # type: ignore[assignment]
    return dict(total)  # type: ignore[arg-type]


def container_amounts(container: Json, kind: str) -> Amounts:
    """One container's requests (its limits where it states no request) or limits."""
    resources = container.get("resources") or {}
    limits = amounts(resources.get("limits"))
    return limits if kind == "limits" else {**limits, **amounts(resources.get("requests"))}


def is_extended(resource: str) -> bool:
    """Whether a resource is a device plugin's, e.g. ``sgx.intel.com/epc``."""
    return "/" in resource and not resource.startswith("kubernetes.io/")


def text(amount: Decimal) -> str:
    """Write an amount as a plain number."""
    return format(amount.normalize(), "f")
