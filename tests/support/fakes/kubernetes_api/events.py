"""Events, as the scheduler and the kubelet of a real cluster record them."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from tests.support.fakes.kubernetes_api.resources import EVENTS
from tests.support.fakes.kubernetes_api.store import timestamp

if TYPE_CHECKING:
    from tests.support.fakes.kubernetes_api.refusals import Json
    from tests.support.fakes.kubernetes_api.store import Store


def record(
    store: Store, about: Json, reason: str, message: str, *, warning: bool = False, container: str = ""
) -> None:
    """Record an event about a pod; the same one again only raises its count.

    :param container: the container it is about, for the field path.
    """
    metadata = about["metadata"]
    namespace = metadata.get("namespace", "default")
    for event in store.select(EVENTS, namespace):
        if (event["involvedObject"]["uid"], event["reason"], event["message"]) == (
            metadata["uid"],
            reason,
            message,
        ):
            again = copy.deepcopy(event)
            again["count"] += 1
            again["lastTimestamp"] = timestamp()
            store.replace(EVENTS, again)
            return
    involved = {
        "kind": about["kind"],
        "apiVersion": about["apiVersion"],
        "namespace": namespace,
        "name": metadata["name"],
        "uid": metadata["uid"],
        **({"fieldPath": f"spec.containers{{{container}}}"} if container else {}),
    }
    component = "default-scheduler" if reason in ("Scheduled", "FailedScheduling") else "kubelet"
    event = {
        "metadata": {"name": f"{metadata['name']}.{store.version:016x}"},
        "involvedObject": involved,
        "type": "Warning" if warning else "Normal",
        "reason": reason,
        "message": message,
        "source": {"component": component},
        "reportingComponent": component,
        "firstTimestamp": timestamp(),
        "lastTimestamp": timestamp(),
        "count": 1,
    }
    store.create(EVENTS, namespace, event)
