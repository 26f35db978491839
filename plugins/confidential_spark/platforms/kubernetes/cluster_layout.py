"""Names, labels and ports that the manifests of `include/kubernetes` and the pods of a run agree on.

A test compares them with the manifests: a pod on another port is cut off by the NetworkPolicies, and one of
another account may not do its work.
"""

from __future__ import annotations

from typing import NamedTuple

NAMESPACE = "confidential-spark"
DATA_CLAIM = "confidential-spark-data"

# Service accounts. The executors' may do nothing, and its token is mounted nowhere.
LAUNCHER_ACCOUNT = "airflow-launcher"
DRIVER_ACCOUNT = "spark-driver"
EXECUTOR_ACCOUNT = "spark-executor"

# Spark itself gives this label to its executors; the policies choose pods by it.
ROLE_LABEL = "spark-role"
ROLE_DRIVER = "driver"
ROLE_EXECUTOR = "executor"
# `attest_platform`: one enclave, which needs the attestation service only.
ROLE_ATTEST = "attest"
# Moves files between the volume and Airflow through `exec`; no network at all.
ROLE_TRANSFER = "transfer"
# The platform check's; no network at all, which it tries to use to see whether the policies are enforced.
ROLE_CHECK = "platform-check"

DRIVER_PORT = 7078
BLOCK_MANAGER_PORT = 7079
RELEASE_PORT = 7080

# Of every pod: the container with the enclave, and the one that moves files.
ENCLAVE_CONTAINER = "enclave"
TRANSFER_CONTAINER = "transfer"
# Images are named by digest, so what a node has under that name is the image.
PULL_POLICY = "IfNotPresent"

# AKS's and Intel's device plugin: bytes of enclave page cache, request = limit.
EPC_RESOURCE = "sgx.intel.com/epc"


class Right(NamedTuple):
    """One thing an account may do in the namespace.

    :param group: API group, empty for the core group.
    :param resource: with its subresource, e.g. ``pods/log``.
    """

    group: str
    resource: str
    verb: str

    def __str__(self) -> str:
        """Return it for people, e.g. ``create pods``."""
        return f"{self.verb} {self.resource}{f'.{self.group}' if self.group else ''}"


def _rights(group: str, **verbs: str) -> tuple[Right, ...]:
    return tuple(
        Right(group, resource.replace("__", "/"), verb)
        for resource, listed in verbs.items()
        for verb in listed.split()
    )


# What Airflow's tasks ask of the API, each for a reason: see docs/aks.md.
LAUNCHER_RIGHTS = (
    *_rights(
        "",
        events="list",
        pods="create delete get list",
        pods__exec="create get",
        pods__log="get",
        secrets="create",
    ),
    # For the platform check alone.
    *_rights("", persistentvolumeclaims="get", resourcequotas="list", namespaces="get"),
    *_rights("networking.k8s.io", networkpolicies="list"),
)
# What Spark 3.5's `KubernetesClusterSchedulerBackend` asks of the API in client mode.
DRIVER_RIGHTS = _rights("", pods="create delete deletecollection get list watch")
