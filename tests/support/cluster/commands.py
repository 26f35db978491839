"""The command line of every program of the node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.cluster.places import (
    API_PORT,
    CLUSTER_DOMAIN,
    FLEX_VOLUME_DIR,
    KUBELET_DIR,
    NODE_IP,
    NODE_NAME,
    POD_CIDR,
    SERVICE_CIDR,
)

if TYPE_CHECKING:
    from pathlib import Path

ETCD = "http://127.0.0.1:2379"


@dataclass(frozen=True)
class Program:
    """One long-running program; started only when the API server answers where it needs that."""

    name: str
    command: tuple[str, ...]
    needs_api: bool = True


def node_programs(programs: Path, network: Path, settings: Path) -> tuple[Program, ...]:
    """Return the node's programs in the order of their start.

    :param programs: folder of the compiled programs of Kubernetes.
    :param network: folder of the compiled program that enforces network policies.
    :param settings: folder that :func:`tests.support.cluster.settings_files.write_settings` filled.
    """
    return (
        Program("etcd", _etcd(programs), needs_api=False),
        Program("containerd", ("containerd", "--config", f"{settings}/containerd.toml"), needs_api=False),
        Program("kube-apiserver", _api_server(programs, settings), needs_api=False),
        Program("kubelet", _kubelet(programs, settings)),
        Program("kube-controller-manager", _controller_manager(programs, settings)),
        Program("kube-scheduler", _scheduler(programs, settings)),
        Program("kube-proxy", (f"{programs}/kube-proxy", f"--config={settings}/kube-proxy.yaml")),
        Program("network-policies", _network_policies(network, settings)),
    )


def _etcd(programs: Path) -> tuple[str, ...]:
    # In clear, without fsync: only the node's own loopback reaches it, and its data ends with the node.
    return (
        f"{programs}/server",
        "--name=node",
        "--data-dir=/var/lib/etcd",
        "--unsafe-no-fsync",
        f"--listen-client-urls={ETCD}",
        f"--advertise-client-urls={ETCD}",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--initial-advertise-peer-urls=http://127.0.0.1:2380",
        "--initial-cluster=node=http://127.0.0.1:2380",
        "--log-level=warn",
    )


def _api_server(programs: Path, at: Path) -> tuple[str, ...]:
    return (
        f"{programs}/kube-apiserver",
        f"--advertise-address={NODE_IP}",
        f"--secure-port={API_PORT}",
        f"--etcd-servers={ETCD}",
        f"--service-cluster-ip-range={SERVICE_CIDR}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        f"--client-ca-file={at}/ca.crt",
        f"--tls-cert-file={at}/apiserver.crt",
        f"--tls-private-key-file={at}/apiserver.key",
        f"--kubelet-certificate-authority={at}/ca.crt",
        f"--kubelet-client-certificate={at}/apiserver-kubelet-client.crt",
        f"--kubelet-client-key={at}/apiserver-kubelet-client.key",
        "--kubelet-preferred-address-types=InternalIP",
        f"--service-account-issuer=https://kubernetes.default.svc.{CLUSTER_DOMAIN}",
        f"--service-account-key-file={at}/service-accounts.key",
        f"--service-account-signing-key-file={at}/service-accounts.key",
    )


def _kubelet(programs: Path, at: Path) -> tuple[str, ...]:
    return (
        f"{programs}/kubelet",
        f"--config={at}/kubelet.yaml",
        f"--kubeconfig={at}/kubelet.kubeconfig",
        f"--root-dir={KUBELET_DIR}",
        f"--hostname-override={NODE_NAME}",
        f"--node-ip={NODE_IP}",
    )


def _controller_manager(programs: Path, at: Path) -> tuple[str, ...]:
    return (
        f"{programs}/kube-controller-manager",
        f"--kubeconfig={at}/kube-controller-manager.kubeconfig",
        "--leader-elect=false",
        "--use-service-account-credentials",
        f"--root-ca-file={at}/ca.crt",
        f"--service-account-private-key-file={at}/service-accounts.key",
        f"--flex-volume-plugin-dir={FLEX_VOLUME_DIR}",
    )


def _scheduler(programs: Path, at: Path) -> tuple[str, ...]:
    return (
        f"{programs}/kube-scheduler",
        f"--kubeconfig={at}/kube-scheduler.kubeconfig",
        "--leader-elect=false",
    )


def _network_policies(network: Path, at: Path) -> tuple[str, ...]:
    return (
        f"{network}/network-policies",
        f"--kubeconfig={at}/network-policies.kubeconfig",
        f"--node={NODE_NAME}",
        f"--pods={POD_CIDR}",
    )
