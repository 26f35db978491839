"""The resource types this API server knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.fakes.kubernetes_api.refusals import Json


@dataclass(frozen=True)
class Resource:
    """One resource type, e.g. pods of v1."""

    plural: str
    kind: str
    group: str = ""
    namespaced: bool = True
    version: str = "v1"
    subresources: tuple[str, ...] = ()

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """The name that messages of a real server use, e.g. ``roles.rbac.authorization.k8s.io``."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


PODS = Resource("pods", "Pod", subresources=("log", "status"))
NODES = Resource("nodes", "Node", namespaced=False, subresources=("status",))
NAMESPACES = Resource("namespaces", "Namespace", namespaced=False, subresources=("status",))
EVENTS = Resource("events", "Event")
SECRETS = Resource("secrets", "Secret")
CONFIG_MAPS = Resource("configmaps", "ConfigMap")
SERVICE_ACCOUNTS = Resource("serviceaccounts", "ServiceAccount", subresources=("token",))
QUOTAS = Resource("resourcequotas", "ResourceQuota", subresources=("status",))
ROLES = Resource("roles", "Role", "rbac.authorization.k8s.io")
ROLE_BINDINGS = Resource("rolebindings", "RoleBinding", "rbac.authorization.k8s.io")
ACCESS_REVIEWS = Resource(
    "selfsubjectaccessreviews", "SelfSubjectAccessReview", "authorization.k8s.io", False
)

RESOURCES = (
    PODS,
    NODES,
    NAMESPACES,
    EVENTS,
    SECRETS,
    CONFIG_MAPS,
    SERVICE_ACCOUNTS,
    QUOTAS,
    Resource("services", "Service", subresources=("status",)),
    ROLES,
    ROLE_BINDINGS,
    Resource("networkpolicies", "NetworkPolicy", "networking.k8s.io"),
    Resource("daemonsets", "DaemonSet", "apps", subresources=("status",)),
    ACCESS_REVIEWS,
)

_BY_PATH = {(each.group, each.version, each.plural): each for each in RESOURCES}


def find(group: str, version: str, plural: str) -> Resource | None:
    """The resource type at one place of the API, or None."""
    return _BY_PATH.get((group, version, plural))


def resource_list(group: str, version: str) -> Json:
    """What discovery says about one group and version."""
    verbs = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
    entries = [
        {
            "name": each.plural,
            "singularName": each.kind.lower(),
            "namespaced": each.namespaced,
            "kind": each.kind,
            "verbs": verbs,
        }
        for each in RESOURCES
        if (each.group, each.version) == (group, version)
    ]
    group_version = f"{group}/{version}" if group else version
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": group_version,
        "resources": entries,
    }


def group_list() -> Json:
    """The API groups of discovery, without the core group."""
    groups = []
    for group in sorted({each.group for each in RESOURCES if each.group}):
        version = {"groupVersion": f"{group}/v1", "version": "v1"}
        groups.append({"name": group, "versions": [version], "preferredVersion": version})
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
