"""The namespace of `include/kubernetes` on the real cluster of `$KUBECONFIG`, with the enclave image.

`python -m tests.kubernetes.equipped` makes both. Airflow's side of every test is the namespace's own account
`airflow-launcher`, so a right that is missing in the manifests fails here.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from confidential_spark.enclave.image import EnclaveImage
from confidential_spark.platforms.kubernetes.names import (
    ENCLAVE_CONTAINER,
    LAUNCHER_ACCOUNT,
    NAMESPACE,
    ROLE_DRIVER,
    ROLE_LABEL,
    TryNames,
)
from confidential_spark.platforms.kubernetes.pod_specs import PodPlan, measure_pod
from kubernetes import client, config
from kubernetes.stream import stream

from tests.kubernetes.clusters import wait
from tests.kubernetes.equipped import ENCLAVE_IMAGE, KUBECONFIG

if TYPE_CHECKING:
    from collections.abc import Callable

TOKEN_SECONDS = 2 * 3600
REACH_API = (
    "until timeout 2 bash -c ': < /dev/tcp/$KUBERNETES_SERVICE_HOST/$KUBERNETES_SERVICE_PORT'; "
    "do sleep 1; done"
)
SIGNAL_JAVA = (
    'for each in /proc/[0-9]*; do if [ "$(readlink "$each/exe")" = /opt/jre/bin/java ]; then '
    'kill -%s "${each##*/}" && echo signalled; fi; done'
)


@dataclass(frozen=True)
class Deployment:
    """What a test may ask of the namespace, as the cluster's administrator."""

    kubeconfig: Path
    image: str

    @classmethod
    def of_environment(cls) -> Deployment:
        """Return the one that the variables name.

        :raises KeyError: a variable is missing.
        """
        return cls(Path(os.environ[KUBECONFIG]), os.environ[ENCLAVE_IMAGE])

    @property
    def core(self) -> client.CoreV1Api:
        return client.CoreV1Api(self.api)

    @property
    def api(self) -> client.ApiClient:
        return config.new_client_from_config(str(self.kubeconfig))

    def launcher_kubeconfig(self, folder: Path) -> Path:
        """Write the kubeconfig of Airflow's account, as docs/aks.md says."""
        administrator = self.api.configuration
        token = self.core.create_namespaced_service_account_token(
            LAUNCHER_ACCOUNT, NAMESPACE, {"spec": {"expirationSeconds": TOKEN_SECONDS}}
        )
        authority = base64.b64encode(Path(administrator.ssl_ca_cert).read_bytes()).decode()
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "test",
                    "cluster": {"server": administrator.host, "certificate-authority-data": authority},
                }
            ],
            "users": [{"name": "launcher", "user": {"token": token.status.token}}],
            "contexts": [
                {"name": "test", "context": {"cluster": "test", "user": "launcher", "namespace": NAMESPACE}}
            ],
            "current-context": "test",
        }
        path = folder / "launcher.kubeconfig"
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
        return path

    def measured(self) -> EnclaveImage:
        """Return who the image's enclave is, as a pod of it prints."""
        plan = self.plan(f"measure-{uuid.uuid4().hex[:8]}")
        lines = self.output_of(measure_pod(plan))
        identity = json.loads(lines[-1])
        identity.pop("notice", None)
        digest = self.image.rpartition("@")[2]
        return EnclaveImage(reference=self.image, digest=digest, inputs_sha256="0" * 64, **identity)

    def plan(self, name: str) -> PodPlan:
        return PodPlan(
            image=self.image,
            names=TryNames(name),
            labels={},
            cpu_request="100m",
            cpu_limit=1,
            memory_bytes=2**30,
            deadline_seconds=300,
        )

    def output_of(self, pod: dict[str, Any]) -> list[str]:
        """Run a pod to its end and return what it printed; it is removed."""
        name = pod["metadata"]["name"]
        self.core.create_namespaced_pod(NAMESPACE, pod)
        try:
            wait(lambda: self.core.read_namespaced_pod(name, NAMESPACE).status.phase == "Succeeded", 120)
            log = self.core.read_namespaced_pod_log(name, NAMESPACE, _preload_content=False)
            return list(log.data.decode().splitlines())
        finally:
            self.core.delete_namespaced_pod(name, NAMESPACE, grace_period_seconds=0)

    def pods(self, role: str = "", labels: str = "") -> list[client.V1Pod]:
        """Return the pods that are not on their way out."""
        chosen = [labels] if labels else []
        chosen += [f"{ROLE_LABEL}={role}"] if role else []
        found = self.core.list_namespaced_pod(NAMESPACE, label_selector=",".join(chosen)).items
        return [pod for pod in found if pod.metadata.deletion_timestamp is None]

    def running(self, role: str, labels: str = "") -> list[str]:
        """Return the names of the pods of a role that run."""
        return [pod.metadata.name for pod in self.pods(role, labels) if pod.status.phase == "Running"]

    def run_in(self, pod: str, script: str, namespace: str = NAMESPACE) -> str:
        """Run a shell script beside the enclave, in its container."""
        return str(
            stream(
                self.core.connect_get_namespaced_pod_exec,
                pod,
                namespace,
                container=ENCLAVE_CONTAINER,
                command=["bash", "-c", script],
                stdin=False,
                stdout=True,
                stderr=True,
                tty=False,
            )
        )

    def freeze(self, pod: str) -> None:
        """Stop the JVM of a driver where it is, once there is one: a test has all the time it needs."""
        wait(lambda: "signalled" in self.run_in(pod, SIGNAL_JAVA % "STOP"), 60)

    def thaw(self, pod: str) -> None:
        """Let a frozen JVM go on."""
        self.run_in(pod, SIGNAL_JAVA % "CONT")

    def log_of(self, pod: str) -> str:
        """Return what a pod's enclave has printed so far."""
        log = self.core.read_namespaced_pod_log(pod, NAMESPACE, _preload_content=False)
        return str(log.data.decode(errors="replace"))

    def await_network(self) -> None:
        """Wait until a new driver reaches the API server: what enforces the policies may lag behind it."""
        pod = measure_pod(self.plan(f"reach-{uuid.uuid4().hex[:8]}"))
        pod["metadata"]["labels"][ROLE_LABEL] = ROLE_DRIVER
        pod["spec"]["volumes"] = []
        (container,) = pod["spec"]["containers"]
        container |= {"command": ["bash", "-c", REACH_API], "args": [], "volumeMounts": []}
        self.output_of(pod)

    def left(self) -> list[str]:
        """Return what runs have left in the namespace."""
        core = self.core
        names = [pod.metadata.name for pod in core.list_namespaced_pod(NAMESPACE).items]
        names += [s.metadata.name for s in core.list_namespaced_secret(NAMESPACE).items if s.type == "Opaque"]
        maps = [found.metadata.name for found in core.list_namespaced_config_map(NAMESPACE).items]
        names += [name for name in maps if name != "kube-root-ca.crt"]
        return names

    def require_nothing_left(self) -> None:
        """Wait until nothing is left; pods take their grace period to end.

        :raises TimeoutError: something is.
        """
        wait(lambda: not self.left(), 90)


def patched(api: client.ApiClient, kind: str, name: str, change: Callable[[Any], None]) -> Any:
    """Replace one of the namespace's manifests by a changed one, and return what it was.

    :param kind: ``role``, ``limit_range`` or ``resource_quota``.
    """
    group = client.RbacAuthorizationV1Api(api) if kind == "role" else client.CoreV1Api(api)
    read = getattr(group, f"read_namespaced_{kind}")
    before = read(name, NAMESPACE)
    wanted = read(name, NAMESPACE)
    change(wanted)
    getattr(group, f"replace_namespaced_{kind}")(name, NAMESPACE, wanted)
    return before


def outage(deployment: Deployment, own_cluster: Callable[..., None], seconds: float) -> None:
    """Kill the API server, keep it away for so long, and return when everything is as before."""

    def is_up() -> bool:
        try:
            own_cluster("status")
        except subprocess.CalledProcessError:
            return False
        return True

    own_cluster("stop", "kube-apiserver")
    try:
        time.sleep(seconds)
    finally:
        own_cluster("start", "kube-apiserver")
    wait(is_up, 60)
    deployment.await_network()
