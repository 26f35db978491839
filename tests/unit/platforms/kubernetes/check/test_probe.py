"""What the pod's script prints, read; and that the pod is like a run's."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
from confidential_spark.core.check_rows import SgxDevice
from confidential_spark.core.errors import EnclaveError
from confidential_spark.platforms.kubernetes.check.probe import probe_facts, probe_pod
from confidential_spark.platforms.kubernetes.names import ROLE_CHECK, TryNames
from confidential_spark.platforms.kubernetes.pod_specs import PodPlan, measure_pod
from hypothesis import given
from hypothesis import strategies as st

SGX_NODE = """\
node aks-sgx-12345678-vmss000000
now 1763900000
device /dev/sgx_enclave 666 0 yes
device /dev/sgx_provision 660 107 no
bash: connect: Connection timed out
network closed
end
"""
PLAN = PodPlan(
    image="registry.example/enclave@sha256:00",
    names=TryNames("platform-check-0"),
    labels={"org.confidential-spark.dag": "platform_check"},
    cpu_request="500m",
    cpu_limit=1,
    memory_bytes=1 << 30,
    deadline_seconds=9_000,
    node_selector={"agentpool": "sgx"},
    pull_secret="registry",
)


def test_reads_a_node_with_sgx():
    facts = probe_facts(SGX_NODE)

    assert (facts.node, facts.clock) == ("aks-sgx-12345678-vmss000000", 1763900000)
    assert facts.devices == (
        SgxDevice("/dev/sgx_enclave", "666", 0, opens=True),
        SgxDevice("/dev/sgx_provision", "660", 107, opens=False),
    )
    assert not facts.reached_network


@pytest.mark.parametrize(
    ("line", "instead", "name", "value"),
    [
        pytest.param("network closed", "network open", "reached_network", True, id="network"),
        pytest.param("device", "devices", "devices", (), id="no-sgx"),
    ],
)
def test_reads_what_is_different(line, instead, name, value):
    assert getattr(probe_facts(SGX_NODE.replace(line, instead)), name) == value


@pytest.mark.parametrize("line", ["node", "now", "network"])
def test_a_script_that_did_not_say_everything_tells_nothing(line):
    with pytest.raises(EnclaveError) as caught:
        probe_facts(SGX_NODE.replace(f"{line} ", "x "))
    assert caught.value.code == "probe-facts-missing"


@given(st.text(max_size=300))
def test_any_output_is_read_or_refused(output):
    with contextlib.suppress(EnclaveError):
        assert probe_facts(output).node
    with contextlib.suppress(EnclaveError):
        assert probe_facts(SGX_NODE + output).clock >= 0


def test_the_pod_has_the_place_and_the_rights_of_a_run_s_pods():
    made, run_s = probe_pod(PLAN)["spec"], measure_pod(PLAN)["spec"]

    for name in ("securityContext", "nodeSelector", "imagePullSecrets", "volumes"):
        assert made[name] == run_s[name]
    assert made["serviceAccountName"] == "spark-executor"
    assert made["automountServiceAccountToken"] is False
    (container,), (run_s_container,) = made["containers"], run_s["containers"]
    assert container["securityContext"] == run_s_container["securityContext"]
    assert container["image"] == PLAN.image


def test_the_pod_has_a_role_that_no_network_policy_gives_anything_to():
    assert probe_pod(PLAN)["metadata"]["labels"]["spark-role"] == ROLE_CHECK


def test_the_pod_ends_soon_whatever_happens():
    assert probe_pod(PLAN)["spec"]["activeDeadlineSeconds"] < PLAN.deadline_seconds


@pytest.mark.parametrize(
    ("epc", "asked"),
    [pytest.param(None, None, id="simulated"), pytest.param(7, "7", id="hardware")],
)
def test_page_cache_is_asked_for_only_where_an_enclave_needs_it(epc, asked):
    (container,) = probe_pod(replace(PLAN, epc_bytes=epc))["spec"]["containers"]

    for kind in ("requests", "limits"):
        assert container["resources"][kind].get("sgx.intel.com/epc") == asked
