"""What a request is about, read from its method and path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.fakes.kubernetes_api.rbac import Access
from tests.support.fakes.kubernetes_api.refusals import Refusal
from tests.support.fakes.kubernetes_api.resources import NAMESPACES, Resource, find

if TYPE_CHECKING:
    from collections.abc import Mapping

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch"}


@dataclass(frozen=True)
class Target:
    """The object or collection of a request."""

    verb: str
    resource: Resource
    namespace: str = ""
    name: str = ""
    subresource: str = ""

    @property
    def resource_path(self) -> str:
        return f"{self.resource.plural}/{self.subresource}" if self.subresource else self.resource.plural

    @property
    def access(self) -> Access:
        # A Role in a namespace may give the right to read that namespace itself.
        namespace = self.name if self.resource is NAMESPACES else self.namespace
        return Access(self.verb, self.resource_path, self.resource.group, namespace, self.name)


def target(method: str, path: str, query: Mapping[str, str]) -> Target:
    """Read a request line.

    :raises Refusal: 404 for a path that is not of this API.
    """
    unknown = Refusal(404, "NotFound", "the server could not find the requested resource")
    parts = [part for part in path.split("/") if part]
    if parts[:1] == ["api"] and len(parts) > 2:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[:1] == ["apis"] and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        raise unknown
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in NAMESPACES.subresources:
        namespace, rest = rest[1], rest[2:]
    resource = find(group, version, rest[0])
    name, subresource = (*rest[1:], "", "")[:2]
    if resource is None or len(rest) > 3 or (subresource and subresource not in resource.subresources):
        raise unknown
    return Target(_verb(method, name, query), resource, namespace, name, subresource)


def _verb(method: str, name: str, query: Mapping[str, str]) -> str:
    if method == "GET":
        watched = query.get("watch", "").lower() in ("1", "true")
        return "watch" if watched else "get" if name else "list"
    if method == "DELETE":
        return "delete" if name else "deletecollection"
    return _VERBS[method]
