"""The platform check of a cluster: what it finds there, and that it leaves nothing."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from confidential_spark.core.platforms import Platform
from confidential_spark.enclave.image import EnclaveImage
from confidential_spark.operators import platform_check
from confidential_spark.operators.image import IMAGE_ASSETS
from confidential_spark.platforms.kubernetes.check import task as cluster_check
from confidential_spark.platforms.kubernetes.check.facts import ClusterView
from confidential_spark.platforms.kubernetes.check.probe import probe_facts, probe_pod
from confidential_spark.platforms.kubernetes.check.task import ClusterCheckOperator
from confidential_spark.platforms.kubernetes.client.cluster import Cluster
from confidential_spark.platforms.kubernetes.names import ENCLAVE_CONTAINER, TryNames
from confidential_spark.platforms.kubernetes.pod_specs import PodPlan
from kubernetes import client

from tests.kubernetes.clusters import wait
from tests.kubernetes.manifests import ACCOUNTS, administrator, apply
from tests.support.fakes.kubernetes_api import Image

if TYPE_CHECKING:
    from collections.abc import Callable

LABEL = "org.confidential-spark.dag=platform_check"
IDENTITY = {
    "trust": "simulated",
    "mrenclave": "ab" * 32,
    "mrsigner": "cd" * 32,
    "product_id": 1,
    "svn": 1,
    "debuggable": False,
}
Outcome = tuple[dict[str, dict[str, Any]], Any]


@pytest.fixture
def check(fake, tmp_path, monkeypatch, deploy, blobs) -> Callable[..., Outcome]:
    """Run the check of a namespace that was made by the manifests; returns its rows and what came of it."""
    apply(fake, administrator(fake), (*ACCOUNTS, "NetworkPolicy"))
    fake.label_namespace(**{"pod-security.kubernetes.io/enforce": "restricted"})
    monkeypatch.setattr(cluster_check, "POD_PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr(cluster_check, "API_PATIENCE_SECONDS", 0.0)
    # Whether the image is approved is not what most of these tests are about.
    monkeypatch.setattr(platform_check, "require_approved", lambda *_: None)
    image = f"registry.example/enclave@sha256:{'0' * 64}"

    def run(*, published: bool = True, **settings: Any) -> Outcome:
        deploy(
            results_dir=tmp_path / "results",
            aks_policy="simulation-image",
            aks_namespace=fake.namespace,
            **blobs | settings,
        )
        event = EnclaveImage(reference=image, digest=f"sha256:{'0' * 64}", inputs_sha256="0" * 64, **IDENTITY)
        events = [SimpleNamespace(extra=event.to_xcom())] if published else []
        operator = ClusterCheckOperator(task_id="check_aks", platform=Platform.AKS)
        pushed: dict[str, Any] = {}
        ti = SimpleNamespace(
            dag_id="platform_check",
            run_id="manual__2026-11-23",
            task_id="check_aks",
            try_number=1,
            map_index=-1,
            xcom_push=lambda key, value: pushed.update({key: value}),
        )
        context = {"ti": ti, "inlet_events": dict.fromkeys(IMAGE_ASSETS.values(), events)}
        try:
            ended: Any = operator.execute(context)
        except (AirflowFailException, AirflowSkipException) as error:
            ended = error
        return {row["name"]: row for row in pushed["platform_check"]["rows"]}, ended

    return run


def plan_of(cluster) -> PodPlan:
    return PodPlan(
        image=cluster.image,
        names=TryNames("platform-check-0"),
        labels={"org.confidential-spark.dag": "platform_check"},
        cpu_request="10m",
        cpu_limit=1,
        memory_bytes=1 << 26,
        deadline_seconds=600,
    )


def nodes_of(cluster) -> list[str]:
    api = administrator(cluster)
    # The fake's nodes say less of themselves than real ones.
    api.configuration.client_side_validation = False
    return [node.metadata.name for node in client.CoreV1Api(api).list_node().items]


def of_status(rows: dict[str, dict[str, Any]], status: str) -> list[str]:
    return [name for name, row in rows.items() if row["status"] == status]


def test_a_cluster_made_by_the_manifests_is_ready_for_simulation(fake, check):
    rows, ended = check()

    assert "aks can run simulated enclaves now" in ended
    assert of_status(rows, "FAIL") == []
    assert of_status(rows, "NOT HERE") == ["quota", "device-plugin", "epc", "sgx-devices", "attestation"]
    # The fake has no network of its own, so nothing keeps its pods from the API server.
    assert of_status(rows, "WARN") == ["network"]
    assert "node-1" in rows["pod"]["got"]
    fake.wait(lambda: not fake.pods())


@pytest.fixture
def as_account(fake, monkeypatch) -> Callable[[str], None]:
    """Let Airflow's connection be one of the namespace's service accounts."""

    def become(name: str) -> None:
        extra = {"kube_config_path": str(fake.account_kubeconfig(name))}
        connection = {"conn_type": "kubernetes", "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_KUBERNETES_DEFAULT", json.dumps(connection))

    return become


def test_airflow_s_own_account_may_look(check, as_account):
    as_account("airflow-launcher")
    rows, ended = check()

    assert "can run" in ended
    assert rows["namespace"]["status"] == rows["work"]["status"] == rows["pod"]["status"] == "OK"
    # Nodes belong to the whole cluster, of which the account sees nothing.
    assert rows["device-plugin"]["got"] == rows["epc"]["got"] == "not known: this account may not look"


def test_an_account_that_may_do_nothing_is_told_so(check, as_account):
    as_account("spark-executor")
    rows, ended = check()

    assert isinstance(ended, AirflowFailException)
    assert of_status(rows, "FAIL") == ["rights", "pod"]
    assert rows["rights"]["got"].startswith("may not list events, create pods, delete pods")
    assert "[pod-forbidden]" in rows["pod"]["got"]


def test_missing_rights_are_each_named(fake, check):
    fake.deny("create", "secrets")
    fake.deny("get", "pods/log")
    rows, ended = check()

    assert isinstance(ended, AirflowFailException)
    assert rows["rights"]["got"] == "may not get pods/log, create secrets"


@pytest.mark.parametrize(
    ("hurt", "row", "got"),
    [
        pytest.param(
            lambda fake: fake.break_pull(f"registry.example/enclave@sha256:{'0' * 64}", "not found"),
            "pod",
            "[image-not-found]",
            id="no-such-image",
        ),
        pytest.param(lambda fake: fake.set_quota(pods="0"), "quota", "0 of 0 pods used", id="no-quota"),
        pytest.param(lambda fake: fake.set_quota(pods="0"), "pod", "[quota-exceeded]", id="quota-pod"),
        pytest.param(
            lambda fake: fake.set_capacity("cpu", "0"), "pod", "[pod-unschedulable]", id="full-node"
        ),
    ],
)
def test_what_is_wrong_fails_its_row_and_leaves_nothing(fake, check, hurt, row, got):
    hurt(fake)
    rows, ended = check()

    assert isinstance(ended, AirflowFailException)
    assert rows[row]["status"] == "FAIL"
    assert got in rows[row]["got"]
    assert rows[row]["action"]
    wait(lambda: not fake.pods())


def test_a_run_that_asks_for_page_cache_needs_it_on_a_node(fake, check):
    rows, _ = check(aks_epc="1GB")
    assert (rows["epc"]["status"], rows["pod"]["status"]) == ("FAIL", "FAIL")
    assert "[enclave-capacity-missing]" in rows["pod"]["got"]

    fake.set_epc(3 * 1024**3)
    rows, ended = check(aks_epc="1GB")
    assert (rows["epc"]["status"], rows["pod"]["status"]) == ("OK", "OK")
    assert "can run" in ended


def test_no_pod_is_started_without_an_image(fake, check):
    rows, ended = check(published=False)

    assert isinstance(ended, AirflowFailException)
    assert "[image-not-published]" in rows["image"]["got"]
    assert rows["pod"] == rows["pod"] | {"status": "NOT HERE", "got": "not looked at: correct image first"}


def test_a_pinned_image_is_measured_in_a_pod_before_it_is_judged(fake, check):
    reference = f"registry.example/pinned@sha256:{'1' * 64}"
    fake.add_image(reference, Image(entrypoint=("echo", json.dumps(IDENTITY))))
    rows, ended = check(published=False, aks_image=reference)

    # The words after the identity are the command, which `echo` repeats.
    assert "[measurement-unreadable]" in rows["image"]["got"]
    fake.add_image(reference, Image(entrypoint=("sh", "-c", f"echo '{json.dumps(IDENTITY)}'")))
    rows, ended = check(published=False, aks_image=reference)

    assert rows["image"]["got"] == f"{reference} (simulated)"
    assert rows["measurement"]["got"].startswith("MRENCLAVE abababababababab")
    assert "can run" in ended
    fake.wait(lambda: not fake.pods())


def test_what_a_killed_check_left_is_removed(fake, check):
    left = probe_pod(plan_of(fake))
    left["spec"]["containers"][0]["command"] = ["sleep", "60"]
    fake.core().create_namespaced_pod(fake.namespace, left)
    check()

    wait(lambda: not fake.pods())


@pytest.mark.parametrize(
    ("extra", "got"),
    [
        pytest.param({"kube_config_path": "/nonexistent"}, "[kubernetes-connection-invalid]", id="no-file"),
        pytest.param({"kube_config": "no: config"}, "[kubernetes-connection-invalid]", id="no-kubeconfig"),
    ],
)
def test_a_connection_that_leads_nowhere_is_a_row(check, monkeypatch, extra, got):
    broken = {"conn_type": "kubernetes", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_KUBERNETES_DEFAULT", json.dumps(broken))
    rows, ended = check()

    assert isinstance(ended, AirflowFailException)
    assert got in rows["api"]["got"]
    assert of_status(rows, "FAIL") == ["api"]


def test_an_api_that_is_away_is_a_row(fake, check):
    fake.go_away(30)
    rows, ended = check()

    assert isinstance(ended, AirflowFailException)
    assert "[kubernetes-unreachable]" in rows["api"]["got"]


@pytest.mark.parametrize(
    "connection",
    [
        pytest.param(None, id="no-connection"),
        pytest.param('{"conn_type": "kubernetes"}', id="the-connection-of-a-fresh-installation"),
    ],
)
def test_a_deployment_without_a_cluster_is_skipped(check, monkeypatch, tmp_path, connection):
    for name in ("AIRFLOW_CONN_KUBERNETES_DEFAULT", "KUBECONFIG", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    if connection:
        monkeypatch.setenv("AIRFLOW_CONN_KUBERNETES_DEFAULT", connection)
    monkeypatch.setenv("HOME", str(tmp_path))
    rows, ended = check()

    assert isinstance(ended, AirflowSkipException)
    assert of_status(rows, "NOT HERE") == list(rows)


def test_a_pod_looks_around_and_nothing_of_it_stays(cluster):
    """On a real cluster as well, where there is one."""
    apply(cluster, administrator(cluster), (*ACCOUNTS, "NetworkPolicy"))
    namespace = Cluster(cluster.core, cluster.namespace)
    view = ClusterView(namespace, leftovers=LABEL, patience=20)

    met = probe_facts("\n".join(view.output_of(probe_pod(plan_of(cluster)), ENCLAVE_CONTAINER)))

    assert met.node in nodes_of(cluster)
    assert namespace.await_gone(LABEL, 30)


def test_the_api_of_any_cluster_can_be_read(cluster):
    apply(cluster, administrator(cluster), (*ACCOUNTS, "NetworkPolicy"))
    view = ClusterView(Cluster(cluster.core, cluster.namespace), leftovers=LABEL, patience=20)

    facts = view.facts()

    assert facts.version >= (1, 29)
    assert (facts.missing_rights, facts.namespace_level) == ((), "none")
    assert "default-deny" in (facts.policies or ())
    assert [node.name for node in facts.nodes or ()] == nodes_of(cluster)


def test_nothing_says_through_which_blobs_a_run_would_go(check):
    rows, ended = check(aks_work=None)

    assert isinstance(ended, AirflowFailException)
    assert rows["work"]["status"] == "FAIL"
    assert "[work-not-configured]" in rows["work"]["got"]
