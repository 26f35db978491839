"""What the API server does to a pod before it stores it: defaults, validation, Pod Security."""

from __future__ import annotations

import copy
import re
from typing import TYPE_CHECKING

from tests.support.fakes.kubernetes_api import quantities
from tests.support.fakes.kubernetes_api.refusals import forbidden, invalid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.fakes.kubernetes_api.refusals import Json

ENFORCE = "pod-security.kubernetes.io/enforce"

_SUBDOMAIN = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
_LABEL = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
_LABEL_VALUE = re.compile(r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$")
_POD_DEFAULTS = {
    "restartPolicy": "Always",
    "dnsPolicy": "ClusterFirst",
    "schedulerName": "default-scheduler",
    "serviceAccountName": "default",
    "terminationGracePeriodSeconds": 30,
    "enableServiceLinks": True,
    "securityContext": {},
}
_CONTAINER_DEFAULTS = {
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
    "resources": {},
}
_RESTRICTED_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}


def with_defaults(pod: Json) -> Json:
    """Return the pod as the API server would store it."""
    filled = copy.deepcopy(pod)
    spec = filled.setdefault("spec", {})
    for name, value in _POD_DEFAULTS.items():
        spec.setdefault(name, copy.deepcopy(value))
    for container in containers(filled):
        for name, value in _CONTAINER_DEFAULTS.items():
            container.setdefault(name, copy.deepcopy(value))
        latest = re.search(r":(?!latest$)[^/]+$|@", container.get("image") or "") is None
        container.setdefault("imagePullPolicy", "Always" if latest else "IfNotPresent")
        resources = container["resources"]
        if limits := resources.get("limits"):
            resources["requests"] = {**limits, **(resources.get("requests") or {})}
    filled["status"] = {"phase": "Pending", "qosClass": _quality(filled)}
    return filled


def containers(pod: Json) -> Iterator[Json]:
    """All containers of a pod, init containers first."""
    yield from pod["spec"].get("initContainers") or []
    yield from pod["spec"].get("containers") or []


def _quality(pod: Json) -> str:
    resources = [container.get("resources") or {} for container in pod["spec"].get("containers") or []]
    if all(
        {"cpu", "memory"} <= set(each.get("limits") or {}) and each["limits"] == each.get("requests")
        for each in resources
    ):
        return "Guaranteed"
    return "Burstable" if any(resources) else "BestEffort"


def validate(pod: Json) -> None:
    """Refuse what every API server refuses.

    :raises Refusal: 422.
    """
    name = pod["metadata"]["name"]
    for field, why in _faults(pod):
        raise invalid("Pod", name, field, why)


def _faults(pod: Json) -> Iterator[tuple[str, str]]:
    metadata, spec = pod["metadata"], pod["spec"]
    if not _SUBDOMAIN.match(metadata["name"]) or len(metadata["name"]) > 253:
        yield (
            "metadata.name",
            f'Invalid value: "{metadata["name"]}": a lowercase RFC 1123 subdomain must consist of …',
        )
    for key, value in (metadata.get("labels") or {}).items():
        if not isinstance(value, str) or len(value) > 63 or not _LABEL_VALUE.match(value):
            yield "metadata.labels", f'Invalid value: "{value}": a valid label must be … (key {key})'
    if not spec.get("containers"):
        yield "spec.containers", "Required value"
    names = [each.get("name") for each in containers(pod)]
    volumes = {volume.get("name") for volume in spec.get("volumes") or []}
    for index, container in enumerate(containers(pod)):
        field = f"spec.containers[{index}]"
        if names.count(container.get("name")) > 1:
            yield f"{field}.name", f'Duplicate value: "{container["name"]}"'
        yield from _container_faults(container, field, volumes)


def _container_faults(container: Json, field: str, volumes: set[str | None]) -> Iterator[tuple[str, str]]:
    if not _LABEL.match(container.get("name") or ""):
        yield (
            f"{field}.name",
            f'Invalid value: "{container.get("name")}": a lowercase RFC 1123 label must consist of …',
        )
    if not container.get("image"):
        yield f"{field}.image", "Required value"
    for mount in container.get("volumeMounts") or []:
        if mount["name"] not in volumes:
            yield f"{field}.volumeMounts", f'Not found: "{mount["name"]}"'
    for entry in container.get("env") or []:
        if not isinstance(entry.get("value", ""), str):
            yield f"{field}.env", f"env {entry.get('name')} is not a string"
    yield from _resource_faults(container.get("resources") or {}, f"{field}.resources")


def _resource_faults(resources: Json, field: str) -> Iterator[tuple[str, str]]:
    try:
        requests, limits = (quantities.amounts(resources.get(kind)) for kind in ("requests", "limits"))
    except ValueError as error:
        yield field, f"quantities must match the regular expression …: {error}"
        return
    for name, value in requests.items():
        if name in limits and value > limits[name]:
            yield f"{field}.requests", f'Invalid value: "{value}": must be less than or equal to {name} limit'
        if quantities.is_extended(name) and limits.get(name) != value:
            yield (
                f"{field}.requests",
                f'Invalid value: "{value}": must be equal to {name} limit of {limits.get(name)}',
            )
    for name, value in limits.items():
        if quantities.is_extended(name) and value != int(value):
            yield f"{field}.limits[{name}]", f'Invalid value: "{value}": must be an integer'


def check_security(pod: Json, namespace: Json | None) -> None:
    """Refuse what the namespace's Pod Security level forbids, and host paths always: no process may see them.

    :raises Refusal: 403.
    """
    labels = ((namespace or {}).get("metadata") or {}).get("labels") or {}
    level = labels.get(ENFORCE, "privileged")
    found = list(_host_access(pod))
    if level in ("baseline", "restricted"):
        found += _privileges(pod)
    if level == "restricted":
        found += _unrestricted(pod)
    if found:
        raise forbidden(
            "pods", pod["metadata"]["name"], f'violates PodSecurity "{level}:latest": {", ".join(found)}'
        )


def _host_access(pod: Json) -> Iterator[str]:
    if paths := [volume["name"] for volume in pod["spec"].get("volumes") or [] if "hostPath" in volume]:
        yield f"hostPath volumes (volume {', '.join(map(_quoted, paths))})"


def _privileges(pod: Json) -> Iterator[str]:
    spec = pod["spec"]
    if shared := [name for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name)]:
        yield f"host namespaces ({', '.join(f'{name}=true' for name in shared)})"
    for container in containers(pod):
        name = _quoted(container["name"])
        if (container.get("securityContext") or {}).get("privileged"):
            yield f"privileged (container {name} must not set securityContext.privileged=true)"
        if any(port.get("hostPort") for port in container.get("ports") or []):
            yield f"hostPort (container {name} uses hostPort)"


def _unrestricted(pod: Json) -> Iterator[str]:
    shared = pod["spec"].get("securityContext") or {}
    for volume in pod["spec"].get("volumes") or []:
        if not set(volume) - {"name"} <= _RESTRICTED_VOLUMES | {"hostPath"}:
            yield f"restricted volume types (volume {_quoted(volume['name'])})"
    for container in containers(pod):
        own = container.get("securityContext") or {}
        for control, must in _container_controls(own, {**shared, **own}):
            yield f"{control} (container {_quoted(container['name'])} must {must})"


def _container_controls(own: Json, both: Json) -> Iterator[tuple[str, str]]:
    """The controls of the restricted level that a container's settings miss, and what they must be."""
    capabilities = own.get("capabilities") or {}
    if own.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation != false", "set securityContext.allowPrivilegeEscalation=false"
    if "ALL" not in (capabilities.get("drop") or []) or set(capabilities.get("add") or []) - {
        "NET_BIND_SERVICE"
    }:
        yield "unrestricted capabilities", 'set securityContext.capabilities.drop=["ALL"]'
    if both.get("runAsNonRoot") is not True:
        yield "runAsNonRoot != true", "set securityContext.runAsNonRoot=true"
    if both.get("runAsUser") == 0:
        yield "runAsUser=0", "not set runAsUser=0"
    if (both.get("seccompProfile") or {}).get("type") not in ("RuntimeDefault", "Localhost"):
        yield "seccompProfile", 'set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'


def _quoted(text: str) -> str:
    return f'"{text}"'
