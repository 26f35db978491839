"""The manifests give exactly what is needed: read as data, and as a cluster that knows them sees them."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import kubernetes_validate
import pytest
from confidential_spark.platforms.kubernetes import names
from confidential_spark.platforms.kubernetes.names import DRIVER_RIGHTS, LAUNCHER_RIGHTS, Right
from kubernetes import client, config

from tests.kubernetes.manifests import (
    FOLDER,
    Network,
    administrator,
    apply,
    documents,
    kustomization_of,
    of_kind,
)

if TYPE_CHECKING:
    from collections.abc import Callable

FOLDERS = ["base", *sorted(f"overlays/{each.name}" for each in (FOLDER / "overlays").iterdir())]
API_SERVER, METADATA, ANYWHERE, NODE = "203.0.113.7", "169.254.169.254", "198.51.100.9", "10.0.0.4"
BASE = Network(of_kind("NetworkPolicy"))
AKS = Network(of_kind("NetworkPolicy", "base", "overlays/aks"))
SIMULATION = Network(of_kind("NetworkPolicy", "base", "overlays/simulation"))
ROLES = ("driver", "executor", "attest", "measure", "platform-check", "unlabelled")


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_kustomization_lists_every_file_beside_it(folder):
    listed = {each for each in kustomization_of(folder)["resources"] if each.endswith(".yaml")}

    assert listed == {each.name for each in (FOLDER / folder).glob("*.yaml")} - {"kustomization.yaml"}


@pytest.mark.parametrize("version", ["1.29", "1.34", kubernetes_validate.latest_version()])
@pytest.mark.parametrize("folder", [folder for folder in FOLDERS if [*documents(folder)]])
def test_every_object_fits_the_schema_of_several_versions(folder, version):
    for each in documents(folder):
        kubernetes_validate.validate(each, version, strict=True)


def test_names_are_those_that_the_pods_use():
    (namespace,) = of_kind("Namespace")

    assert namespace["metadata"]["name"] == kustomization_of("base")["namespace"] == names.NAMESPACE
    assert {each["metadata"]["name"] for each in of_kind("ServiceAccount")} == {
        names.LAUNCHER_ACCOUNT,
        names.DRIVER_ACCOUNT,
        names.EXECUTOR_ACCOUNT,
    }


def test_the_namespace_is_restricted():
    (namespace,) = of_kind("Namespace")

    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_the_quota_bounds_the_page_cache():
    (quota,) = of_kind("ResourceQuota")

    assert f"requests.{names.EPC_RESOURCE}" in quota["spec"]["hard"]


@pytest.mark.parametrize(
    ("account", "rights"),
    [
        pytest.param(names.LAUNCHER_ACCOUNT, LAUNCHER_RIGHTS, id="launcher"),
        pytest.param(names.DRIVER_ACCOUNT, DRIVER_RIGHTS, id="driver"),
        pytest.param(names.EXECUTOR_ACCOUNT, (), id="executor"),
    ],
)
def test_a_role_gives_exactly_the_listed_rights(account, rights):
    bound = {
        each["roleRef"]["name"]
        for each in of_kind("RoleBinding")
        for subject in each["subjects"]
        if subject["name"] == account
    }
    given = [
        Right(group, resource, verb)
        for role in of_kind("Role")
        if role["metadata"]["name"] in bound
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    ]

    assert sorted(given) == sorted(rights)


def test_nothing_is_granted_in_the_whole_cluster():
    kinds = {each["kind"] for each in documents(*FOLDERS)}

    assert not {"ClusterRole", "ClusterRoleBinding"} & kinds


@pytest.mark.parametrize(
    ("source", "target", "port"),
    [
        pytest.param("executor", "driver", names.DRIVER_PORT, id="executor-to-driver"),
        pytest.param("executor", "driver", names.BLOCK_MANAGER_PORT, id="executor-to-driver-blocks"),
        pytest.param("executor", "driver", names.RELEASE_PORT, id="executor-to-secret-release"),
        pytest.param("driver", "executor", names.BLOCK_MANAGER_PORT, id="driver-to-executor-blocks"),
        pytest.param("executor", "executor", names.BLOCK_MANAGER_PORT, id="shuffle"),
    ],
)
def test_what_spark_needs_is_open(source, target, port):
    assert BASE.between(source, target, port)


def test_no_other_connection_between_pods_is_open():
    ports = (22, 443, names.DRIVER_PORT, names.BLOCK_MANAGER_PORT, names.RELEASE_PORT)
    opened = {
        (source, target, port)
        for source in ROLES
        for target in ROLES
        for port in ports
        if AKS.between(source, target, port)
    }

    assert opened == {
        ("driver", "executor", names.BLOCK_MANAGER_PORT),
        ("executor", "executor", names.BLOCK_MANAGER_PORT),
        *(
            ("executor", "driver", port)
            for port in (names.DRIVER_PORT, names.BLOCK_MANAGER_PORT, names.RELEASE_PORT)
        ),
    }


@pytest.mark.parametrize("role", ROLES)
def test_nobody_outside_reaches_a_pod(role):
    assert not any(AKS.inwards(NODE, role, port) for port in (443, names.DRIVER_PORT, names.RELEASE_PORT))


@pytest.mark.parametrize(
    ("network", "role", "address", "port", "is_open"),
    [
        pytest.param(BASE, "driver", API_SERVER, 443, True, id="driver-to-api-server"),
        pytest.param(BASE, "driver", API_SERVER, 6443, True, id="driver-to-api-server-6443"),
        pytest.param(BASE, "driver", ANYWHERE, 80, False, id="driver-no-http"),
        pytest.param(BASE, "driver", METADATA, 80, False, id="driver-no-node-identity"),
        pytest.param(BASE, "executor", API_SERVER, 443, False, id="executor-no-api-server"),
        pytest.param(BASE, "attest", ANYWHERE, 443, False, id="simulated-attestation-is-inside"),
        pytest.param(AKS, "executor", ANYWHERE, 443, True, id="executor-to-attestation-service"),
        pytest.param(AKS, "attest", ANYWHERE, 443, True, id="attest-to-attestation-service"),
        pytest.param(AKS, "executor", METADATA, 80, True, id="executor-to-platform-certificates"),
        pytest.param(AKS, "executor", METADATA, 443, False, id="metadata-only-by-its-port"),
        pytest.param(AKS, "executor", NODE, 443, False, id="executor-no-neighbour"),
        pytest.param(AKS, "attest", NODE, 443, False, id="attest-no-neighbour"),
        pytest.param(AKS, "driver", "169.254.10.10", 53, True, id="driver-to-the-node-s-name-server"),
        pytest.param(AKS, "measure", "169.254.10.10", 53, False, id="measure-asks-no-names"),
        pytest.param(AKS, "executor", ANYWHERE, 80, False, id="executor-no-http"),
        pytest.param(AKS, "measure", ANYWHERE, 443, False, id="measure-reaches-nothing"),
        pytest.param(AKS, "platform-check", ANYWHERE, 443, False, id="check-reaches-nothing"),
        pytest.param(AKS, "unlabelled", ANYWHERE, 443, False, id="others-reach-nothing"),
        pytest.param(AKS, "driver", NODE, 10000, False, id="no-emulator-on-aks"),
        pytest.param(SIMULATION, "executor", NODE, 10000, True, id="executor-to-emulator"),
        pytest.param(SIMULATION, "executor", NODE, 443, False, id="simulated-executor-no-neighbour"),
        pytest.param(SIMULATION, "driver", METADATA, 10000, False, id="metadata-is-no-emulator"),
        pytest.param(SIMULATION, "measure", NODE, 10000, False, id="measure-no-emulator"),
    ],
)
def test_ways_out_of_the_namespace(network, role, address, port, is_open):
    assert network.outwards(role, address, port) is is_open


@pytest.mark.parametrize("protocol", ["UDP", "TCP"])
@pytest.mark.parametrize("role", ROLES)
def test_enclaves_alone_ask_for_names(role, protocol):
    asks = role in ("driver", "executor", "attest")

    assert BASE.to_namespace(role, "kube-system", 53, protocol) is asks
    assert not BASE.to_namespace(role, "default", 53, protocol)


@pytest.fixture
def account(cluster) -> Callable[[str], client.ApiClient]:
    """Make a client that is one of the namespace's service accounts."""
    api = administrator(cluster)
    apply(cluster, api)

    def make(name: str) -> client.ApiClient:
        if hasattr(cluster, "account_kubeconfig"):
            return config.new_client_from_config(str(cluster.account_kubeconfig(name)))
        token = client.CoreV1Api(api).create_namespaced_service_account_token(
            name, cluster.namespace, {"spec": {"expirationSeconds": 600}}
        )
        own = client.Configuration(host=api.configuration.host)
        own.ssl_ca_cert = api.configuration.ssl_ca_cert
        own.api_key = {"authorization": f"Bearer {token.status.token}"}
        return client.ApiClient(own)

    return make


def may(api: client.ApiClient, right: Right, namespace: str) -> bool:
    resource, _, subresource = right.resource.partition("/")
    asked = {
        "group": right.group,
        "resource": resource,
        "subresource": subresource,
        "verb": right.verb,
        "namespace": namespace,
    }
    review = client.AuthorizationV1Api(api).create_self_subject_access_review(
        {"spec": {"resourceAttributes": asked}}
    )
    return bool(review.status.allowed)


VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
RESOURCES = (
    *(("", name) for name in ("pods", "pods/log", "pods/exec", "secrets", "configmaps", "services")),
    *(("", name) for name in ("events", "persistentvolumeclaims", "serviceaccounts", "resourcequotas")),
    ("rbac.authorization.k8s.io", "roles"),
    ("rbac.authorization.k8s.io", "rolebindings"),
    ("networking.k8s.io", "networkpolicies"),
)


@pytest.mark.parametrize(
    ("name", "rights"),
    [
        pytest.param(names.LAUNCHER_ACCOUNT, LAUNCHER_RIGHTS, id="launcher"),
        pytest.param(names.DRIVER_ACCOUNT, DRIVER_RIGHTS, id="driver"),
        pytest.param(names.EXECUTOR_ACCOUNT, (), id="executor"),
    ],
)
def test_the_cluster_gives_an_account_these_rights_and_no_others(cluster, account, name, rights):
    api = account(name)
    asked = {Right(group, resource, verb) for group, resource in RESOURCES for verb in VERBS}
    given = {right for right in asked | set(rights) if may(api, right, cluster.namespace)}

    assert given == set(rights)
    assert not [right for right in rights if may(api, right, "kube-system")]


def test_airflow_may_look_at_its_own_namespace_and_at_no_other(cluster, account):
    core = client.CoreV1Api(account(names.LAUNCHER_ACCOUNT))

    assert core.read_namespace(cluster.namespace).metadata.name == cluster.namespace
    for refused in (lambda: core.read_namespace("default"), core.list_namespace, core.list_node):
        with pytest.raises(client.ApiException) as caught:
            refused()
        assert caught.value.status == 403


KUBECTL = shutil.which("kubectl")
needs_kubectl = pytest.mark.skipif(KUBECTL is None, reason="NO KUBECTL: the kustomizations were not built")


def kubectl(*arguments: str) -> str:
    done = subprocess.run([str(KUBECTL), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_kubectl
@pytest.mark.parametrize("folder", FOLDERS)
def test_kubectl_builds_it(folder):
    assert "kind: Namespace" in kubectl("kustomize", str(FOLDER / folder))


@needs_kubectl
@pytest.mark.parametrize("overlay", FOLDERS[1:])
def test_a_real_cluster_takes_it_strictly(cluster, tmp_path, overlay):
    if hasattr(cluster, "deny"):
        pytest.skip("NOT CHECKED here: a real API server's own validation needs $KUBECONFIG")
    relative = os.path.relpath(FOLDER / overlay, tmp_path)
    (tmp_path / "kustomization.yaml").write_text(
        f"namespace: {cluster.namespace}\nresources: ['{relative}']\n", encoding="utf-8"
    )
    access = f"--kubeconfig={cluster.kubeconfig}"

    said = kubectl("apply", "-k", str(tmp_path), "--dry-run=server", "--validate=strict", access)

    assert "resourcequota/enclaves created (server dry run)" in said
