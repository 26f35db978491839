"""Writes what the programs of the node read: certificates, kubeconfigs, configuration files."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.cluster.certificates import CertificateAuthority, write_private_key
from tests.support.cluster.places import (
    API_PORT,
    API_SERVICE_IP,
    CLUSTER_DOMAIN,
    CONTAINERD_SOCKET,
    DNS_SERVICE_IP,
    FLEX_VOLUME_DIR,
    NODE_IP,
    NODE_NAME,
    POD_CIDR,
    Places,
)

IPV6 = Path("/proc/sys/net/ipv6")

PAUSE_IMAGE = "localhost/confidential-spark/pause:test"
COREDNS_IMAGE = "localhost/confidential-spark/coredns:test"

# User and group of each kubeconfig; the names are those that Kubernetes' built-in roles are bound to.
CLIENTS = {
    "admin": ("kubernetes-admin", "system:masters"),
    "kubelet": (f"system:node:{NODE_NAME}", "system:nodes"),
    "kube-controller-manager": ("system:kube-controller-manager", None),
    "kube-scheduler": ("system:kube-scheduler", None),
    "kube-proxy": ("system:kube-proxy", None),
    # No built-in role: manifests/network-policies.yaml has its own.
    "network-policies": ("network-policies", None),
}

# Empty plugins that need kernel modules or tools a small machine lacks; CRI needs none of them.
CONTAINERD = f"""\
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
[grpc]
  address = "{CONTAINERD_SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  # Root without CAP_SYS_RESOURCE cannot lower oom_score_adj, and no pod would start.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "%(cni_folder)s"
    conf_dir = "%(settings)s/cni"
"""


def write_settings(places: Places, cni_folder: Path, api_port: int) -> None:
    """Write everything into ``places.settings``, and the administrator's kubeconfig for this machine.

    :param api_port: the port of 127.0.0.1 on which this machine reaches the API server.
    """
    at = places.settings
    (at / "cni").mkdir(parents=True)
    _write_certificates(at)
    for name in CLIENTS:
        _write_kubeconfig(at / f"{name}.kubeconfig", at, name, API_PORT)
    _write_kubeconfig(places.kubeconfig, at, "admin", api_port)
    values = {"cni_folder": cni_folder, "settings": at}
    (at / "containerd.toml").write_text(CONTAINERD % values, encoding="utf-8")
    (at / "cni" / "10-bridge.conflist").write_text(json.dumps(_network(), indent=2), encoding="utf-8")
    (at / "kubelet.yaml").write_text(yaml.safe_dump(_kubelet(places)), encoding="utf-8")
    (at / "kube-proxy.yaml").write_text(yaml.safe_dump(_kube_proxy(at)), encoding="utf-8")
    # No name server beyond the cluster's: the node has no way out.
    (at / "resolv.conf").write_text("", encoding="utf-8")


def _write_certificates(at: Path) -> None:
    authority = CertificateAuthority(at)
    names = ["kubernetes", *(f"kubernetes.default{end}" for end in ("", ".svc", f".svc.{CLUSTER_DOMAIN}"))]
    authority.server(
        "apiserver", names=[*names, "localhost"], addresses=["127.0.0.1", API_SERVICE_IP, NODE_IP]
    )
    authority.server("kubelet-server", names=[NODE_NAME], addresses=[NODE_IP])
    authority.client("apiserver-kubelet-client", user="kube-apiserver-kubelet-client", group="system:masters")
    for name, (user, group) in CLIENTS.items():
        authority.client(name, user=user, group=group)
    write_private_key(at / "service-accounts.key", ec.generate_private_key(ec.SECP256R1()))


def _write_kubeconfig(path: Path, at: Path, client: str, port: int) -> None:
    def embedded(name: str) -> str:
        return base64.b64encode((at / name).read_bytes()).decode()

    name = "confidential-spark-test"
    server = {"server": f"https://127.0.0.1:{port}", "certificate-authority-data": embedded("ca.crt")}
    user = {
        "client-certificate-data": embedded(f"{client}.crt"),
        "client-key-data": embedded(f"{client}.key"),
    }
    path.touch(mode=0o600)
    path.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": name, "cluster": server}],
                "users": [{"name": client, "user": user}],
                "contexts": [{"name": name, "context": {"cluster": name, "user": client}}],
                "current-context": name,
            }
        ),
        encoding="utf-8",
    )


def _network() -> dict[str, Any]:
    """Return the CNI configuration: one bridge whose address is every pod's gateway, and IPv4 only."""
    bridge = {
        "type": "bridge",
        "bridge": "pods0",
        "isGateway": True,
        "ipMasq": False,
        "hairpinMode": True,
        "ipam": {"type": "host-local", "ranges": [[{"subnet": POD_CIDR}]], "routes": [{"dst": "0.0.0.0/0"}]},
    }
    plugins = [bridge]
    if IPV6.is_dir():
        # Pods would reach each other, and the node, by addresses that no policy is asked about.
        plugins.append({"type": "tuning", "sysctl": {"net.ipv6.conf.eth0.disable_ipv6": "1"}})
    return {"cniVersion": "0.4.0", "name": "pods", "plugins": plugins}


def _kubelet(places: Places) -> dict[str, Any]:
    at = places.settings
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {"anonymous": {"enabled": False}, "x509": {"clientCAFile": f"{at}/ca.crt"}},
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{at}/kubelet-server.crt",
        "tlsPrivateKeyFile": f"{at}/kubelet-server.key",
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "clusterDNS": [DNS_SERVICE_IP],
        "clusterDomain": CLUSTER_DOMAIN,
        "resolvConf": f"{at}/resolv.conf",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{places.unique_name}",
        # 1.34 warns on cgroup v1, 1.35 refuses it unless told otherwise.
        "failCgroupV1": False,
        "failSwapOn": False,
        "volumePluginDir": FLEX_VOLUME_DIR,
        # Root may lack CAP_SYS_RESOURCE, which -999 needs.
        "oomScoreAdj": 0,
        # A machine's disk may be nearly full, and images that were imported cannot be pulled again.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
    }


def _kube_proxy(at: Path) -> dict[str, Any]:
    # Connection tracking limits belong to the machine, not to this namespace: 0 leaves them alone.
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clusterCIDR": POD_CIDR,
        "hostnameOverride": NODE_NAME,
        "oomScoreAdj": 0,
        "clientConnection": {"kubeconfig": f"{at}/kube-proxy.kubeconfig"},
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
    }
