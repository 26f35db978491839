"""Objects of the small Kubernetes, through the `kubernetes` client."""

from __future__ import annotations

import pytest
from kubernetes import client, watch
from kubernetes.client import ApiException

from tests.support.fakes.kubernetes_api import Fault


def config_map(name: str = "policy", **data: str) -> dict:
    return {"metadata": {"name": name, "labels": {"kind": "test"}}, "data": data}


def test_an_object_is_created_read_changed_and_deleted(cluster, core) -> None:
    created = core.create_namespaced_config_map(cluster.namespace, config_map(a="1"))
    assert created.metadata.uid
    assert created.metadata.creation_timestamp
    core.patch_namespaced_config_map("policy", cluster.namespace, {"data": {"b": "2"}})
    changed = core.read_namespaced_config_map("policy", cluster.namespace)
    assert changed.data == {"a": "1", "b": "2"}
    assert int(changed.metadata.resource_version) > int(created.metadata.resource_version)
    core.delete_namespaced_config_map("policy", cluster.namespace)
    with pytest.raises(ApiException) as refusal:
        core.read_namespaced_config_map("policy", cluster.namespace)
    assert refusal.value.status == 404


def test_a_generated_name_is_new_each_time(cluster, core) -> None:
    body = {"metadata": {"generateName": "exec-"}}
    names = {core.create_namespaced_config_map(cluster.namespace, body).metadata.name for _ in range(3)}
    assert len(names) == 3


def test_a_name_is_taken_once(cluster, core) -> None:
    core.create_namespaced_config_map(cluster.namespace, config_map())
    with pytest.raises(ApiException, match="AlreadyExists") as refusal:
        core.create_namespaced_config_map(cluster.namespace, config_map())
    assert refusal.value.status == 409


def test_a_change_to_an_old_version_is_a_conflict(cluster, core) -> None:
    old = core.create_namespaced_config_map(cluster.namespace, config_map(a="1"))
    core.patch_namespaced_config_map("policy", cluster.namespace, {"data": {"a": "2"}})
    with pytest.raises(ApiException, match="the object has been modified") as refusal:
        core.replace_namespaced_config_map("policy", cluster.namespace, old)
    assert refusal.value.status == 409


def test_a_watch_tells_every_change_once(cluster, core) -> None:
    listed = core.list_namespaced_config_map(cluster.namespace)
    core.create_namespaced_config_map(cluster.namespace, config_map(a="1"))
    core.patch_namespaced_config_map("policy", cluster.namespace, {"data": {"a": "2"}})
    core.patch_namespaced_config_map("policy", cluster.namespace, {"metadata": {"labels": {"kind": "other"}}})
    stream = watch.Watch().stream(
        core.list_namespaced_config_map,
        cluster.namespace,
        label_selector="kind=test",
        resource_version=listed.metadata.resource_version,
        timeout_seconds=1,
    )
    # To a selector, an object that no longer matches is gone.
    assert [event["type"] for event in stream] == ["ADDED", "MODIFIED", "DELETED"]


def test_a_watch_from_before_the_history_is_answered_with_410(cluster, core) -> None:
    version = core.list_namespaced_pod(cluster.namespace).metadata.resource_version
    core.create_namespaced_config_map(cluster.namespace, config_map())
    cluster.compact()
    stream = watch.Watch().stream(
        core.list_namespaced_pod, cluster.namespace, resource_version=version, timeout_seconds=5
    )
    with pytest.raises(ApiException) as refusal:
        list(stream)
    assert refusal.value.status == 410


def test_what_an_object_owns_goes_with_it(cluster, core) -> None:
    owner = core.create_namespaced_config_map(cluster.namespace, config_map("owner"))
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.metadata.uid}
    owned = {"metadata": {"name": "owned", "ownerReferences": [reference]}}
    core.create_namespaced_config_map(cluster.namespace, owned)
    core.delete_namespaced_config_map("owner", cluster.namespace)
    names = {item.metadata.name for item in core.list_namespaced_config_map(cluster.namespace).items}
    assert names == {"kube-root-ca.crt"}


def test_a_dry_run_stores_nothing(cluster, core) -> None:
    core.create_namespaced_config_map(cluster.namespace, config_map(), dry_run="All")
    assert len(core.list_namespaced_config_map(cluster.namespace).items) == 1


def test_unknown_fields_are_refused_when_asked(cluster, core) -> None:
    container = {"name": "base", "image": "x:1", "comand": ["true"]}
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": [container]}}
    with pytest.raises(ApiException, match=r'unknown field \\"spec.containers\[0\].comand\\"'):
        core.create_namespaced_pod(cluster.namespace, body, field_validation="Strict")


def test_a_namespace_takes_all_with_it(cluster, core, start) -> None:
    start("sleep 60", terminationGracePeriodSeconds=1)
    cluster.wait(lambda: cluster.processes())
    core.delete_namespace(cluster.namespace)
    cluster.wait(lambda: not cluster.pods() and not cluster.processes())
    with pytest.raises(ApiException, match="not found"):
        start()


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (409, "Conflict"),
        (410, "Expired"),
        (429, "TooManyRequests"),
        (500, "InternalError"),
        (503, "ServiceUnavailable"),
    ],
)
def test_an_injected_fault_hits_as_often_as_told(cluster, core, status, reason) -> None:
    cluster.inject(Fault("list", "pods", status, times=2))
    for _ in range(2):
        with pytest.raises(ApiException, match=reason) as refusal:
            core.list_namespaced_pod(cluster.namespace)
        assert refusal.value.status == status
    assert core.list_namespaced_pod(cluster.namespace).items == []


def test_the_client_comes_back_when_it_is_told_to(cluster, core) -> None:
    cluster.inject(Fault("list", "pods", 429, retry_after=1))
    assert core.list_namespaced_pod(cluster.namespace).items == []


def test_paths_of_no_api_are_not_found(cluster, core) -> None:
    with pytest.raises(ApiException) as refusal:
        client.AppsV1Api(core.api_client).list_namespaced_deployment(cluster.namespace)
    assert refusal.value.status == 404
