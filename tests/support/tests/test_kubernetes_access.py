"""Who may do what, and how much: Roles, reviews, quotas, Pod Security."""

from __future__ import annotations

import pytest
from kubernetes import client, config
from kubernetes.client import ApiException

SAFE = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


@pytest.fixture
def driver(cluster, core) -> client.CoreV1Api:
    """The API as a service account sees it that may read and create pods, and nothing else."""
    rbac = client.RbacAuthorizationV1Api(core.api_client)
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["create", "get", "list"]}]
    rbac.create_namespaced_role(cluster.namespace, {"metadata": {"name": "driver"}, "rules": rules})
    binding = {
        "metadata": {"name": "driver"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "driver"},
        "subjects": [{"kind": "ServiceAccount", "name": "driver", "namespace": cluster.namespace}],
    }
    rbac.create_namespaced_role_binding(cluster.namespace, binding)
    return client.CoreV1Api(config.new_client_from_config(str(cluster.account_kubeconfig("driver"))))


def test_a_service_account_may_do_what_its_role_says(cluster, driver) -> None:
    assert driver.list_namespaced_pod(cluster.namespace).items == []
    with pytest.raises(ApiException) as refusal:
        driver.list_namespaced_secret(cluster.namespace)
    expected = (
        f'secrets is forbidden: User \\"system:serviceaccount:{cluster.namespace}:driver\\" '
        f'cannot list resource \\"secrets\\" in API group \\"\\" in the namespace \\"{cluster.namespace}\\"'
    )
    assert refusal.value.status == 403
    assert expected in refusal.value.body


@pytest.mark.parametrize(
    ("call", "namespace"),
    [
        pytest.param("list_namespaced_pod", "default", id="other-namespace"),
        pytest.param("list_node", None, id="cluster-scope"),
        pytest.param("list_pod_for_all_namespaces", None, id="all-namespaces"),
    ],
)
def test_a_role_ends_at_its_namespace(driver, call, namespace) -> None:
    arguments = [namespace] if namespace else []
    with pytest.raises(ApiException) as refusal:
        getattr(driver, call)(*arguments)
    assert refusal.value.status == 403


@pytest.mark.parametrize(
    ("attributes", "allowed"),
    [
        pytest.param({"verb": "create", "resource": "pods"}, True, id="granted"),
        pytest.param({"verb": "delete", "resource": "pods"}, False, id="verb-not-granted"),
        pytest.param({"verb": "get", "resource": "pods", "subresource": "log"}, False, id="subresource"),
        pytest.param({"verb": "get", "resource": "pods", "group": "apps"}, False, id="other-group"),
    ],
)
def test_an_access_review_says_what_a_request_would_meet(cluster, driver, attributes, allowed) -> None:
    body = {"spec": {"resourceAttributes": {"namespace": cluster.namespace, **attributes}}}
    review = client.AuthorizationV1Api(driver.api_client).create_self_subject_access_review(body)
    assert review.status.allowed is allowed


def test_a_denial_shows_in_both_reviews(cluster, core) -> None:
    api = client.AuthorizationV1Api(core.api_client)
    attributes = {"namespace": cluster.namespace, "verb": "create", "resource": "pods"}
    access = {"spec": {"resourceAttributes": attributes}}
    rules = {"spec": {"namespace": cluster.namespace}}
    assert api.create_self_subject_access_review(access).status.allowed
    cluster.deny("create", "pods")
    assert not api.create_self_subject_access_review(access).status.allowed
    found = api.create_self_subject_rules_review(rules).status.resource_rules
    (pods,) = [rule for rule in found if rule.resources == ["pods"]]
    assert "create" not in pods.verbs
    assert "list" in pods.verbs
    cluster.heal()
    assert api.create_self_subject_access_review(access).status.allowed


@pytest.mark.parametrize(
    ("verb", "resource"),
    [("*", "pods"), ("list", "*"), ("list", "pods")],
    ids=["any-verb", "anything", "one"],
)
def test_a_denial_holds_for_the_administrator_too(cluster, core, verb, resource) -> None:
    cluster.deny(verb, resource)
    with pytest.raises(ApiException, match="cannot list resource"):
        core.list_namespaced_pod(cluster.namespace)
    assert core.read_namespaced_config_map("kube-root-ca.crt", cluster.namespace).data


def test_an_unknown_token_is_unauthorized(cluster, core) -> None:
    cluster.expire_tokens()
    with pytest.raises(ApiException) as refusal:
        core.list_namespaced_pod(cluster.namespace)
    assert refusal.value.status == 401
    assert cluster.core().list_namespaced_pod(cluster.namespace).items == []


@pytest.mark.parametrize("code", [pytest.param(0, id="succeeded"), pytest.param(1, id="failed")])
def test_a_quota_counts_what_runs_and_forgets_what_ended(cluster, core, start, ended, code) -> None:
    cluster.set_quota(pods="1", **{"limits.memory": "1Gi"})
    small = {"resources": {"limits": {"memory": "600Mi"}}}
    start(f"sleep 0.3; exit {code}", container=small)
    with pytest.raises(ApiException, match=r"exceeded quota: quota, requested: .*pods=1, used: .*pods=1"):
        start(name="second", container=small)
    assert core.read_namespaced_resource_quota("quota", cluster.namespace).status.used["pods"] == "1"
    ended()
    start(name="second", container=small)
    assert ended("second").status.phase == "Succeeded"


def test_a_quota_wants_limits_to_be_stated(cluster, start) -> None:
    cluster.set_quota(**{"limits.memory": "1Gi"})
    with pytest.raises(ApiException, match=r"failed quota: quota: must specify limits\.memory"):
        start()


def test_a_safe_pod_runs_in_a_restricted_namespace(cluster, start, ended) -> None:
    cluster.label_namespace(**{"pod-security.kubernetes.io/enforce": "restricted"})
    start(container={"securityContext": SAFE})
    assert ended().status.phase == "Succeeded"


@pytest.mark.parametrize(
    ("change", "spec", "why"),
    [
        pytest.param({"privileged": True}, {}, "privileged", id="privileged"),
        pytest.param({"allowPrivilegeEscalation": None}, {}, "allowPrivilegeEscalation", id="escalation"),
        pytest.param({"capabilities": {"drop": []}}, {}, "unrestricted capabilities", id="capabilities"),
        pytest.param(
            {"capabilities": {"drop": ["ALL"], "add": ["SYS_ADMIN"]}}, {}, "unrestricted cap", id="added"
        ),
        pytest.param({"runAsNonRoot": None}, {}, "runAsNonRoot", id="maybe-root"),
        pytest.param({"runAsUser": 0}, {}, "runAsUser=0", id="root"),
        pytest.param({"seccompProfile": None}, {}, "seccompProfile", id="seccomp"),
        pytest.param({}, {"hostNetwork": True}, "host namespaces", id="host-network"),
        pytest.param(
            {}, {"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}, "hostPath volumes", id="host-path"
        ),
    ],
)
def test_an_unsafe_pod_is_refused_in_a_restricted_namespace(cluster, start, change, spec, why) -> None:
    cluster.label_namespace(**{"pod-security.kubernetes.io/enforce": "restricted"})
    with pytest.raises(ApiException, match=why) as refusal:
        start(container={"securityContext": {**SAFE, **change}}, **spec)
    assert refusal.value.status == 403
