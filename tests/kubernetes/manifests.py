"""The manifests of `include/kubernetes`, read as data, applied to a test's namespace, and judged as rules."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

import yaml
from kubernetes import config, utils

from tests.support.places import ROOT

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from kubernetes.client import ApiClient

    from tests.kubernetes.clusters import Cluster

FOLDER = ROOT / "include" / "kubernetes"
ACCOUNTS = ("ServiceAccount", "Role", "RoleBinding")

Json = dict[str, Any]


def documents(*folders: str) -> Iterator[Json]:
    """All objects that the kustomizations of these folders list, unpatched."""
    for folder in folders:
        kustomization = kustomization_of(folder)
        for name in kustomization["resources"]:
            if name.endswith(".yaml"):
                yield from yaml.safe_load_all((FOLDER / folder / name).read_text(encoding="utf-8"))


def kustomization_of(folder: str) -> Json:
    text = (FOLDER / folder / "kustomization.yaml").read_text(encoding="utf-8")
    found: Json = yaml.safe_load(text)
    return found


def of_kind(kind: str, *folders: str) -> list[Json]:
    return [each for each in documents(*(folders or ("base",))) if each["kind"] == kind]


def apply(cluster: Cluster, api: ApiClient, kinds: Collection[str] = ACCOUNTS) -> None:
    """Create the base's objects of these kinds in the test's namespace, as `kubectl apply -k` does."""
    for each in documents("base"):
        if each["kind"] in kinds:
            for subject in each.get("subjects", ()):
                subject["namespace"] = cluster.namespace
            utils.create_from_dict(api, each, namespace=cluster.namespace)


def administrator(cluster: Cluster) -> ApiClient:
    return config.new_client_from_config(str(cluster.kubeconfig))


class Network:
    """NetworkPolicies as a cluster that enforces them understands them (networking.k8s.io/v1).

    :param policies: of one namespace.
    """

    def __init__(self, policies: list[Json]) -> None:
        self._policies = policies

    def between(self, source: str, target: str, port: int) -> bool:
        """Whether a pod of one role may connect to a pod of another, by TCP."""
        return self._allows("egress", source, {"role": target}, port) and self._allows(
            "ingress", target, {"role": source}, port
        )

    def outwards(self, source: str, address: str, port: int) -> bool:
        return self._allows("egress", source, {"address": address}, port)

    def inwards(self, address: str, target: str, port: int) -> bool:
        return self._allows("ingress", target, {"address": address}, port)

    def to_namespace(self, source: str, namespace: str, port: int, protocol: str) -> bool:
        return self._allows("egress", source, {"namespace": namespace}, port, protocol)

    def _allows(
        self, direction: str, role: str, peer: dict[str, str], port: int, protocol: str = "TCP"
    ) -> bool:
        chosen = [
            each["spec"]
            for each in self._policies
            if direction.capitalize() in each["spec"]["policyTypes"]
            and _selects(each["spec"]["podSelector"], role)
        ]
        return not chosen or any(
            any(_is_peer(each, peer) for each in rule["from" if direction == "ingress" else "to"])
            and any((each["port"], each["protocol"]) == (port, protocol) for each in rule["ports"])
            for spec in chosen
            for rule in spec.get(direction, ())
        )


def _selects(selector: Json, role: str) -> bool:
    labels = selector.get("matchLabels") or {}
    expressions = selector.get("matchExpressions") or []
    return labels in ({}, {"spark-role": role}) and all(
        (each["key"], each["operator"]) == ("spark-role", "In") and role in each["values"]
        for each in expressions
    )


def _is_peer(rule: Json, peer: dict[str, str]) -> bool:
    if address := peer.get("address"):
        block = rule.get("ipBlock")
        return block is not None and (
            ip_address(address) in ip_network(block["cidr"])
            and all(ip_address(address) not in ip_network(each) for each in block.get("except", ()))
        )
    if namespace := peer.get("namespace"):
        wanted = rule.get("namespaceSelector")
        return wanted == {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    return (
        "namespaceSelector" not in rule
        and "podSelector" in rule
        and _selects(rule["podSelector"], peer["role"])
    )
