"""The namespace's network policies on a real cluster: what pods of a run reach, and that it is no more."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from confidential_spark.platforms.kubernetes import names
from confidential_spark.platforms.kubernetes.pod_specs import measure_pod
from kubernetes.client import ApiException

from tests.kubernetes.clusters import wait

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.kubernetes.deployment import Deployment

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(600)]

ROLES = {
    "driver": "driver",
    "executor-1": "executor",
    "executor-2": "executor",
    "attest": "attest",
    "measure": "measure",
    "platform-check": "platform-check",
    "unlabelled": None,
}
# In another namespace, with the label of an executor.
STRANGER = "stranger"
BLOCKS = names.BLOCK_MANAGER_PORT
DRIVER_PORTS = (names.DRIVER_PORT, BLOCKS, names.RELEASE_PORT)
# The last is Spark's user interface, which nobody needs from outside of its pod.
PORTS = (*DRIVER_PORTS, 4040)
SERVE = (
    f"import signal, socket; held = [socket.create_server(('0.0.0.0', port)) for port in {PORTS}]; "
    "print('listening', flush=True); signal.pause()"
)
# All at once: what is closed takes the whole time.
REACH = (
    "for each in {targets}; do "
    '(timeout 3 bash -c ": < /dev/tcp/$each" 2>/dev/null && echo $each) & done; wait'
)
RESOLVE = "timeout 4 getent hosts kubernetes.default.svc.cluster.local && echo resolved; true"
PATIENCE_SECONDS = 60

Address = tuple[str, int]


def role_pod(deployment: Deployment, name: str) -> dict[str, Any]:
    """Return a pod with the labels of a run's, as its namespace accepts them, that listens on all ports."""
    made = measure_pod(replace(deployment.plan(name), deadline_seconds=900))
    labels = {names.ROLE_LABEL: ROLES.get(name, "executor")}
    made["metadata"] = {"name": name, "labels": {key: value for key, value in labels.items() if value}}
    made["spec"]["volumes"] = []
    (container,) = made["spec"]["containers"]
    container |= {"command": ["/opt/python/bin/python3", "-c", SERVE], "args": [], "volumeMounts": []}
    container["env"] = [
        {"name": "PYTHONHOME", "value": "/opt/python"},
        {"name": "LD_LIBRARY_PATH", "value": "/opt/python/lib"},
    ]
    return made


def namespace_of(name: str) -> str:
    return "default" if name == STRANGER else names.NAMESPACE


@pytest.fixture(scope="module")
def addresses(deployment: Deployment) -> Iterator[dict[str, str]]:
    """A pod of each role, and the stranger: their addresses by name."""
    core, everyone = deployment.core, (*ROLES, STRANGER)

    def listens(name: str) -> bool:
        if core.read_namespaced_pod(name, namespace_of(name)).status.phase != "Running":
            return False
        return "listening" in core.read_namespaced_pod_log(name, namespace_of(name))

    try:
        for name in everyone:
            core.create_namespaced_pod(namespace_of(name), role_pod(deployment, name))
        for name in everyone:
            wait(lambda name=name: listens(name), 120)
        pods = {name: core.read_namespaced_pod(name, namespace_of(name)) for name in everyone}
        yield {name: pod.status.pod_ip for name, pod in pods.items()}
    finally:
        for name in everyone:
            with suppress(ApiException):
                core.delete_namespaced_pod(name, namespace_of(name), grace_period_seconds=0)


@pytest.fixture(scope="module")
def servers(deployment: Deployment) -> dict[str, Address]:
    """What is no pod: the API, the cluster's name server, and the kubelet of a node."""
    core = deployment.core
    (node, *_) = core.list_node().items
    own_address = next(each.address for each in node.status.addresses if each.type == "InternalIP")
    return {
        "api": (core.read_namespaced_service("kubernetes", "default").spec.cluster_ip, 443),
        "dns": (core.read_namespaced_service("kube-dns", "kube-system").spec.cluster_ip, 53),
        "kubelet": (own_address, 10250),
    }


def reached(deployment: Deployment, name: str, targets: list[Address]) -> set[Address]:
    """Return those of the targets to which the pod can connect."""
    script = REACH.format(targets=" ".join(f"{host}/{port}" for host, port in targets))
    said = deployment.run_in(name, script, namespace_of(name)).split()
    return {(host, int(port)) for host, port in (each.split("/") for each in said)}


def comes_to(expected: object, found: Callable[[], object]) -> None:
    """Look until it is as expected: a policy is in force a moment after its pod is there."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (last := found()) != expected and time.monotonic() < deadline:
        pass
    assert last == expected


def test_pods_of_a_run_reach_each_other_as_listed_and_nothing_else(deployment, addresses) -> None:
    def connections(source: str) -> set[tuple[str, str, int]]:
        others = {address: name for name, address in addresses.items() if name != source}
        found = reached(deployment, source, [(address, port) for address in others for port in PORTS])
        return {(source, others[host], port) for host, port in found}

    def all_connections() -> set[tuple[str, str, int]]:
        with ThreadPoolExecutor() as pool:
            return set[tuple[str, str, int]]().union(*pool.map(connections, addresses))

    executors = ("executor-1", "executor-2")
    comes_to(
        {
            *((executor, "driver", port) for executor in executors for port in DRIVER_PORTS),
            *(("driver", executor, BLOCKS) for executor in executors),
            ("executor-1", "executor-2", BLOCKS),
            ("executor-2", "executor-1", BLOCKS),
        },
        all_connections,
    )


@pytest.mark.parametrize(
    ("name", "expected", "resolves"),
    [
        pytest.param("driver", {"api", "dns"}, True, id="driver"),
        pytest.param("executor-1", {"dns"}, True, id="executor"),
        pytest.param("attest", {"dns"}, True, id="attest"),
        pytest.param("measure", set(), False, id="measure"),
        pytest.param("platform-check", set(), False, id="platform-check"),
        pytest.param("unlabelled", set(), False, id="unlabelled"),
        # So it is the policies that restrict the others.
        pytest.param(STRANGER, {"api", "dns", "kubelet"}, True, id="stranger"),
    ],
)
def test_pods_of_a_run_reach_the_servers_that_are_listed(
    deployment, addresses, servers, name, expected, resolves
) -> None:
    def found() -> tuple[set[str], bool]:
        met = reached(deployment, name, [*servers.values()])
        answer = deployment.run_in(name, RESOLVE, namespace_of(name))
        return {server for server, address in servers.items() if address in met}, "resolved" in answer

    comes_to((expected, resolves), found)
