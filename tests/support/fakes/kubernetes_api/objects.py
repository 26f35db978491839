"""Reading and writing objects: what each verb does."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from tests.support.fakes.kubernetes_api import admission, quantities, quota, selectors, strict
from tests.support.fakes.kubernetes_api.refusals import bad_request, conflict, forbidden, not_found
from tests.support.fakes.kubernetes_api.resources import NAMESPACES, PODS, QUOTAS, SECRETS, Resource, find

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.support.fakes.kubernetes_api.kubelet import Kubelet
    from tests.support.fakes.kubernetes_api.refusals import Json
    from tests.support.fakes.kubernetes_api.requests import Target
    from tests.support.fakes.kubernetes_api.store import Change, Store


class Objects:
    """The verbs of the API on the objects of a store."""

    def __init__(self, store: Store, kubelet: Kubelet) -> None:
        self._store, self._kubelet = store, kubelet
        store.subscribe(self._collect_orphans)

    def read(self, target: Target) -> Json:
        found = self._store.get(target.resource, target.namespace, target.name)
        if target.resource is QUOTAS:
            used = quota.usage(self._store, target.namespace)
            hard = found["spec"].get("hard") or {}
            text = {key: quantities.text(used[key]) if key in used else "0" for key in hard}
            return {**found, "status": {"hard": hard, "used": text}}
        return found

    def select(self, target: Target, query: Mapping[str, str]) -> Json:
        """Answer with the matching objects, all at once: a limit is accepted and not needed."""
        matches = matcher(query)
        items = [item for item in self._store.select(target.resource, target.namespace) if matches(item)]
        return {
            "kind": f"{target.resource.kind}List",
            "apiVersion": target.resource.api_version,
            "metadata": {"resourceVersion": str(self._store.version)},
            "items": items,
        }

    def create(self, target: Target, body: Json, query: Mapping[str, str]) -> Json:
        """Admit and store a new object, or only admit it (`dryRun=All`)."""
        _check_fields(body, query)
        if target.resource.namespaced:
            self._check_namespace(target, body)
        new = self._admitted(target, body)
        if query.get("dryRun") == "All":
            return self._store.complete(target.resource, target.namespace, new)
        return self._store.create(target.resource, target.namespace, new)

    def delete(self, target: Target, options: Json, query: Mapping[str, str]) -> Json:
        """Remove an object; a pod first ends."""
        current = self._store.get(target.resource, target.namespace, target.name)
        wanted = (options.get("preconditions") or {}).get("uid")
        if wanted and wanted != current["metadata"]["uid"]:
            raise conflict(target.resource.qualified, target.name)
        if query.get("dryRun") == "All":
            return current
        if target.resource is PODS:
            grace = options.get("gracePeriodSeconds", query.get("gracePeriodSeconds"))
            return self._kubelet.request_deletion(current, None if grace is None else float(grace))
        self._store.remove(target.resource, target.namespace, target.name)
        if target.resource is NAMESPACES:
            self._empty(target.name)
        return _deleted(target, current)

    def delete_all(self, target: Target, options: Json, query: Mapping[str, str]) -> Json:
        """Remove all matching objects of a namespace."""
        listed = self.select(target, query)
        for item in listed["items"]:
            one = type(target)("delete", target.resource, target.namespace, item["metadata"]["name"])
            self.delete(one, options, query)
        return listed

    def _admitted(self, target: Target, body: Json) -> Json:
        if target.resource is PODS:
            pod = admission.with_defaults(self._store.complete(PODS, target.namespace, body))
            admission.validate(pod)
            admission.check_security(pod, self._store.find(NAMESPACES, "", target.namespace))
            if self._store.find(PODS, target.namespace, pod["metadata"]["name"]) is None:
                quota.check(self._store, pod)
            return pod
        if target.resource is SECRETS and body.get("stringData"):
            return _with_encoded_data(body)
        return body

    def _check_namespace(self, target: Target, body: Json) -> None:
        stated = (body.get("metadata") or {}).get("namespace")
        if stated and stated != target.namespace:
            raise bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        found = self._store.find(NAMESPACES, "", target.namespace)
        if found is None:
            raise not_found("namespaces", target.namespace)
        if "deletionTimestamp" in found["metadata"]:
            why = (
                f"unable to create new content in namespace {target.namespace} because it is being terminated"
            )
            raise forbidden(target.resource.qualified, body["metadata"].get("name", ""), why)

    def _empty(self, namespace: str) -> None:
        for item in self._store.everything():
            if item["metadata"].get("namespace") == namespace:
                self._remove(item)

    def _collect_orphans(self, change: Change) -> None:
        """Delete what a removed object owned, as the garbage collector does in the background."""
        if change.type != "DELETED":
            return
        uid = change.object["metadata"]["uid"]
        for item in self._store.everything():
            owners = item["metadata"].get("ownerReferences") or []
            if any(owner["uid"] == uid for owner in owners) and len(owners) == 1:
                self._remove(item)

    def _remove(self, item: Json) -> None:
        metadata = item["metadata"]
        group, _, version = item["apiVersion"].rpartition("/")
        resource = _by_kind(group, version, item["kind"])
        if self._store.find(resource, metadata.get("namespace", ""), metadata["name"]) is None:
            return
        if resource is PODS:
            self._kubelet.request_deletion(item, None)
        else:
            self._store.remove(resource, metadata.get("namespace", ""), metadata["name"])


def matcher(query: Mapping[str, str], name: str = "") -> Callable[[Json], bool]:
    """The test of both selectors of a request, and of the name where it has one."""
    labels = selectors.label_matcher(query.get("labelSelector", ""))
    fields = selectors.field_matcher(query.get("fieldSelector", ""))
    return lambda item: name in ("", item["metadata"]["name"]) and labels(item) and fields(item)


def _by_kind(group: str, version: str, kind: str) -> Resource:
    found = find(group, version, kind.lower() + "s") or find(group, version, kind.lower()[:-1] + "ies")
    if found is None:
        raise LookupError(kind)
    return found


def _check_fields(body: Json, query: Mapping[str, str]) -> None:
    if query.get("fieldValidation") == "Strict" and (unknown := strict.unknown_fields(body)):
        listed = ", ".join(f'unknown field "{field}"' for field in unknown)
        version, kind = body.get("apiVersion", "").rpartition("/")[2], body.get("kind")
        raise bad_request(
            f'{kind} in version "{version}" cannot be handled as a {kind}: strict decoding error: {listed}'
        )


def _with_encoded_data(secret: Json) -> Json:
    texts = secret["stringData"]
    encoded = {key: base64.b64encode(text.encode()).decode() for key, text in texts.items()}
    rest = {key: value for key, value in secret.items() if key != "stringData"}
    return {**rest, "data": {**(secret.get("data") or {}), **encoded}}


def _deleted(target: Target, removed: Json) -> Json:
    details = {"name": target.name, "kind": target.resource.plural, "uid": removed["metadata"]["uid"]}
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
