"""The objects of one try on a cluster, as the API takes them: pods with the least rights, and a Secret.

Every pod satisfies Kubernetes' "restricted" Pod Security Standard: no privileges, no path of the node (but
for AESM's socket, where a setting says so). SGX comes from the device plugin, which adds the devices to a
container that asks for `sgx.intel.com/epc`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from confidential_spark.enclave import layout
from confidential_spark.enclave.container.pod_launch import ADDRESS_VARIABLE
from confidential_spark.enclave.spark import MEBIBYTE
from confidential_spark.platforms.kubernetes import spark_conf as kubernetes_spark
from confidential_spark.platforms.kubernetes.names import (
    DRIVER_ACCOUNT,
    ENCLAVE_CONTAINER,
    EPC_RESOURCE,
    EXECUTOR_ACCOUNT,
    PULL_POLICY,
    ROLE_ATTEST,
    ROLE_DRIVER,
    ROLE_LABEL,
    ROLE_MEASURE,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from confidential_spark.agent.launch.launch_file import LaunchSpec
    from confidential_spark.platforms.kubernetes.names import TryNames

Json = dict[str, Any]

LAUNCH_FILE = layout.LAUNCH_FILE.name
# The token outlives its pod's deadline: Spark reads it once.
TOKEN_MARGIN_SECONDS, LEAST_TOKEN_SECONDS = 600, 600
# TERM ends the agent within ten seconds, Occlum included.
GRACE_SECONDS = 20
# Read by the device plugin's webhook (intel-device-plugins-for-kubernetes, `pkg/webhooks/sgx`): the name of a
# container makes its quotes itself and gets the provision device; `aesmd` asks the node's service for them.
QUOTE_PROVIDER, AESM_PROVIDER = "sgx.intel.com/quote-provider", "aesmd"
# The webhook's own names, so that it adds no second volume; AKS has no such webhook everywhere.
AESM_VOLUME, AESM_DIR = "aesmd-socket", "/var/run/aesmd"
# Driver and executors reach each other by it.
OWN_ADDRESS: Json = {"name": ADDRESS_VARIABLE, "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
RUN_BYTES, LAUNCH_BYTES = 64 * MEBIBYTE, 4 * MEBIBYTE
OWN_DATA_BYTES = 64 * MEBIBYTE


@dataclass(frozen=True, kw_only=True)
class PodPlan:
    """What all pods of a try have in common.

    :param image: reference by digest, or an image's id.
    :param labels: whose pods they are, as are ``annotations``.
    :param input_bytes: size of the input's files, of which driver and executors have copies.
    :param epc_bytes: enclave memory of a pod, or None: it has no SGX.
    :param aesm: whether quotes come from the node's AESM, whose socket is a path of the node.
    :param groups: further groups of the image's user, for nodes whose SGX devices are not open to all.
    :param deadline_seconds: after this, Kubernetes ends a pod.
    :param emulator: of storage, ``PORT:HOST:PORT``, for simulated enclaves.
    """

    image: str
    names: TryNames
    labels: Mapping[str, str]
    cpu_request: str
    cpu_limit: int
    memory_bytes: int
    input_bytes: int = 0
    epc_bytes: int | None = None
    aesm: bool = False
    groups: Sequence[int] = ()
    deadline_seconds: int
    emulator: str | None = None
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: Sequence[Mapping[str, str]] = ()
    pull_secret: str | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)


def driver_pod(plan: PodPlan) -> Json:
    """Return the pod of Spark's driver; its launch file comes from the Secret of the same try."""
    pod = _pod(plan, plan.names.driver, ROLE_DRIVER)
    spec = pod["spec"]
    spec["serviceAccountName"] = DRIVER_ACCOUNT
    container = _enclave(plan, "run", _resources(plan))
    container["env"].append(OWN_ADDRESS)
    container["volumeMounts"] += [
        _launch_mount(),
        {"name": "service-account", "mountPath": str(layout.SERVICE_ACCOUNT_MOUNT), "readOnly": True},
        _data_mount(),
    ]
    spec["containers"] = [container]
    spec["volumes"] = [
        *_enclave_volumes(plan),
        _launch_volume(plan),
        {"name": "service-account", "projected": _credentials(plan.deadline_seconds)},
        _data_volume(),
    ]
    return pod


def executor_pod(plan: PodPlan, launch: LaunchSpec) -> Json:
    """Return the template that Spark makes executors from; it adds command, resources and their addresses.

    :param launch: what every executor is told; nothing of it is secret.
    """
    pod = _pod(plan, None, None)
    spec = pod["spec"]
    spec["serviceAccountName"] = EXECUTOR_ACCOUNT
    container = _enclave(plan, None, {})
    container["env"] += [OWN_ADDRESS, {"name": layout.LAUNCH_VARIABLE, "value": json.dumps(asdict(launch))}]
    spec["containers"] = [container]
    # Spark gives an executor a volume for its local files, unless one has such a name.
    spec["volumes"] = _enclave_volumes(plan, temporary="spark-local-dir-1")
    container["volumeMounts"][0]["name"] = "spark-local-dir-1"
    return pod


def launch_secret(
    plan: PodPlan, launch: LaunchSpec, executor: Json | None, owner_uid: str, owner_name: str = ""
) -> Json:
    """Return the Secret with an enclave's files; it goes when its pod goes.

    :param executor: the executors' template, where there are executors.
    :param owner_uid: of the pod.
    :param owner_name: of the pod; empty: the driver's.
    """
    owner = {"apiVersion": "v1", "kind": "Pod", "name": owner_name or plan.names.driver, "uid": owner_uid}
    # JSON is YAML, too.
    template = {kubernetes_spark.EXECUTOR_TEMPLATE: json.dumps(executor)} if executor else {}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": plan.names.launch,
            "labels": dict(plan.labels),
            "ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": False}],
        },
        "type": "Opaque",
        "immutable": True,
        "stringData": {LAUNCH_FILE: json.dumps(asdict(launch)), **template},
    }


def attest_pod(plan: PodPlan) -> Json:
    """Return the pod with an enclave that attests; its launch file comes from the Secret of the same try."""
    pod = _pod(plan, plan.names.attest, ROLE_ATTEST)
    enclave = _enclave(plan, "attest", _resources(plan))
    enclave["volumeMounts"] += [_launch_mount(), _data_mount()]
    pod["spec"]["containers"] = [enclave]
    pod["spec"]["volumes"] = [*_enclave_volumes(plan), _launch_volume(plan), _data_volume()]
    return pod


def measure_pod(plan: PodPlan) -> Json:
    """Return the pod that prints who the image's enclave is; the enclave is not started."""
    pod = _pod(plan, plan.names.measure, ROLE_MEASURE)
    container = _container(plan, ENCLAVE_CONTAINER, "measure")
    container["resources"] = _resources(plan)
    container["volumeMounts"] = _scratch_mounts()
    pod["spec"]["containers"] = [container]
    pod["spec"]["volumes"] = _scratch(plan)
    return pod


def quote_annotations(plan: PodPlan) -> dict[str, str]:
    """Return what tells the device plugin's webhook who makes the quotes; nothing where there is no SGX."""
    if plan.epc_bytes is None:
        return {}
    return {QUOTE_PROVIDER: AESM_PROVIDER if plan.aesm else ENCLAVE_CONTAINER}


def _pod(plan: PodPlan, name: str | None, role: str | None) -> Json:
    """Return a pod without containers.

    :param role: Spark gives its executors theirs itself.
    """
    labels = {**plan.labels, **({ROLE_LABEL: role} if role else {})}
    metadata: Json = {"labels": labels, **({"name": name} if name else {})}
    quotes = quote_annotations(plan) if role != ROLE_MEASURE else {}
    if annotations := {**plan.annotations, **quotes}:
        metadata["annotations"] = annotations
    spec: Json = {
        "restartPolicy": "Never",
        "activeDeadlineSeconds": plan.deadline_seconds,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": layout.USER_ID,
            "runAsGroup": layout.GROUP_ID,
            "fsGroup": layout.GROUP_ID,
            **({"supplementalGroups": list(plan.groups)} if plan.groups else {}),
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "nodeSelector": dict(plan.node_selector),
        "tolerations": [dict(toleration) for toleration in plan.tolerations],
    }
    if plan.pull_secret:
        spec["imagePullSecrets"] = [{"name": plan.pull_secret}]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def _container(plan: PodPlan, name: str, *arguments: str) -> Json:
    return {
        "name": name,
        "image": plan.image,
        "imagePullPolicy": PULL_POLICY,
        **({"args": list(arguments)} if arguments else {}),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "privileged": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        # The agent's last words are the error's text.
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }


def _enclave(plan: PodPlan, command: str | None, resources: Json) -> Json:
    """Return a container that starts the image's enclave; an executor's command comes from Spark."""
    container = _container(plan, ENCLAVE_CONTAINER, *([command] if command else []))
    container["env"] = [{"name": "SGX_AESM_ADDR", "value": "1"}] if plan.aesm else []
    if plan.emulator:
        container["env"].append({"name": layout.EMULATOR_VARIABLE, "value": plan.emulator})
    container["volumeMounts"] = _scratch_mounts()
    if plan.aesm:
        container["volumeMounts"].append({"name": AESM_VOLUME, "mountPath": AESM_DIR})
    container["resources"] = resources
    if plan.epc_bytes is not None:
        # Kubernetes does not divide it: request and limit are one number.
        for kind in ("requests", "limits"):
            resources.setdefault(kind, {})[EPC_RESOURCE] = str(plan.epc_bytes)
    return container


def _resources(plan: PodPlan) -> Json:
    """Return request and limit of a pod of ours; an executor's come from Spark's settings."""
    memory = str(plan.memory_bytes)
    return {
        "requests": {"cpu": plan.cpu_request, "memory": memory},
        "limits": {"cpu": str(plan.cpu_limit), "memory": memory},
    }


def _scratch_mounts() -> list[Json]:
    return [
        {"name": "tmp", "mountPath": str(layout.TEMPORARY_DIR)},
        {"name": "launch", "mountPath": str(layout.LAUNCH_DIR)},
        {"name": "run", "mountPath": str(layout.RUN_DIR)},
    ]


def _enclave_volumes(plan: PodPlan, temporary: str = "tmp") -> list[Json]:
    """Return what an enclave's container always mounts."""
    socket = {"name": AESM_VOLUME, "hostPath": {"path": AESM_DIR, "type": "Directory"}}
    return [*_scratch(plan, temporary), *([socket] if plan.aesm else [])]


def _scratch(plan: PodPlan, temporary: str = "tmp") -> list[Json]:
    """Return the writable folders: memory, which counts towards the pod's limit."""
    scratch = kubernetes_spark.scratch_bytes(plan.input_bytes)
    # On hardware, what the enclave writes to its own /tmp are encrypted blocks below Occlum's folder.
    run = RUN_BYTES if plan.epc_bytes is None else RUN_BYTES + scratch
    return [_tmpfs(temporary, scratch), _tmpfs("launch", LAUNCH_BYTES), _tmpfs("run", run)]


def _launch_mount() -> Json:
    return {"name": "launch-files", "mountPath": str(layout.LAUNCH_MOUNT), "readOnly": True}


def _launch_volume(plan: PodPlan) -> Json:
    return {"name": "launch-files", "secret": {"secretName": plan.names.launch, "defaultMode": 0o440}}


def _data_mount() -> Json:
    return {"name": "data", "mountPath": str(layout.DATA_DIR)}


def _data_volume() -> Json:
    """Return the folder in which an enclave finds, and leaves, nothing: its files are blobs."""
    return _tmpfs("data", OWN_DATA_BYTES)


def _tmpfs(name: str, size: int) -> Json:
    return {"name": name, "emptyDir": {"medium": "Memory", "sizeLimit": f"{size // MEBIBYTE}Mi"}}


def _credentials(deadline_seconds: int) -> Json:
    """Return token and CA of the pod's service account, for as long as the pod may run."""
    seconds = max(deadline_seconds + TOKEN_MARGIN_SECONDS, LEAST_TOKEN_SECONDS)
    ca = {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}
    return {
        "defaultMode": 0o440,
        "sources": [
            {"serviceAccountToken": {"path": "token", "expirationSeconds": seconds}},
            {"configMap": ca},
        ],
    }
