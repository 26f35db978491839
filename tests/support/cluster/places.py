"""Where the cluster keeps what, and the fixed numbers of its network."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

SOURCES = Path(__file__).resolve().parent
REPOSITORY = SOURCES.parents[2]
GO_MODULE = SOURCES / "go"
NETWORK_MODULE = SOURCES / "network"

NODE_NAME = "node-1"
# Addresses inside the node's own network namespace: they cannot meet those of the machine.
NODE_IP = "10.245.0.1"
NODE_GATEWAY = "10.245.0.254"
POD_CIDR = "10.244.0.0/16"
SERVICE_CIDR = "10.96.0.0/16"
API_SERVICE_IP = "10.96.0.1"
DNS_SERVICE_IP = "10.96.0.10"
API_PORT = 6443
CLUSTER_DOMAIN = "cluster.local"

# Not containerd's usual one: until the node has covered /run, that would be the machine's own.
CONTAINERD_SOCKET = "/run/confidential-spark-node/containerd.sock"
KUBELET_DIR = "/var/lib/kubelet"
FLEX_VOLUME_DIR = f"{KUBELET_DIR}/volume-plugins"


@dataclass(frozen=True)
class Places:
    """The folders of one cluster; two clusters with different homes do not meet."""

    home: Path

    @classmethod
    def of_environment(cls) -> Places:
        """Return the places below ``CONFIDENTIAL_SPARK_CACHE_DIR``, or below the user's cache folder."""
        cache = (
            os.environ.get("CONFIDENTIAL_SPARK_CACHE_DIR") or Path.home() / ".cache" / "confidential-spark"
        )
        return cls(Path(cache).resolve() / "cluster")

    @property
    def node(self) -> Path:
        """Everything the running node writes; removed by ``down``."""
        return self.home / "node"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig, for clients on this machine."""
        return self.node / "kubeconfig"

    @property
    def complete(self) -> Path:
        """There once ``up`` has done all of its work; a node whose ``up`` was killed has none."""
        return self.node / "complete"

    @property
    def record(self) -> Path:
        """Which process holds the node's namespaces."""
        return self.node / "node.json"

    @property
    def settings(self) -> Path:
        """Certificates, kubeconfigs and configuration files of the programs."""
        return self.node / "etc"

    @property
    def logs(self) -> Path:
        """One log per program."""
        return self.node / "logs"

    @property
    def stopped(self) -> Path:
        """A file here named after a program keeps that program stopped."""
        return self.node / "stopped"

    @property
    def lock(self) -> Path:
        """Held by the command that changes the cluster."""
        return self.home / "lock"

    @property
    def unique_name(self) -> str:
        """A name that no other home has, of the cgroup that every pod is in."""
        return f"confidential-spark-{hashlib.sha256(str(self.home).encode()).hexdigest()[:8]}"
