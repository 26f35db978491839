"""The scheduler: which node a pod fits on, and why it fits on none."""

from __future__ import annotations

import copy
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING

from tests.support.fakes.kubernetes_api import events, quantities
from tests.support.fakes.kubernetes_api.resources import NODES, PODS
from tests.support.fakes.kubernetes_api.store import timestamp

if TYPE_CHECKING:
    from tests.support.fakes.kubernetes_api.refusals import Json
    from tests.support.fakes.kubernetes_api.store import Change, Store


class Scheduler:
    """Places pods that have no node, whenever pods or nodes change."""

    def __init__(self, store: Store) -> None:
        self._store = store
        store.subscribe(self._on_change)

    def _on_change(self, change: Change) -> None:
        freed = change.type == "DELETED" or (change.object.get("status") or {}).get("phase") in (
            "Succeeded",
            "Failed",
        )
        if change.resource is NODES or (change.resource is PODS and (change.type == "ADDED" or freed)):
            for pod in self._store.select(PODS):
                if not pod["spec"].get("nodeName") and not pod["metadata"].get("deletionTimestamp"):
                    self._place(pod)

    def _place(self, pod: Json) -> None:
        # Placing one pod is itself a change, so a nested call may have placed this one already.
        current = self._store.find(PODS, pod["metadata"]["namespace"], pod["metadata"]["name"])
        if current is None or current["spec"].get("nodeName"):
            return
        reasons: Counter[str] = Counter()
        for node in self._store.select(NODES):
            misfits = self._misfits(current, node)
            if not misfits:
                self._bind(current, node["metadata"]["name"])
                return
            reasons.update(misfits)
        self._refuse(current, reasons)

    def _bind(self, pod: Json, node: str) -> None:
        bound = copy.deepcopy(pod)
        bound["spec"]["nodeName"] = node
        bound["status"]["conditions"] = [_scheduled("True")]
        self._store.replace(PODS, bound)
        name = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
        events.record(self._store, pod, "Scheduled", f"Successfully assigned {name} to {node}")

    def _refuse(self, pod: Json, reasons: Counter[str]) -> None:
        nodes = len(self._store.select(NODES))
        listed = ", ".join(f"{number} {reason}" for reason, number in sorted(reasons.items()))
        message = (
            f"0/{nodes} nodes are available: {listed}." if nodes else "no nodes available to schedule pods"
        )
        condition = {**_scheduled("False"), "reason": "Unschedulable", "message": message}
        current = (pod["status"].get("conditions") or [{}])[0]
        if current.get("message") != message:
            self._store.replace(PODS, {**pod, "status": {**pod["status"], "conditions": [condition]}})
        events.record(self._store, pod, "FailedScheduling", message, warning=True)

    def _misfits(self, pod: Json, node: Json) -> list[str]:
        """Why a pod does not fit on a node, in the scheduler's words; empty where it does."""
        spec = pod["spec"]
        labels = node["metadata"].get("labels") or {}
        if node["spec"].get("unschedulable"):
            return ["node(s) were unschedulable"]
        for taint in node["spec"].get("taints") or []:
            if not any(_tolerates(each, taint) for each in spec.get("tolerations") or []):
                return [f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value', '')}}}"]
        if any(labels.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
            return ["node(s) didn't match Pod's node affinity/selector"]
        return self._shortages(pod, node)

    def _shortages(self, pod: Json, node: Json) -> list[str]:
        free = quantities.amounts(node["status"].get("allocatable") or node["status"].get("capacity"))
        name = node["metadata"]["name"]
        for other in self._store.select(PODS):
            if other["spec"].get("nodeName") == name and other["status"].get("phase") not in (
                "Succeeded",
                "Failed",
            ):
                free["pods"] = free.get("pods", Decimal(110)) - 1
                for key, value in quantities.pod_amounts(other, "requests").items():
                    free[key] = free.get(key, Decimal(0)) - value
        asked = quantities.pod_amounts(pod, "requests")
        short = [f"Insufficient {key}" for key, value in asked.items() if value > free.get(key, Decimal(0))]
        return short if free.get("pods", Decimal(1)) >= 1 else [*short, "Too many pods"]


def _scheduled(status: str) -> Json:
    return {
        "type": "PodScheduled",
        "status": status,
        "lastProbeTime": None,
        "lastTransitionTime": timestamp(),
    }


def _tolerates(toleration: Json, taint: Json) -> bool:
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return toleration.get("key") in (None, "", taint["key"])
    return (toleration.get("key"), toleration.get("value", "")) == (taint["key"], taint.get("value", ""))
