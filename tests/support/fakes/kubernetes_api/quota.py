"""Resource quotas: what a namespace may hold of everything."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from tests.support.fakes.kubernetes_api import quantities
from tests.support.fakes.kubernetes_api.refusals import forbidden
from tests.support.fakes.kubernetes_api.resources import PODS, QUOTAS

if TYPE_CHECKING:
    from tests.support.fakes.kubernetes_api.quantities import Amounts
    from tests.support.fakes.kubernetes_api.refusals import Json
    from tests.support.fakes.kubernetes_api.store import Store


def check(store: Store, pod: Json) -> None:
    """Refuse a pod that a quota of its namespace has no room for.

    :raises Refusal: 403 in the words of the quota admission plugin.
    """
    namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    for quota in store.select(QUOTAS, namespace):
        hard = quantities.amounts(quota["spec"].get("hard"))
        asked, used = _counted(pod), usage(store, namespace)
        title = quota["metadata"]["name"]
        if missing := [key for key in hard if key.endswith(("cpu", "memory")) and key not in asked]:
            raise forbidden("pods", name, f"failed quota: {title}: must specify {', '.join(sorted(missing))}")
        over = [
            key for key in sorted(hard) if used.get(key, Decimal(0)) + asked.get(key, Decimal(0)) > hard[key]
        ]
        over = [key for key in over if asked.get(key)]
        if over:
            raise forbidden("pods", name, f"exceeded quota: {title}, {_sums(over, asked, used, hard)}")


def usage(store: Store, namespace: str) -> Amounts:
    """What the pods of a namespace that have not ended hold together."""
    total: Amounts = {}
    for pod in store.select(PODS, namespace):
        if pod["status"].get("phase") not in ("Succeeded", "Failed"):
            for key, value in _counted(pod).items():
                total[key] = total.get(key, Decimal(0)) + value
    return total


def _counted(pod: Json) -> Amounts:
    """A pod in the terms of a quota: `pods`, `requests.memory`, `memory`, …"""
    requests, limits = quantities.pod_amounts(pod, "requests"), quantities.pod_amounts(pod, "limits")
    counted = {"pods": Decimal(1), "count/pods": Decimal(1)}
    counted.update({key: requests[key] for key in ("cpu", "memory") if key in requests})
    counted.update({f"requests.{key}": value for key, value in requests.items()})
    counted.update({f"limits.{key}": value for key, value in limits.items()})
    return counted


def _sums(keys: list[str], asked: Amounts, used: Amounts, hard: Amounts) -> str:
    parts = []
    for title, source in (("requested", asked), ("used", used), ("limited", hard)):
        sums = ",".join(f"{key}={quantities.text(source.get(key, Decimal(0)))}" for key in keys)
        parts.append(f"{title}: {sums}")
    return ", ".join(parts)
