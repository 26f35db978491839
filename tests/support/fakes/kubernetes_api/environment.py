"""The command line and the environment of a container's process."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from tests.support.fakes.kubernetes_api import quantities
from tests.support.fakes.kubernetes_api.resources import CONFIG_MAPS, SECRETS
from tests.support.fakes.kubernetes_api.volumes import field_value, object_data, rewriter

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.fakes.kubernetes_api.machine import Machine
    from tests.support.fakes.kubernetes_api.refusals import Json
    from tests.support.fakes.kubernetes_api.resources import Resource

_REFERENCE = re.compile(r"\$(?:\$|\((?P<name>[\w.-]+)\))")


class ContainerConfigError(Exception):
    """A Secret or ConfigMap that the environment is made from is not there, in the kubelet's words."""


def command_line(machine: Machine, container: Json, environment: dict[str, str], root: Path) -> list[str]:
    """Return the program and its arguments, expanded; mount paths in the pod's own words are rewritten."""
    image = machine.images.get(container["image"])
    rewrite = rewriter(root, container)

    def stated(part: str) -> list[str]:
        return [rewrite(expand(word, environment)) for word in container.get(part) or []]

    # An image's own words are files of this machine, which may lie below a folder that a pod mounts, as /tmp.
    if command := stated("command"):
        return [*command, *stated("args")]
    return [*image.entrypoint, *(stated("args") or image.command)]


def container_environment(machine: Machine, pod: Json, container: Json, root: Path) -> dict[str, str]:
    """Return a container's variables: nothing of the test's own environment is among them.

    :raises ContainerConfigError: a source does not exist.
    """
    host, port = machine.address
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(root),
        "HOSTNAME": pod["metadata"]["name"],
        "KUBERNETES_SERVICE_HOST": host,
        "KUBERNETES_SERVICE_PORT": str(port),
        "FAKE_ROOT": str(root),
        **machine.images.get(container["image"]).environment,
    }
    rewrite = rewriter(root, container)
    for source in container.get("envFrom") or []:
        environment.update(_all_keys(machine, pod, source))
    for entry in container.get("env") or []:
        value = _value(machine, pod, container, entry)
        if value is not None:
            environment[entry["name"]] = rewrite(expand(value, environment))
    return environment


def expand(text: str, environment: dict[str, str]) -> str:
    """Replace ``$(NAME)`` by the variable where there is one; ``$$`` stands for ``$``."""

    def replaced(match: re.Match[str]) -> str:
        return "$" if match["name"] is None else environment.get(match["name"], match[0])

    return _REFERENCE.sub(replaced, text)


def _value(machine: Machine, pod: Json, container: Json, entry: Json) -> str | None:
    source = entry.get("valueFrom")
    if not source:
        return str(entry.get("value") or "")
    if reference := source.get("fieldRef"):
        return field_value(pod, reference["fieldPath"])
    if reference := source.get("resourceFieldRef"):
        kind, _, name = reference["resource"].partition(".")
        return quantities.text(quantities.container_amounts(container, kind)[name])
    resource = SECRETS if "secretKeyRef" in source else CONFIG_MAPS
    reference = source.get("secretKeyRef") or source["configMapKeyRef"]
    return _key(machine, pod, resource, reference)


def _key(machine: Machine, pod: Json, resource: Resource, reference: Json) -> str | None:
    data = _data(machine, pod, resource, reference)
    if data is None or (reference["key"] not in data and reference.get("optional")):
        return None
    if reference["key"] not in data:
        where = f"{pod['metadata']['namespace']}/{reference['name']}"
        raise ContainerConfigError(f"couldn't find key {reference['key']} in {resource.kind} {where}")
    return data[reference["key"]].decode()


def _all_keys(machine: Machine, pod: Json, source: Json) -> dict[str, str]:
    resource = SECRETS if "secretRef" in source else CONFIG_MAPS
    data = _data(machine, pod, resource, source.get("secretRef") or source["configMapRef"]) or {}
    return {source.get("prefix", "") + key: value.decode() for key, value in data.items()}


def _data(machine: Machine, pod: Json, resource: Resource, reference: Json) -> dict[str, bytes] | None:
    found = machine.store.find(resource, pod["metadata"]["namespace"], reference["name"])
    if found is None and not reference.get("optional"):
        raise ContainerConfigError(f'{resource.kind.lower()} "{reference["name"]}" not found')
    return None if found is None else object_data(found)
