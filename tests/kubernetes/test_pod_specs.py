"""The pods of a run: the least rights, what the enclave needs, and nothing secret."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import kubernetes_validate
import pytest
from confidential_spark.agent.launch.launch_file import LaunchSpec
from confidential_spark.enclave import layout as image_layout
from confidential_spark.platforms.kubernetes import pod_specs as kubernetes_pod
from confidential_spark.platforms.kubernetes.names import (
    ENCLAVE_CONTAINER,
    TryNames,
)
from confidential_spark.platforms.kubernetes.pod_specs import PodPlan
from confidential_spark.platforms.kubernetes.spark import executor_launch

from tests.support.fakes.kubernetes_api.admission import check_security, validate, with_defaults
from tests.support.fakes.kubernetes_api.strict import unknown_fields

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import PurePosixPath

NONCE = "A" * 43
NAMES = TryNames.of("sparkpi", NONCE)
LABELS = {"org.confidential-spark.nonce": "ab" * 16}
PLAN = PodPlan(
    image="registry.example/enclave@sha256:" + "1a" * 32,
    names=NAMES,
    labels=LABELS,
    cpu_request="500m",
    cpu_limit=2,
    memory_bytes=2 * 1024**3,
    deadline_seconds=3600,
)
LAUNCH = LaunchSpec(
    nonce=NONCE,
    run_id="sparkpi_aks/run",
    results_dir="/host/data/results",
    attestation_url="https://maa.example",
    attestation_api_version="2022-08-01",
    quote_provider="occlum",
    release_port=7080,
)
PODS: dict[str, Callable[[PodPlan], dict[str, Any]]] = {
    "driver": kubernetes_pod.driver_pod,
    "executor": lambda plan: kubernetes_pod.executor_pod(plan, LAUNCH),
    "attest": kubernetes_pod.attest_pod,
    "measure": kubernetes_pod.measure_pod,
}
ENCLAVES = ("driver", "executor", "attest")
# The oldest that docs/aks.md admits, the one of `make cluster`, and the newest that the schemas know.
VERSIONS = ("1.29", "1.34", kubernetes_validate.latest_version())


@pytest.fixture(params=PODS)
def pod(request) -> dict[str, Any]:
    return PODS[request.param](PLAN)


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def enclave(pod: dict[str, Any]) -> dict[str, Any]:
    return next(each for each in containers(pod) if each["name"] == ENCLAVE_CONTAINER)


def test_every_pod_is_admitted_at_the_restricted_level(pod) -> None:
    filled = with_defaults({**pod, "metadata": {"name": "executor", **pod["metadata"]}})
    level = {"pod-security.kubernetes.io/enforce": "restricted"}
    validate(filled)
    check_security(filled, {"metadata": {"name": "confidential-spark", "labels": level}})
    assert unknown_fields(pod) == []


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", PODS)
def test_every_pod_fits_the_schema_of_several_versions(kind, version) -> None:
    plan = replace(PLAN, epc_bytes=64 * 1024**2, aesm=True, pull_secret="registry")
    kubernetes_validate.validate(PODS[kind](plan), version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_launch_secret_fits_the_schema_of_several_versions(version) -> None:
    secret = kubernetes_pod.launch_secret(PLAN, LAUNCH, PODS["executor"](PLAN), "uid-1")
    kubernetes_validate.validate(secret, version, strict=True)


def test_every_pod_ends_by_itself_and_reaches_nothing_of_its_node(pod) -> None:
    spec = pod["spec"]
    assert spec["activeDeadlineSeconds"] >= PLAN.deadline_seconds
    assert spec["restartPolicy"] == "Never"
    assert spec["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
    assert all("hostPath" not in volume for volume in spec["volumes"])


def test_every_container_is_of_the_image_by_digest(pod) -> None:
    for container in containers(pod):
        assert container["image"] == PLAN.image
        assert container["imagePullPolicy"] == "IfNotPresent"
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert "command" not in container


@pytest.mark.parametrize("kind", [*ENCLAVES, "measure"])
def test_what_the_image_writes_to_is_memory(kind) -> None:
    pod = PODS[kind](PLAN)
    tmpfs = {
        volume["name"]
        for volume in pod["spec"]["volumes"]
        if volume.get("emptyDir", {}).get("medium") == "Memory"
    }
    mounts = {mount["mountPath"]: mount["name"] for mount in enclave(pod)["volumeMounts"]}
    assert {mounts[str(folder)] for folder in image_layout.WRITABLE_DIRS} <= tmpfs


def volume_mebibytes(pod: dict[str, Any], folder: PurePosixPath) -> int:
    """Return how much the volume at a folder of the enclave's container holds."""
    (name,) = [m["name"] for m in enclave(pod)["volumeMounts"] if m["mountPath"] == str(folder)]
    (volume,) = [volume for volume in pod["spec"]["volumes"] if volume["name"] == name]
    return int(volume["emptyDir"]["sizeLimit"].removesuffix("Mi"))


@pytest.mark.parametrize("kind", ["driver", "executor"])
@pytest.mark.parametrize(
    ("input_bytes", "epc", "temporary", "run"),
    [
        pytest.param(0, None, 1024, 64, id="no-input"),
        pytest.param(600 * 1024**2, None, 1112, 64, id="simulated"),
        # There, the enclave's own /tmp is encrypted below Occlum's folder.
        pytest.param(600 * 1024**2, 1, 1112, 64 + 1112, id="hardware"),
    ],
)
def test_driver_and_executors_have_room_for_a_copy_of_the_input(kind, input_bytes, epc, temporary, run):
    pod = PODS[kind](replace(PLAN, input_bytes=input_bytes, epc_bytes=epc))
    assert volume_mebibytes(pod, image_layout.TEMPORARY_DIR) == temporary
    assert volume_mebibytes(pod, image_layout.RUN_DIR) == run


@pytest.mark.parametrize("launch_input", ["file:///host/data/input", None], ids=["month", "no-input"])
def test_executors_are_told_where_their_host_serves_the_input(launch_input):
    driver = replace(
        LAUNCH,
        input=launch_input,
        work_dir=str(image_layout.WORK_DIR),
        jvm_options=["-Xmx1g", "-XX:+UseSerialGC"],
    )
    told = executor_launch(driver)
    assert (told.input, told.work_dir) == (launch_input, driver.work_dir)
    assert told.jvm_options == ["-XX:+UseSerialGC"]


@pytest.mark.parametrize("kind", ["driver", "attest", "measure"])
def test_every_container_has_request_and_limit(kind) -> None:
    for container in containers(PODS[kind](PLAN)):
        resources = container["resources"]
        assert {*resources["requests"], *resources["limits"]} == {"cpu", "memory"}
        assert resources["requests"]["memory"] == resources["limits"]["memory"]


def test_an_executor_leaves_its_resources_to_spark() -> None:
    pod = PODS["executor"](PLAN)
    assert enclave(pod)["resources"] == {}
    assert "args" not in enclave(pod)
    assert "name" not in pod["metadata"]
    # Else Spark would give it a volume of its own for its local files.
    assert any(mount["name"].startswith("spark-local-dir-") for mount in enclave(pod)["volumeMounts"])


@pytest.mark.parametrize("kind", ENCLAVES)
def test_enclave_memory_is_one_number(kind) -> None:
    resources = enclave(PODS[kind](replace(PLAN, epc_bytes=64 * 1024**2)))["resources"]
    assert {resources[part]["sgx.intel.com/epc"] for part in ("requests", "limits")} == {"67108864"}


@pytest.mark.parametrize("kind", ENCLAVES)
def test_an_enclave_is_told_where_the_emulator_is(kind) -> None:
    variable = {"name": "STORAGE_EMULATOR", "value": "10000:10.0.0.1:10000"}
    assert variable in enclave(PODS[kind](replace(PLAN, emulator="10000:10.0.0.1:10000")))["env"]
    assert "STORAGE_EMULATOR" not in json.dumps(PODS[kind](PLAN))


@pytest.mark.parametrize("kind", PODS)
def test_no_pod_has_a_volume_of_the_cluster(kind) -> None:
    pod = PODS[kind](PLAN)
    assert "persistentVolumeClaim" not in json.dumps(pod)
    volumes = {volume["name"] for volume in pod["spec"]["volumes"]}
    assert all(mount["name"] in volumes for each in containers(pod) for mount in each["volumeMounts"])


def test_an_enclave_that_attests_into_a_blob_has_its_launch_in_a_secret_and_no_company() -> None:
    blob = {"url": "https://a.example/runs/t.tar", "sas": "sp=cw&sig=CANARY"}
    pod = kubernetes_pod.attest_pod(PLAN)
    assert [each["name"] for each in containers(pod)] == [ENCLAVE_CONTAINER]
    secret = kubernetes_pod.launch_secret(PLAN, replace(LAUNCH, results_blob=blob), None, "uid-1", "attest")
    (owner,) = secret["metadata"]["ownerReferences"]
    assert (owner["name"], list(secret["stringData"])) == ("attest", ["launch.json"])


@pytest.mark.parametrize("kind", PODS)
def test_without_sgx_nothing_asks_for_it(kind) -> None:
    assert "sgx" not in json.dumps(PODS[kind](PLAN))


@pytest.mark.parametrize("kind", ENCLAVES)
@pytest.mark.parametrize(("aesm", "provider"), [(False, "enclave"), (True, "aesmd")])
def test_the_device_plugin_s_webhook_is_told_who_makes_quotes(kind, aesm, provider) -> None:
    pod = PODS[kind](replace(PLAN, epc_bytes=1, aesm=aesm))
    assert pod["metadata"]["annotations"] == {"sgx.intel.com/quote-provider": provider}
    # The webhook gives no devices to init containers.
    assert "initContainers" not in pod["spec"]


@pytest.mark.parametrize("kind", ENCLAVES)
def test_aesm_is_reached_by_its_socket_and_by_nothing_else_of_the_node(kind) -> None:
    pod = PODS[kind](replace(PLAN, epc_bytes=1, aesm=True))
    paths = [volume["hostPath"]["path"] for volume in pod["spec"]["volumes"] if "hostPath" in volume]
    assert paths == ["/var/run/aesmd"]
    assert {"name": "aesmd-socket", "mountPath": "/var/run/aesmd"} in enclave(pod)["volumeMounts"]
    assert {"name": "SGX_AESM_ADDR", "value": "1"} in enclave(pod)["env"]


@pytest.mark.parametrize("kind", PODS)
def test_groups_that_own_the_devices_reach_every_pod(kind) -> None:
    security = PODS[kind](replace(PLAN, groups=[120]))["spec"]["securityContext"]
    assert security["supplementalGroups"] == [120]


def test_accounts() -> None:
    accounts = {kind: PODS[kind](PLAN)["spec"].get("serviceAccountName") for kind in PODS}
    assert accounts == {
        "driver": "spark-driver",
        "executor": "spark-executor",
        "attest": None,
        "measure": None,
    }


def test_only_the_driver_has_a_token_and_longer_than_it_may_run() -> None:
    with_token = [kind for kind in PODS if "serviceAccountToken" in json.dumps(PODS[kind](PLAN))]
    assert with_token == ["driver"]
    projected = next(v["projected"] for v in PODS["driver"](PLAN)["spec"]["volumes"] if "projected" in v)
    assert projected["sources"][0]["serviceAccountToken"]["expirationSeconds"] > PLAN.deadline_seconds


def test_the_launch_is_a_secret_of_the_driver() -> None:
    secret = kubernetes_pod.launch_secret(PLAN, LAUNCH, PODS["executor"](PLAN), "uid-1")
    (owner,) = secret["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("Pod", NAMES.driver, "uid-1")
    assert json.loads(secret["stringData"]["launch.json"])["nonce"] == NONCE
    assert json.loads(secret["stringData"]["executor-pod.yaml"]) == PODS["executor"](PLAN)
    assert secret["immutable"] is True


def test_node_selector_tolerations_and_pull_secret_reach_every_pod() -> None:
    plan = replace(
        PLAN,
        node_selector={"agentpool": "sgx"},
        tolerations=({"key": "sgx", "operator": "Exists"},),
        pull_secret="registry",
    )
    for make in PODS.values():
        spec = make(plan)["spec"]
        assert spec["nodeSelector"] == {"agentpool": "sgx"}
        assert spec["tolerations"] == [{"key": "sgx", "operator": "Exists"}]
        assert spec["imagePullSecrets"] == [{"name": "registry"}]
