"""What this project needs of a cluster's API: the fake cluster and a real one pass the same tests."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from kubernetes import client, watch
from kubernetes.client import ApiException

from tests.kubernetes.clusters import wait

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.kubernetes.clusters import Cluster

OBEYS_TERM = "trap 'exit 143' TERM; echo ready; while true; do sleep 0.1; done"
FAILS = "echo about to fail; echo '[no-quote] no certificate' > /dev/termination-log; exit 72"
EPC = "sgx.intel.com/epc"


def pod(
    cluster: Cluster, script: str, name: str = "pod", container: Any = None, **spec: Any
) -> dict[str, Any]:
    """Return a pod that runs a shell script; keywords are fields of its spec."""
    base = {"name": "base", "image": cluster.image, "command": ["sh", "-c", script], **(container or {})}
    return {
        "metadata": {"name": name, "labels": {"run": "contract"}},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 2,
            "containers": [base],
            **spec,
        },
    }


@pytest.fixture
def start(cluster: Cluster) -> Callable[..., client.V1Pod]:
    """Create a pod; arguments as for :func:`pod`."""
    return lambda script="true", **fields: cluster.core().create_namespaced_pod(
        cluster.namespace, pod(cluster, script, **fields)
    )


def read(cluster: Cluster, name: str = "pod") -> client.V1Pod:
    return cluster.core().read_namespaced_pod(name, cluster.namespace)


def ended(cluster: Cluster, name: str = "pod") -> client.V1Pod:
    """Wait until a pod has ended, and return it."""
    wait(lambda: read(cluster, name).status.phase in ("Succeeded", "Failed"))
    return read(cluster, name)


def running(cluster: Cluster) -> None:
    wait(lambda: read(cluster).status.phase == "Running")


def log(cluster: Cluster, **options: Any) -> str:
    answer = cluster.core().read_namespaced_pod_log(
        "pod", cluster.namespace, _preload_content=False, **options
    )
    return str(answer.data.decode())


def refusal(action: Callable[[], Any]) -> tuple[int, str]:
    with pytest.raises(ApiException) as refused:
        action()
    return refused.value.status, refused.value.body


@pytest.mark.parametrize(
    ("script", "phase", "code", "words"),
    [
        pytest.param("echo counted 42 rows", "Succeeded", 0, None, id="succeeded"),
        pytest.param(FAILS, "Failed", 72, "[no-quote] no certificate\n", id="failed"),
    ],
)
def test_how_a_pod_ended_is_kept(cluster, start, script, phase, code, words) -> None:
    start(script)
    status = ended(cluster).status
    (container,) = status.container_statuses
    assert (status.phase, container.state.terminated.exit_code) == (phase, code)
    assert container.state.terminated.message == words
    assert log(cluster) in ("counted 42 rows\n", "about to fail\n")


def test_a_log_has_times_and_can_be_read_from_one_of_them(cluster, start) -> None:
    start("echo first; sleep 2.1; echo second")
    ended(cluster)
    first, second = log(cluster, timestamps=True).splitlines()
    assert first.endswith(" first")
    assert second.endswith(" second")
    assert log(cluster, since_seconds=1) in ("second\n", "")
    assert "".join(log(cluster, follow=True)) == "first\nsecond\n"


def test_a_watch_tells_of_a_pod_from_its_beginning_to_its_end(cluster, start) -> None:
    core = cluster.core()
    version = core.list_namespaced_pod(cluster.namespace).metadata.resource_version
    start("true")
    events = watch.Watch().stream(
        core.list_namespaced_pod,
        cluster.namespace,
        label_selector="run=contract",
        resource_version=version,
        timeout_seconds=60,
    )
    seen = []
    for event in events:
        seen.append((event["type"], event["object"].status.phase))
        if seen[-1][1] == "Succeeded":
            break
    assert seen[0] == ("ADDED", "Pending")
    assert ("MODIFIED", "Succeeded") in seen


def test_a_deleted_pod_gets_its_grace_and_goes(cluster, start) -> None:
    start("trap '' TERM; while true; do sleep 0.1; done")
    running(cluster)
    deleted = cluster.core().delete_namespaced_pod("pod", cluster.namespace)
    assert deleted.metadata.deletion_timestamp
    wait(lambda: refused_as_absent(cluster))


def refused_as_absent(cluster: Cluster) -> bool:
    try:
        read(cluster)
    except ApiException as error:
        return bool(error.status == 404)
    return False


def test_a_pod_ends_at_its_deadline(cluster, start) -> None:
    start("sleep 60", activeDeadlineSeconds=1)
    assert ended(cluster).status.reason == "DeadlineExceeded"


def test_an_image_that_cannot_be_pulled_keeps_the_pod_waiting(cluster, start) -> None:
    start(container={"image": cluster.missing_image})

    def reason() -> str | None:
        statuses = read(cluster).status.container_statuses or ()
        return next((each.state.waiting.reason for each in statuses if each.state.waiting), None)

    wait(lambda: reason() in ("ErrImagePull", "ImagePullBackOff"))
    assert read(cluster).status.phase == "Pending"


def test_a_pod_waits_for_enclave_memory_and_runs(cluster, start) -> None:
    cluster.set_epc(1)
    start(container={"resources": {"limits": {EPC: "2"}}})
    wait(lambda: read(cluster).status.conditions)
    (condition,) = read(cluster).status.conditions
    assert (condition.type, condition.status, condition.reason) == ("PodScheduled", "False", "Unschedulable")
    assert f"Insufficient {EPC}" in condition.message
    events = cluster.core().list_namespaced_event(cluster.namespace, field_selector="involvedObject.name=pod")
    assert "FailedScheduling" in {event.reason for event in events.items}
    cluster.set_epc(2)
    assert ended(cluster).status.phase == "Succeeded"


def test_a_full_quota_refuses_a_pod(cluster, start) -> None:
    cluster.set_quota(**{f"requests.{EPC}": "1"})
    wait(lambda: cluster.core().read_namespaced_resource_quota("quota", cluster.namespace).status.hard)
    status, body = refusal(lambda: start(container={"resources": {"limits": {EPC: "2"}}}))
    assert status == 403
    assert "exceeded quota: quota" in body


@pytest.mark.parametrize(
    ("container", "status"),
    [
        pytest.param({}, 409, id="a-name-twice"),
        pytest.param({"image": ""}, 422, id="no-image"),
        pytest.param({"resources": {"requests": {EPC: "1"}, "limits": {EPC: "2"}}}, 422, id="unequal-epc"),
        pytest.param({"volumeMounts": [{"name": "v", "mountPath": "/v"}]}, 422, id="mount-of-nothing"),
    ],
)
def test_what_is_refused(cluster, start, container, status) -> None:
    start()
    name = "pod" if status == 409 else "other"
    found, body = refusal(lambda: start(name=name, container=container))
    assert found == status
    assert json.loads(body)["reason"] == {409: "AlreadyExists", 422: "Invalid"}[status]


def test_a_pod_that_is_not_restricted_is_refused_where_pods_must_be(cluster, start) -> None:
    cluster.label_namespace(**{"pod-security.kubernetes.io/enforce": "restricted"})
    status, body = refusal(start)
    assert status == 403
    assert 'violates PodSecurity \\"restricted:latest\\"' in body
    assert "seccompProfile" in body


def test_secrets_names_and_config_maps_arrive(cluster, start) -> None:
    core = cluster.core()
    core.create_namespaced_secret(
        cluster.namespace, {"metadata": {"name": "launch"}, "stringData": {"key": "s3cret"}}
    )
    core.create_namespaced_config_map(
        cluster.namespace, {"metadata": {"name": "policy"}, "data": {"policy.yaml": "trust: simulated"}}
    )
    own_name = {"fieldRef": {"fieldPath": "metadata.name"}}
    secret = {"secretKeyRef": {"name": "launch", "key": "key"}}
    start(
        "cd /etc/policy; cat policy.yaml; echo; readlink policy.yaml; echo $POD has $SAS",
        container={
            "env": [{"name": "SAS", "valueFrom": secret}, {"name": "POD", "valueFrom": own_name}],
            "volumeMounts": [{"name": "policy", "mountPath": "/etc/policy"}],
        },
        volumes=[{"name": "policy", "configMap": {"name": "policy"}}],
    )
    ended(cluster)
    # A kubelet mounts links, which must be followed when files are copied.
    assert log(cluster).split("\n") == ["trust: simulated", "..data/policy.yaml", "pod has s3cret", ""]


def test_what_a_pod_owns_goes_with_it(cluster, start) -> None:
    owner = start("sleep 60").metadata
    reference = {"apiVersion": "v1", "kind": "Pod", "name": owner.name, "uid": owner.uid}
    secret = {"metadata": {"name": "launch", "ownerReferences": [reference]}, "stringData": {"key": "x"}}
    core = cluster.core()
    core.create_namespaced_secret(cluster.namespace, secret)
    core.delete_namespaced_pod("pod", cluster.namespace, grace_period_seconds=0)
    wait(lambda: "launch" not in str(core.list_namespaced_secret(cluster.namespace).items))
