"""What things are called on a cluster: a try's objects, and what the manifests of `include/kubernetes` make.

A try's names follow from its nonce, so that they are found again. A test compares the others with the
manifests: a pod on another port is cut off by the NetworkPolicies, and one of another account may not do its
work.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from confidential_spark.agent.protocol import sha256_hex
from confidential_spark.enclave.image import PREFIX

if TYPE_CHECKING:
    from collections.abc import Mapping

# https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/
MAX_LABEL = 63
LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", re.ASCII)
NONCE_LABEL = f"{PREFIX}nonce"
RUN_LABELS = (f"{PREFIX}dag", f"{PREFIX}run")
DEPLOYMENT_LABEL = f"{PREFIX}deployment"
# The ids themselves, which may be too long or too free for labels.
RUN_ANNOTATIONS = (f"{PREFIX}dag-id", f"{PREFIX}run-id")

NAMESPACE = "confidential-spark"

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
# Prints who an image's enclave is; no network at all.
ROLE_MEASURE = "measure"
# The platform check's; no network at all, which it tries to use to see whether the policies are enforced.
ROLE_CHECK = "platform-check"

DRIVER_PORT = 7078
BLOCK_MANAGER_PORT = 7079
RELEASE_PORT = 7080

# The container of a pod.
ENCLAVE_CONTAINER = "enclave"
# Images are named by digest, so what a node has under that name is the image.
PULL_POLICY = "IfNotPresent"
# AKS's and Intel's device plugin: bytes of enclave page cache, request = limit.
EPC_RESOURCE = "sgx.intel.com/epc"


@dataclass(frozen=True)
class TryNames:
    """Names of one try's objects.

    :param base: what all of them begin with; also the name of the blob with its results.
    """

    base: str

    @classmethod
    def of(cls, job: str, nonce: str) -> TryNames:
        """Return the names of the try with this nonce."""
        return cls(f"{job.replace('_', '-')[:20]}-{nonce_digest(nonce)[:16]}")

    @property
    def driver(self) -> str:
        """Pod of Spark's driver."""
        return f"{self.base}-driver"

    @property
    def launch(self) -> str:
        """Secret with the launch file."""
        return f"{self.base}-launch"

    @property
    def attest(self) -> str:
        """Pod of `attest_platform`."""
        return f"{self.base}-attest"

    @property
    def measure(self) -> str:
        """Pod that measures an image."""
        return f"{self.base}-measure"


def nonce_digest(nonce: str) -> str:
    """Return what stands for a nonce in labels, where base64url may not begin or end as it likes."""
    return sha256_hex(nonce.encode())[:32]


def label_value(text: str) -> str:
    """Return a text as a label's value: unchanged where it can be, else shortened, with a digest."""
    if LABEL.fullmatch(text):
        return text
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", text)[: MAX_LABEL - 9].strip("._-")
    return f"{readable}-{sha256_hex(text.encode())[:8]}".lstrip("-")


def selector(labels: Mapping[str, str]) -> str:
    """Return the label selector that all of these labels satisfy."""
    return ",".join(f"{name}={value}" for name, value in sorted(labels.items()))


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
        pods__log="get",
        secrets="create",
    ),
    # For the platform check alone.
    *_rights("", resourcequotas="list", namespaces="get"),
    *_rights("networking.k8s.io", networkpolicies="list"),
)
# What Spark 3.5's `KubernetesClusterSchedulerBackend` asks of the API in client mode.
DRIVER_RIGHTS = _rights("", pods="create delete deletecollection get list watch")
