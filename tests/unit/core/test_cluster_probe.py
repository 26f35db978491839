"""What the pod's script prints, read; and that the pod is one that a restricted namespace takes."""

from __future__ import annotations

import contextlib

import pytest
from confidential_spark.core.cluster_probe import Probe, probe_facts
from confidential_spark.core.engine_checks import SgxDevice
from confidential_spark.core.errors import EnclaveError
from hypothesis import given
from hypothesis import strategies as st

SGX_NODE = """\
node aks-sgx-12345678-vmss000000
now 1763900000
device /dev/sgx_enclave 666 0 yes
device /dev/sgx_provision 660 107 no
volume yes
bash: connect: Connection timed out
network closed
end
"""


def test_reads_a_node_with_sgx():
    facts = probe_facts(SGX_NODE)

    assert (facts.node, facts.clock) == ("aks-sgx-12345678-vmss000000", 1763900000)
    assert facts.devices == (
        SgxDevice("/dev/sgx_enclave", "666", 0, opens=True),
        SgxDevice("/dev/sgx_provision", "660", 107, opens=False),
    )
    assert (facts.can_write, facts.reached_network) == (True, False)


@pytest.mark.parametrize(
    ("line", "instead", "name", "value"),
    [
        pytest.param("volume yes", "volume no", "can_write", False, id="read-only"),
        pytest.param("network closed", "network open", "reached_network", True, id="network"),
        pytest.param("device", "devices", "devices", (), id="no-sgx"),
    ],
)
def test_reads_what_is_different(line, instead, name, value):
    assert getattr(probe_facts(SGX_NODE.replace(line, instead)), name) == value


@pytest.mark.parametrize("line", ["node", "now", "volume", "network"])
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


@pytest.mark.parametrize(
    ("epc", "limits"),
    [
        pytest.param(0, {"memory": "64Mi"}, id="simulated"),
        pytest.param(7, {"memory": "64Mi", "sgx.intel.com/epc": "7"}, id="hardware"),
    ],
)
def test_page_cache_is_asked_for_only_where_an_enclave_needs_it(epc, limits):
    (container,) = Probe("look", "spark", "image", "data", epc_bytes=epc).body()["spec"]["containers"]

    assert container["resources"]["limits"] == limits
    assert container["resources"]["requests"] == {"cpu": "50m", **limits}
