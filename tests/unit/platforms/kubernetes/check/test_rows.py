"""Facts of a cluster in, rows out; the facts of a good cluster are those of a real one with SGX added."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from confidential_spark.core.check_rows import GIBIBYTE, PlatformReport, SgxDevice, Status
from confidential_spark.platforms.kubernetes.check.probe import ProbeFacts
from confidential_spark.platforms.kubernetes.check.rows import (
    ABSENT,
    API_ROWS,
    PROBE_ROWS,
    ClusterFacts,
    ClusterNeeds,
    NodeFacts,
    QuotaFacts,
    api_rows,
    probe_rows,
)
from confidential_spark.platforms.kubernetes.names import LAUNCHER_RIGHTS, Right

NEEDS = ClusterNeeds(
    trust="hardware",
    namespace="confidential-spark",
    executors=2,
    epc_bytes=10 * GIBIBYTE,
    memory_bytes=6 * GIBIBYTE,
)
SIMULATED = replace(NEEDS, trust="simulated", epc_bytes=0)
EPC_QUOTA = QuotaFacts("enclaves", "requests.sgx.intel.com/epc", Decimal(30 * GIBIBYTE), Decimal(0))
PODS_QUOTA = QuotaFacts("enclaves", "pods", Decimal(5), Decimal(0))
NODE = NodeFacts("node-1", 32 * GIBIBYTE, 30 * GIBIBYTE)
FACTS = ClusterFacts(
    address="https://cluster.example:443",
    version=(1, 34),
    version_text="v1.34.4",
    missing_rights=(),
    namespace_level="restricted",
    quotas=(EPC_QUOTA, PODS_QUOTA, QuotaFacts("other", "services", Decimal(0), Decimal(0))),
    nodes=(NODE,),
    policies=("driver", "default-deny"),
)
PROBE = ProbeFacts(
    node="node-1",
    clock=1_763_900_000,
    devices=(
        SgxDevice("/dev/sgx_enclave", "666", 0, opens=True),
        SgxDevice("/dev/sgx_provision", "660", 107, opens=True),
    ),
    reached_network=False,
)


def row_of(rows, name):
    (found,) = [row for row in rows if row.name == name]
    return found


def test_a_good_cluster_is_ok_in_every_row():
    rows = [*api_rows(FACTS, NEEDS), *probe_rows(PROBE, NEEDS, seconds_off=0, has_policies=True)]

    assert [row.name for row in rows] == [*API_ROWS, *PROBE_ROWS]
    assert {row.status for row in rows} == {Status.OK}


@pytest.mark.parametrize(
    ("name", "change", "status"),
    [
        pytest.param("api", {"version": (1, 28)}, Status.FAIL, id="kubernetes-1.28"),
        pytest.param("api", {"version": (1, 100)}, Status.OK, id="version-is-compared-by-number"),
        pytest.param("rights", {"missing_rights": LAUNCHER_RIGHTS[:1]}, Status.FAIL, id="a-right-missing"),
        pytest.param("namespace", {"namespace_level": ABSENT}, Status.FAIL, id="no-namespace"),
        pytest.param("namespace", {"namespace_level": "none"}, Status.WARN, id="no-level"),
        pytest.param("namespace", {"namespace_level": "privileged"}, Status.WARN, id="privileged"),
        pytest.param("namespace", {"namespace_level": None}, Status.NOT_HERE, id="namespace-unseen"),
        pytest.param("quota", {"quotas": ()}, Status.NOT_HERE, id="no-quota"),
        pytest.param("quota", {"quotas": None}, Status.NOT_HERE, id="quota-unseen"),
        pytest.param(
            "quota", {"quotas": (replace(EPC_QUOTA, used=Decimal(1)),)}, Status.WARN, id="one-byte-in-use"
        ),
        pytest.param(
            "quota", {"quotas": (replace(PODS_QUOTA, hard=Decimal(3)),)}, Status.FAIL, id="too-few-pods"
        ),
        pytest.param("device-plugin", {"nodes": ()}, Status.FAIL, id="no-nodes"),
        pytest.param("device-plugin", {"nodes": None}, Status.NOT_HERE, id="nodes-unseen"),
        pytest.param(
            "device-plugin", {"nodes": (replace(NODE, epc_capacity=None),)}, Status.FAIL, id="no-plugin"
        ),
        pytest.param("epc", {"nodes": None}, Status.NOT_HERE, id="epc-unseen"),
        pytest.param(
            "epc", {"nodes": (replace(NODE, epc_allocatable=0),)}, Status.FAIL, id="plugin-went-away"
        ),
        pytest.param(
            "epc",
            {"nodes": tuple(replace(NODE, epc_allocatable=15 * GIBIBYTE) for _ in range(2))},
            Status.FAIL,
            id="halves-of-two-nodes-are-no-place",
        ),
        pytest.param(
            "epc",
            {"nodes": tuple(replace(NODE, epc_allocatable=15 * GIBIBYTE) for _ in range(3))},
            Status.OK,
            id="one-place-on-each-of-three",
        ),
        pytest.param("network-policy", {"policies": ("driver",)}, Status.WARN, id="no-default-deny"),
        pytest.param("network-policy", {"policies": None}, Status.NOT_HERE, id="policies-unseen"),
    ],
)
def test_what_the_api_says_decides_its_row(name, change, status):
    row = row_of(api_rows(replace(FACTS, **change), NEEDS), name)

    assert row.status is status
    assert bool(row.action) is (status is not Status.OK)


@pytest.mark.parametrize(
    ("name", "change", "status"),
    [
        pytest.param("sgx-devices", {"devices": ()}, Status.FAIL, id="no-devices"),
        pytest.param("sgx-devices", {"devices": PROBE.devices[:1]}, Status.FAIL, id="no-provision-device"),
        pytest.param(
            "sgx-devices",
            {"devices": (PROBE.devices[0], replace(PROBE.devices[1], opens=False))},
            Status.FAIL,
            id="device-closed-to-the-user",
        ),
        pytest.param("network", {"reached_network": True}, Status.WARN, id="policies-not-enforced"),
    ],
)
def test_what_the_pod_met_decides_its_row(name, change, status):
    row = row_of(probe_rows(replace(PROBE, **change), NEEDS, seconds_off=0, has_policies=True), name)

    assert (row.status, bool(row.action)) == (status, True)


def test_a_pod_that_reached_nothing_proves_no_enforcement_without_a_policy():
    row = row_of(probe_rows(PROBE, NEEDS, seconds_off=0, has_policies=False), "network")

    assert row.status is Status.WARN
    assert row.got.startswith("not known")


@pytest.mark.parametrize(
    ("seconds", "status"),
    [
        pytest.param(5.0, Status.OK, id="5-s"),
        pytest.param(5.1, Status.WARN, id="more"),
        pytest.param(60.1, Status.FAIL, id="a-minute"),
    ],
)
def test_a_wrong_clock_is_named(seconds, status):
    assert row_of(probe_rows(PROBE, NEEDS, seconds_off=seconds, has_policies=True), "clock").status is status


def test_a_simulated_platform_without_sgx_is_ready_and_does_not_call_sgx_passed():
    facts = replace(FACTS, nodes=(NodeFacts("node-1", None, 0),), quotas=(PODS_QUOTA,))
    probe = replace(PROBE, devices=())
    rows = [*api_rows(facts, SIMULATED), *probe_rows(probe, SIMULATED, seconds_off=0, has_policies=True)]
    report = PlatformReport("aks", "simulated", "2026-11-23T10:00:00Z", tuple(rows))

    assert report.is_ready
    assert [row.name for row in report.having(Status.NOT_HERE)] == ["device-plugin", "epc", "sgx-devices"]
    assert "3 NOT HERE (not passed)" in report.counts


def test_a_simulated_run_that_asks_for_page_cache_needs_it():
    asking = replace(SIMULATED, epc_bytes=GIBIBYTE)
    facts = replace(FACTS, nodes=(replace(NODE, epc_allocatable=2 * GIBIBYTE),))

    assert row_of(api_rows(facts, asking), "epc").status is Status.FAIL


def test_a_run_needs_a_place_for_every_executor_and_the_driver():
    assert NEEDS.quantities["pods"] == 4
    assert NEEDS.quantities["requests.sgx.intel.com/epc"] == 30 * GIBIBYTE
    assert "requests.sgx.intel.com/epc" not in SIMULATED.quantities


@pytest.mark.parametrize(
    ("right", "text"),
    [
        pytest.param(Right("", "pods/log", "get"), "get pods/log", id="core"),
        pytest.param(
            Right("networking.k8s.io", "networkpolicies", "list"),
            "list networkpolicies.networking.k8s.io",
            id="group",
        ),
    ],
)
def test_a_right_is_said_as_kubectl_says_it(right, text):
    assert str(right) == text


def test_an_enclave_whose_node_makes_the_quotes_needs_no_provision_device():
    met = replace(PROBE, devices=PROBE.devices[:1])

    rows = probe_rows(met, replace(NEEDS, aesm=True), seconds_off=0, has_policies=True)

    assert row_of(rows, "sgx-devices").status is Status.OK


def test_devices_that_are_closed_to_the_user_need_a_group():
    met = replace(PROBE, devices=tuple(replace(device, opens=False) for device in PROBE.devices))

    rows = probe_rows(met, NEEDS, seconds_off=0, has_policies=True)

    assert "SUPPLEMENTAL_GROUPS" in row_of(rows, "sgx-devices").action
