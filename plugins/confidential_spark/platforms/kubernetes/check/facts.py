"""What a Kubernetes cluster offers to enclaves, asked through its API as Airflow's account.

The cluster is looked at from inside by a short pod (`platforms/kubernetes/check/probe.py`),
so what it meets is what a run will meet. Nothing else is changed, and nothing is left.
"""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from confidential_spark.core.failures import Diagnosis, LogWatcher
from confidential_spark.platforms.kubernetes.check.probe import probe_facts, probe_pod
from confidential_spark.platforms.kubernetes.check.rows import ABSENT, ClusterFacts, NodeFacts, QuotaFacts
from confidential_spark.platforms.kubernetes.client.failures import REFUSED, api_exception, pod_diagnosis
from confidential_spark.platforms.kubernetes.names import (
    ENCLAVE_CONTAINER,
    EPC_RESOURCE,
    LAUNCHER_RIGHTS,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from kubernetes.client import CoreV1Api

    from confidential_spark.core.errors import EnclaveError
    from confidential_spark.platforms.kubernetes.check.probe import ProbeFacts
    from confidential_spark.platforms.kubernetes.client.cluster import Cluster
    from confidential_spark.platforms.kubernetes.client.pods import PodState
    from confidential_spark.platforms.kubernetes.names import Right
    from confidential_spark.platforms.kubernetes.pod_specs import PodPlan

    T = TypeVar("T")

REQUEST_TIMEOUT_SECONDS = 30
# Pulling an image of 700 MB over a slow line.
PROBE_SECONDS = 300.0
POLL_SECONDS = 0.5
LEVEL_LABEL = "pod-security.kubernetes.io/enforce"
FORBIDDEN, NOT_FOUND = 403, 404


class ClusterView:
    """A cluster, seen by the account of the connection.

    :param leftovers: selects the pods of earlier checks, some of which were killed.
    :param patience: seconds that a pod may be kept from starting by what would keep a run from it.
    """

    def __init__(self, cluster: Cluster, *, leftovers: str, patience: float) -> None:
        """Ask nothing yet."""
        self.cluster = cluster
        self._namespace = cluster.namespace
        self._leftovers = leftovers
        self._patience = patience

    def facts(self) -> ClusterFacts:
        """Return what the API says.

        :raises EnclaveError: ``kubernetes-…``.
        """
        # Imported late, here and below: DAG files import this module, and the client is large.
        from kubernetes.client import VersionApi

        version = self._ask(lambda core: VersionApi(core.api_client).get_code(**_timeout()))
        return ClusterFacts(
            address=str(self.cluster.client.api_client.configuration.host),
            version=(_number(version.major), _number(version.minor)),
            version_text=version.git_version,
            missing_rights=tuple(right for right in LAUNCHER_RIGHTS if not self._may(right)),
            namespace_level=self._ask(_if_allowed(self._namespace_level)),
            quotas=self._ask(_if_allowed(self._quotas)),
            nodes=self._ask(_if_allowed(_nodes)),
            policies=self._ask(_if_allowed(self._policies)),
        )

    def look(self, plan: PodPlan) -> tuple[ProbeFacts, float]:
        """Return what a pod met, and by how many seconds its node's clock is off.

        :raises EnclaveError: why it could not run, by the failure table's name.
        """
        before = datetime.now(UTC).timestamp()
        lines = self.output_of(probe_pod(plan), ENCLAVE_CONTAINER)
        after = datetime.now(UTC).timestamp()
        facts = probe_facts("\n".join(lines))
        # Its clock was read at some time in between, and to the second.
        return facts, max(0.0, before - facts.clock - 1, facts.clock - after)

    def output_of(self, pod: dict[str, Any], container: str) -> list[str]:
        """Run a pod to its end, remove it, and return the lines that it printed.

        :raises EnclaveError: why it could not run, by the failure table's name.
        """
        for leftover in self.cluster.pods(self._leftovers, container):
            self.cluster.delete_pod(leftover.name, grace=0)
        name = pod["metadata"]["name"]
        self.cluster.create_pod(pod)
        try:
            ended = self._ended(name, container)
            lines = [line for _, line in self.cluster.lines(name, container, after="", within=None)]
        finally:
            self.cluster.delete_pod(name, grace=0)
        watcher = LogWatcher()
        for line in lines:
            watcher.feed(line)
        if diagnosis := pod_diagnosis(ended, watcher):
            raise diagnosis.error()
        return lines

    def _ask(self, request: Callable[[CoreV1Api], T]) -> T:
        def lenient(core: CoreV1Api) -> T:
            # Servers leave out fields that the client requires; only those used here matter.
            core.api_client.configuration.client_side_validation = False
            return request(core)

        return self.cluster.ask(lenient)

    def _may(self, right: Right) -> bool:
        resource, _, subresource = right.resource.partition("/")
        asked = {
            "namespace": self._namespace,
            "verb": right.verb,
            "group": right.group,
            "resource": resource,
            "subresource": subresource,
        }
        from kubernetes.client import AuthorizationV1Api

        body = {"spec": {"resourceAttributes": asked}}
        review = self._ask(
            lambda core: AuthorizationV1Api(core.api_client).create_self_subject_access_review(
                body, **_timeout()
            )
        )
        return bool(review.status.allowed)

    def _namespace_level(self, core: CoreV1Api) -> str:
        found = _if_there(lambda: core.read_namespace(self._namespace, **_timeout()))
        return str((found.metadata.labels or {}).get(LEVEL_LABEL, "none")) if found else ABSENT

    def _quotas(self, core: CoreV1Api) -> tuple[QuotaFacts, ...]:
        from kubernetes.utils.quantity import parse_quantity

        return tuple(
            QuotaFacts(
                quota.metadata.name,
                resource,
                parse_quantity(hard),
                parse_quantity((quota.status.used or {}).get(resource, "0") if quota.status else "0"),
            )
            for quota in core.list_namespaced_resource_quota(self._namespace, **_timeout()).items
            for resource, hard in sorted((quota.spec.hard or {}).items())
        )

    def _policies(self, core: CoreV1Api) -> tuple[str, ...]:
        from kubernetes.client import NetworkingV1Api

        found = NetworkingV1Api(core.api_client).list_namespaced_network_policy(self._namespace, **_timeout())
        return tuple(policy.metadata.name for policy in found.items)

    def _ended(self, name: str, container: str) -> PodState:
        """Wait until the pod has ended.

        :raises EnclaveError: something keeps it from starting, or it takes too long.
        """
        started = kept_since = time.monotonic()
        while True:
            state = self.cluster.find(name, container)
            if state is None:
                raise Diagnosis.named("pod-lost", f"{name} is gone").error()
            if state.ended:
                return state
            now = time.monotonic()
            obstacle = "" if state.running else state.obstacle or "; ".join(self.cluster.warnings(name)[-1:])
            if not obstacle:
                kept_since = now
            if now - kept_since > self._patience or now - started > PROBE_SECONDS:
                raise _obstacle_error(obstacle or f"{name} has not ended within {PROBE_SECONDS:.0f} s")
            time.sleep(POLL_SECONDS)


def _obstacle_error(said: str) -> EnclaveError:
    watcher = LogWatcher()
    watcher.feed(said)
    diagnosis = watcher.diagnose()
    return (diagnosis if diagnosis.cause.line else Diagnosis.named(REFUSED, said)).error()


def _if_allowed(request: Callable[[CoreV1Api], T]) -> Callable[[CoreV1Api], T | None]:
    return lambda core: _unless(FORBIDDEN, lambda: request(core))


def _if_there(ask: Callable[[], T]) -> T | None:
    return _unless(NOT_FOUND, ask)


def _unless(status: int, ask: Callable[[], T]) -> T | None:
    try:
        return ask()
    except api_exception() as error:
        if error.status != status:
            raise
    return None


def _nodes(core: CoreV1Api) -> tuple[NodeFacts, ...]:
    return tuple(
        NodeFacts(node.metadata.name, _epc(node.status.capacity), _epc(node.status.allocatable) or 0)
        for node in core.list_node(**_timeout()).items
        if not node.spec.unschedulable
    )


def _epc(resources: dict[str, Any] | None) -> int | None:
    from kubernetes.utils.quantity import parse_quantity

    quantity = (resources or {}).get(EPC_RESOURCE)
    return None if quantity is None else int(parse_quantity(quantity))


def _number(text: str) -> int:
    # Some distributions say "34+".
    found = re.match(r"[0-9]{1,6}", text)
    return int(found[0]) if found else 0


def _timeout() -> dict[str, Any]:
    return {"_request_timeout": REQUEST_TIMEOUT_SECONDS}
