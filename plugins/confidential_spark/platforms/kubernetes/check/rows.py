"""What a Kubernetes cluster must offer to a distributed run: facts in, rows of the platform check out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from confidential_spark.core.check_rows import (
    CLOCK_FAILURE_SECONDS,
    CLOCK_WARNING_SECONDS,
    CheckRow,
    Status,
    gib,
)
from confidential_spark.platforms.kubernetes.names import EPC_RESOURCE, LAUNCHER_RIGHTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from decimal import Decimal

    from confidential_spark.platforms.kubernetes.check.probe import ProbeFacts
    from confidential_spark.platforms.kubernetes.names import Right

OLDEST_KUBERNETES = (1, 29)
"""The oldest version whose manifests, quotas and Pod Security behave as the tests saw them."""
RESTRICTED = "restricted"
ABSENT = "absent"
NOT_ALLOWED = "this account may not look"
APPLY = "kubectl apply -k include/kubernetes/overlays/<aks or simulation>"
# The names of the rows, for a table in which they could not be looked at.
API_ROWS = ("api", "rights", "namespace", "quota", "device-plugin", "epc", "network-policy")
PROBE_ROWS = ("pod", "sgx-devices", "network", "clock")
# Driver and the check's own.
OTHER_PODS = 2


@dataclass(frozen=True)
class ClusterNeeds:
    """What one run takes of the cluster.

    :param trust: of the platform's policy.
    :param executors: how many a run has.
    :param epc_bytes: page cache of one enclave; 0 where none is asked for.
    :param memory_bytes: memory of all pods of a run together.
    :param aesm: whether the node makes the quotes, so that no pod needs the provision device.
    """

    trust: str
    namespace: str
    executors: int
    epc_bytes: int
    memory_bytes: int
    aesm: bool = False

    @property
    def quantities(self) -> Mapping[str, int]:
        """What a run takes in the words of a resource quota."""
        epc = self.epc_bytes * (self.executors + 1)
        return {
            "pods": self.executors + OTHER_PODS,
            "limits.memory": self.memory_bytes,
            "requests.memory": self.memory_bytes,
            **({f"requests.{EPC_RESOURCE}": epc} if epc else {}),
        }


@dataclass(frozen=True)
class NodeFacts:
    """One node on which pods may be placed.

    :param epc_capacity: what its device plugin announced, or None: it has none.
    :param epc_allocatable: what pods may take of it; 0 while the plugin is away.
    """

    name: str
    epc_capacity: int | None
    epc_allocatable: int


@dataclass(frozen=True)
class QuotaFacts:
    """One line of a resource quota, in units of the resource."""

    quota: str
    resource: str
    hard: Decimal
    used: Decimal

    def __str__(self) -> str:
        """Return it for people."""
        return f"{self.quota}: {self.used:f} of {self.hard:f} {self.resource} used"


@dataclass(frozen=True)
class ClusterFacts:
    """What the API says; None where the account may not look.

    :param missing_rights: of those that Airflow's account needs.
    :param namespace_level: Pod Security level that the namespace enforces, ``none`` or ``ABSENT``.
    :param policies: names of the namespace's NetworkPolicies.
    """

    address: str
    version: tuple[int, int]
    version_text: str
    missing_rights: tuple[Right, ...]
    namespace_level: str | None
    quotas: tuple[QuotaFacts, ...] | None
    nodes: tuple[NodeFacts, ...] | None
    policies: tuple[str, ...] | None


def api_rows(facts: ClusterFacts, needs: ClusterNeeds) -> Iterator[CheckRow]:
    """Yield what the API's own words say."""
    yield CheckRow.judge(
        "api",
        f"Kubernetes {facts.version_text} at {facts.address}",
        f"Kubernetes {'.'.join(map(str, OLDEST_KUBERNETES))} or later",
        passed=facts.version >= OLDEST_KUBERNETES,
        action="update the cluster",
    )
    missing = ", ".join(map(str, facts.missing_rights))
    yield CheckRow.judge(
        "rights",
        f"may not {missing}" if missing else f"all {len(LAUNCHER_RIGHTS)} in {needs.namespace}",
        f"all rights of Airflow's account in {needs.namespace}",
        passed=not missing,
        action=f"{APPLY}; let the connection use the account airflow-launcher",
    )
    yield _namespace_row(facts, needs)
    yield _quota_row(facts, needs)
    yield _plugin_row(facts, needs)
    yield _epc_row(facts, needs)
    yield _policy_row(facts)


def probe_rows(
    facts: ProbeFacts, needs: ClusterNeeds, *, seconds_off: float, has_policies: bool
) -> Iterator[CheckRow]:
    """Yield what a pod on the cluster met, which is itself the first thing to know.

    :param seconds_off: of the node's clock from this machine's; 0 where the difference cannot be told.
    :param has_policies: whether there are NetworkPolicies that could be enforced.
    """
    yield CheckRow.judge(
        "pod",
        f"a pod of the enclave image started and ended well on {facts.node}",
        "pods of the enclave image start",
        passed=True,
        action="",
    )
    yield _device_row(facts, needs)
    yield _network_row(facts, has_policies=has_policies)
    clock = CheckRow.advise if seconds_off <= CLOCK_FAILURE_SECONDS else CheckRow.judge
    yield clock(
        "clock",
        f"{facts.node} is {seconds_off:.0f} s off this machine",
        f"within {CLOCK_WARNING_SECONDS:.0f} s",
        passed=seconds_off <= CLOCK_WARNING_SECONDS,
        action="run NTP on both: a token older than its run is refused",
    )


def _namespace_row(facts: ClusterFacts, needs: ClusterNeeds) -> CheckRow:
    expected = f"{needs.namespace} with Pod Security level {RESTRICTED}"
    level = facts.namespace_level
    if level is None:
        return _unseen("namespace", expected, "kubectl get namespace --show-labels tells")
    judge = CheckRow.judge if level == ABSENT else CheckRow.advise
    return judge(
        "namespace",
        f"{needs.namespace} is {level}" if level == ABSENT else f"{needs.namespace} with level {level}",
        expected,
        passed=level == RESTRICTED,
        action=APPLY if level == ABSENT else f"{APPLY}; only quotes from AESM need more than {RESTRICTED}",
    )


def _quota_row(facts: ClusterFacts, needs: ClusterNeeds) -> CheckRow:
    expected = "room for one run in every quota"
    if facts.quotas is None:
        return _unseen("quota", expected, "kubectl describe resourcequota tells")
    wanted = needs.quantities
    lines = [each for each in facts.quotas if each.resource in wanted]
    if not lines:
        return CheckRow.absent("quota", "no quota", expected, f"nothing; {APPLY} keeps runs within bounds")
    never = [each for each in lines if each.hard < wanted[each.resource]]
    full = never or [each for each in lines if each.hard - each.used < wanted[each.resource]]
    judge = CheckRow.judge if never else CheckRow.advise
    return judge(
        "quota",
        "; ".join(map(str, full)) or f"{len(lines)} limits, all with room for a run",
        f"{expected}: {', '.join(f'{name} {amount}' for name, amount in wanted.items())}",
        passed=not full,
        action="raise the quota, or lower CONFIDENTIAL_SPARK_AKS_EXECUTORS or their memory"
        if never
        else "nothing while other runs go on; else remove what they left: kubectl get pods",
    )


def _plugin_row(facts: ClusterFacts, needs: ClusterNeeds) -> CheckRow:
    expected = f"nodes with the resource {EPC_RESOURCE}"
    if facts.nodes is None:
        return _unseen("device-plugin", expected, "the row pod tells whether a node gave the page cache")
    having = [node.name for node in facts.nodes if node.epc_capacity is not None]
    return CheckRow.require_for_hardware(
        "device-plugin",
        f"{len(having)} of {len(facts.nodes)} nodes: {', '.join(having) or 'none'}",
        expected,
        trust=needs.trust,
        passed=bool(having),
        action="az aks enable-addons --addons confcom --resource-group … --name …; add a DCsv3 node pool",
    )


def _epc_row(facts: ClusterFacts, needs: ClusterNeeds) -> CheckRow:
    enclaves = needs.executors + 1
    expected = f"room for {enclaves} enclaves of {gib(needs.epc_bytes)}" if needs.epc_bytes else "none wanted"
    if facts.nodes is None:
        return _unseen("epc", expected, f"kubectl describe nodes | grep {EPC_RESOURCE} tells")
    nodes = [node for node in facts.nodes if node.epc_capacity is not None]
    said = "; ".join(
        f"{node.name}: {gib(node.epc_allocatable)} of {gib(node.epc_capacity or 0)} allocatable"
        for node in nodes
    )
    if not needs.epc_bytes:
        return CheckRow.absent("epc", said or "no node has any", expected, "nothing: runs ask for none")
    places = sum(node.epc_allocatable // needs.epc_bytes for node in nodes)
    return CheckRow.judge(
        "epc",
        f"room for {places}: {said or 'no node has any'}",
        expected,
        passed=places >= enclaves,
        action="add nodes or larger ones, run fewer executors, or build a smaller enclave",
    )


def _policy_row(facts: ClusterFacts) -> CheckRow:
    expected = "NetworkPolicies, default-deny among them"
    if facts.policies is None:
        return _unseen("network-policy", expected, "kubectl get networkpolicies tells")
    return CheckRow.advise(
        "network-policy",
        ", ".join(sorted(facts.policies)) or "none",
        expected,
        passed="default-deny" in facts.policies,
        action=APPLY,
    )


def _device_row(facts: ProbeFacts, needs: ClusterNeeds) -> CheckRow:
    said = "; ".join(
        f"{device.path} mode {device.mode} group {device.group}{'' if device.opens else ', closed to it'}"
        for device in facts.devices
    )
    kinds = {"enclave"} if needs.aesm else {"enclave", "provision"}
    found = {kind for kind in kinds for device in facts.devices if device.path.endswith(kind)}
    return CheckRow.require_for_hardware(
        "sgx-devices",
        said or "the pod has no SGX device",
        f"the device {' and '.join(sorted(kinds))}, which the enclave's user may open",
        trust=needs.trust,
        passed=found == kinds and all(device.opens for device in facts.devices),
        action="set CONFIDENTIAL_SPARK_AKS_SUPPLEMENTAL_GROUPS to the devices' group"
        if found == kinds
        else "look at the device plugin's pods: kubectl get pods --namespace kube-system | grep sgx",
    )


def _network_row(facts: ProbeFacts, *, has_policies: bool) -> CheckRow:
    expected = "a pod without network rights reaches nothing"
    if facts.reached_network:
        return CheckRow.advise(
            "network",
            "not enforced: a pod without network rights reached the API server",
            expected,
            passed=False,
            action="create the cluster with a network that enforces NetworkPolicy: az … --network-policy",
        )
    if not has_policies:
        got = "not known: no policy to enforce was seen, and the pod reached nothing"
        return CheckRow("network", Status.WARN, got, expected, f"{APPLY}; then look again")
    return CheckRow.judge(
        "network", "a pod without network rights reached nothing", expected, passed=True, action=""
    )


def _unseen(name: str, expected: str, action: str) -> CheckRow:
    return CheckRow.absent(name, f"not known: {NOT_ALLOWED}", expected, action)
