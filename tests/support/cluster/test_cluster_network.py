"""On the cluster: network policies block and let pass, from a pod's first packet on; so do our manifests."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.cluster.objects import SLEEP, pod, wait_for
from tests.support.cluster.places import API_PORT, API_SERVICE_IP, DNS_SERVICE_IP, NODE_IP, REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tests.support.cluster.conftest import CommandLine

pytestmark = pytest.mark.cluster

Address = tuple[str, int]
SHELL = ("/busybox", "sh", "-c")
API_SERVICE, API_SERVER = (API_SERVICE_IP, 443), (NODE_IP, API_PORT)
KUBELET, DNS = (NODE_IP, 10250), (DNS_SERVICE_IP, 53)
TRY_SECONDS, FIRST_TRY_SECONDS, PATIENCE_SECONDS = 3, 8, 60
TRY = "/busybox nc -w {seconds} {host} {port} </dev/null >/dev/null 2>&1 && echo {host} {port}"
ASK = (
    f"/busybox timeout {TRY_SECONDS} /busybox nslookup kubernetes.default.svc.cluster.local {DNS_SERVICE_IP}"
)

ROLES = {
    "driver": "driver",
    "executor-1": "executor",
    "executor-2": "executor",
    "attest": "attest",
    "transfer": "transfer",
    "platform-check": "platform-check",
    "unlabelled": None,
}
STRANGER = "stranger"
DRIVER_PORTS, BLOCKS = (7078, 7079, 7080), 7079
# The last is Spark's user interface, which nobody needs from outside of its pod.
PORTS = (*DRIVER_PORTS, 4040)
OVERLAY = REPOSITORY / "include" / "kubernetes" / "overlays" / "simulation-one-node"
# Of the node, in its own folder on this machine.
VOLUME_FOLDER = "var/lib/confidential-spark-data"
NAMESPACE = "confidential-spark"


def server(name: str, image: str, *ports: int) -> dict[str, Any]:
    """Return a pod that is ready when it accepts connections to all ports."""
    serve = "".join(f"/busybox nc -ll -p {port} -e /busybox true & " for port in ports)
    listening = " && ".join(f"/busybox netstat -ltn | /busybox grep -q :{port}" for port in ports)
    ready = {"exec": {"command": [*SHELL, listening]}, "periodSeconds": 1}
    return pod(name, image, *SHELL, f"{serve} /busybox sleep 6000", readinessProbe=ready)


def policy(name: str, app: str, **directions: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a policy that leaves a pod the given rules; a direction that is not named is not restricted."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name},
        "spec": {
            "podSelector": {"matchLabels": {"app": app}},
            "policyTypes": [each.capitalize() for each in directions],
            **directions,
        },
    }


def pods_named(app: str) -> dict[str, Any]:
    return {"podSelector": {"matchLabels": {"app": app}}}


def tcp(*ports: int) -> list[dict[str, Any]]:
    return [{"protocol": "TCP", "port": port} for port in ports]


def address_of(line: CommandLine, name: str, namespace: str = "default") -> str:
    return line.kubectl("get", "pod", name, "-n", namespace, "--output=jsonpath={.status.podIP}")


def reached(
    line: CommandLine, name: str, targets: Iterable[Address], namespace: str = "default"
) -> set[Address]:
    """Return those of the targets to which the pod can connect, all tried at once."""
    tries = [TRY.format(seconds=TRY_SECONDS, host=host, port=port) for host, port in targets]
    script = "".join(f"({each}) & " for each in tries) + "wait"
    said = line.kubectl("exec", name, "-n", namespace, "--", *SHELL, script).split()
    return {(host, int(port)) for host, port in zip(said[::2], said[1::2], strict=True)}


def resolves(line: CommandLine, name: str, namespace: str = "default") -> bool:
    """Return whether the pod's question to the cluster's DNS, by UDP, is answered."""
    asked = line.run("kubectl", "exec", name, "-n", namespace, "--", *SHELL, ASK, check=False)
    return f"Address: {API_SERVICE_IP}" in asked.stdout


def comes_to(expected: object, found: Callable[[], object]) -> None:
    """Look again until it is as expected: a policy is in force a moment after it was created."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (last := found()) != expected and time.monotonic() < deadline:
        pass
    assert last == expected


def test_a_listed_port_passes_and_every_other_is_closed(
    command_line: CommandLine, apply: Callable[..., None], image: str
) -> None:
    apply(*(server(name, image, 8000, 9000) for name in ("web", "client", "other")))
    for name in ("web", "client", "other"):
        wait_for(command_line, f"pod/{name}", "condition=Ready")
    web, client, other = (
        {(address_of(command_line, name), port) for port in (8000, 9000)}
        for name in ("web", "client", "other")
    )
    everything = web | client | other | {API_SERVICE}
    listed = {each for each in web if each[1] == 8000}
    comes_to(everything, lambda: reached(command_line, "client", everything))

    apply(policy("web", "web", ingress=[{"from": [pods_named("client")], "ports": tcp(8000)}]))
    comes_to(listed | client | other | {API_SERVICE}, lambda: reached(command_line, "client", everything))
    comes_to(client | other, lambda: reached(command_line, "other", web | client | other))
    # Its own connections are not restricted, and answers need no rule.
    comes_to(client | other, lambda: reached(command_line, "web", client | other))

    apply(policy("client", "client", egress=[{"to": [pods_named("web")], "ports": tcp(8000, 9000)}]))
    comes_to(listed, lambda: reached(command_line, "client", (web | other | {API_SERVICE})))
    comes_to(client, lambda: reached(command_line, "other", client))


def test_pods_of_one_policy_need_both_its_directions(
    command_line: CommandLine, apply: Callable[..., None], image: str
) -> None:
    """What it lets them send is not what it lets them receive."""
    both = policy(
        "both",
        "peer",
        egress=[{"to": [pods_named("peer")]}],
        ingress=[{"from": [pods_named("peer")], "ports": tcp(8000)}],
    )
    peers = [server(name, image, 8000, 9000) for name in ("peer-1", "peer-2")]
    for each in peers:
        each["metadata"]["labels"]["app"] = "peer"
    apply(both, *peers)
    for name in ("peer-1", "peer-2"):
        wait_for(command_line, f"pod/{name}", "condition=Ready")
    target = address_of(command_line, "peer-2")
    comes_to({(target, 8000)}, lambda: reached(command_line, "peer-1", [(target, 8000), (target, 9000)]))


def test_names_and_the_api_server_are_reached_when_listed(
    command_line: CommandLine, apply: Callable[..., None], image: str
) -> None:
    apply(policy("none", "asks", egress=[]), pod("asks", image, *SLEEP))
    wait_for(command_line, "pod/asks", "condition=Ready")
    servers = {API_SERVICE, API_SERVER, KUBELET, DNS}

    def state() -> tuple[set[Address], bool]:
        return reached(command_line, "asks", servers), resolves(command_line, "asks")

    comes_to((set(), False), state)
    system = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}
    apply(policy("dns", "asks", egress=[{"to": [system], "ports": [{"protocol": "UDP", "port": 53}]}]))
    comes_to((set(), True), state)
    block = {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.244.0.0/16"]}}
    apply(policy("api", "asks", egress=[{"to": [block], "ports": tcp(443, API_PORT, 53)}]))
    comes_to(({API_SERVICE, API_SERVER}, True), state)


def test_a_pod_is_cut_off_from_its_first_packet_on(
    command_line: CommandLine, apply: Callable[..., None], image: str
) -> None:
    """Its address is known to the API server a second after the pod has begun to use it."""
    attempt = TRY.format(seconds=FIRST_TRY_SECONDS, host=API_SERVICE_IP, port=443) + "; true"
    apply(
        policy("hasty", "hasty", egress=[]),
        *(pod(name, image, *SHELL, attempt) for name in ("hasty", "free")),
    )
    for name in ("hasty", "free"):
        wait_for(command_line, f"pod/{name}", "jsonpath={.status.phase}=Succeeded")
    assert command_line.kubectl("logs", "hasty") == ""
    # It waited for its turn, and was not cut off with the other.
    assert command_line.kubectl("logs", "free").split() == [API_SERVICE_IP, "443"]


def test_pods_have_no_address_that_policies_do_not_know(
    command_line: CommandLine, apply: Callable[..., None], image: str
) -> None:
    apply(pod("addresses", image, "/busybox", "ip", "-6", "address", "show", "eth0"))
    wait_for(command_line, "pod/addresses", "jsonpath={.status.phase}=Succeeded")
    assert "inet6" not in command_line.kubectl("logs", "addresses")


def test_nothing_is_blocked_while_the_program_is_stopped(
    command_line: CommandLine, apply: Callable[..., None], image: str
) -> None:
    """So it is this program that blocks, and nothing else of the node."""
    apply(policy("all", "shut", egress=[]), pod("shut", image, *SLEEP))
    wait_for(command_line, "pod/shut", "condition=Ready")
    comes_to(set(), lambda: reached(command_line, "shut", {API_SERVICE, DNS}))
    command_line.run("stop", "network-policies")
    try:
        comes_to({API_SERVICE, DNS}, lambda: reached(command_line, "shut", {API_SERVICE, DNS}))
    finally:
        command_line.run("start", "network-policies")
    comes_to(set(), lambda: reached(command_line, "shut", {API_SERVICE, DNS}))


@pytest.fixture(scope="module")
def run_pods(
    command_line: CommandLine, image: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Our manifests, a pod of each role in their namespace, and elsewhere one that looks like an executor."""
    (command_line.places.node / VOLUME_FOLDER).mkdir()
    command_line.kubectl("apply", "-k", str(OVERLAY))
    pods = [run_pod(name, image) for name in ROLES]
    stranger = server(STRANGER, image, *PORTS)
    stranger["metadata"]["labels"]["spark-role"] = "executor"
    file = tmp_path_factory.mktemp("pods") / "pods.json"
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [*pods, stranger]}))
    command_line.kubectl("create", f"--filename={file}")
    for name in (*ROLES, STRANGER):
        wait_for(command_line, f"pod/{name}", "condition=Ready", f"--namespace={namespace_of(name)}")
    yield
    command_line.kubectl("delete", f"--filename={file}")
    command_line.kubectl("delete", "-k", str(OVERLAY))


def run_pod(name: str, image: str) -> dict[str, Any]:
    """Return a pod with the labels of a run's, as its namespace accepts them, and the data's volume."""
    made = server(name, image, *PORTS)
    made["metadata"] |= {"namespace": NAMESPACE}
    if role := ROLES[name]:
        made["metadata"]["labels"]["spark-role"] = role
    made["spec"] |= {
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "fsGroup": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "confidential-spark-data"}}],
    }
    made["spec"]["containers"][0] |= {
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    return made


def namespace_of(name: str) -> str:
    return "default" if name == STRANGER else NAMESPACE


def test_pods_of_a_run_reach_each_other_as_listed_and_nothing_else(
    command_line: CommandLine, run_pods: None
) -> None:
    addresses = {name: address_of(command_line, name, namespace_of(name)) for name in (*ROLES, STRANGER)}

    def connections(source: str) -> set[tuple[str, str, int]]:
        others = {address: name for name, address in addresses.items() if name != source}
        targets = [(address, port) for address in others for port in PORTS]
        found = reached(command_line, source, targets, namespace_of(source))
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
    ("name", "servers", "by_udp"),
    [
        pytest.param("driver", {API_SERVICE, API_SERVER, DNS}, True, id="driver"),
        pytest.param("executor-1", {DNS}, True, id="executor"),
        pytest.param("attest", {DNS}, True, id="attest"),
        pytest.param("transfer", set(), False, id="transfer"),
        pytest.param("platform-check", set(), False, id="platform-check"),
        pytest.param("unlabelled", set(), False, id="unlabelled"),
    ],
)
def test_pods_of_a_run_reach_the_servers_that_are_listed(
    command_line: CommandLine, run_pods: None, name: str, servers: set[Address], by_udp: bool
) -> None:
    everything = {API_SERVICE, API_SERVER, DNS, KUBELET}
    comes_to(servers, lambda: reached(command_line, name, everything, NAMESPACE))
    comes_to(by_udp, lambda: resolves(command_line, name, NAMESPACE))


def test_the_policies_are_what_restricts_them(command_line: CommandLine, run_pods: None) -> None:
    everything = {API_SERVICE, API_SERVER, DNS, KUBELET}
    comes_to(everything, lambda: reached(command_line, STRANGER, everything))
    assert resolves(command_line, STRANGER)


def test_pods_of_a_run_may_write_to_the_volume_of_the_node(command_line: CommandLine, run_pods: None) -> None:
    write = "echo written > /data/file"
    command_line.kubectl("exec", "transfer", f"--namespace={NAMESPACE}", "--", *SHELL, write)
    assert (command_line.places.node / VOLUME_FOLDER / "file").read_text() == "written\n"
