"""A short pod like a run's, which tells what it meets: its body, and its output read.

It has the image, the user, the node selector and the page cache of a run's pods, and no right to
the network. Its start shows that pull, quota, admission and scheduler work.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from confidential_spark.core.check_rows import SgxDevice
from confidential_spark.core.errors import EnclaveError
from confidential_spark.platforms.kubernetes.names import (
    EPC_RESOURCE,
    EXECUTOR_ACCOUNT,
    ROLE_CHECK,
    ROLE_LABEL,
)
from confidential_spark.platforms.kubernetes.pod_specs import measure_pod, quote_annotations

if TYPE_CHECKING:
    from confidential_spark.platforms.kubernetes.pod_specs import PodPlan

DEADLINE_SECONDS = 600
CONNECT_SECONDS = 5
# bash and coreutils: both images have them. The API server is what every pod could reach without policies.
LOOK_SCRIPT = f"""
echo "node $NODE"
echo "now $(date +%s)"
for device in /dev/sgx_enclave /dev/sgx_provision /dev/sgx/enclave /dev/sgx/provision; do
  [ -e "$device" ] || continue
  opens=no; [ -r "$device" ] && [ -w "$device" ] && opens=yes
  stat -c "device %n %a %g $opens" "$device"
done
server="/dev/tcp/$KUBERNETES_SERVICE_HOST/$KUBERNETES_SERVICE_PORT"
reached=closed; timeout {CONNECT_SECONDS} bash -c ": < $server" 2>&1 && reached=open
echo "network $reached"
echo end
"""
ENTRY = re.compile(r"^(node|now|network) ([a-z0-9.-]{1,253})$", re.MULTILINE)
DEVICE = re.compile(
    r"^device (/dev/sgx[a-z_/]{1,32}) ([0-7]{1,4}) ([0-9]{1,10}) (yes|no)$", re.MULTILINE | re.ASCII
)


def probe_pod(plan: PodPlan) -> dict[str, Any]:
    """Return the pod for the API: the one that measures, which looks around, with the page cache."""
    pod = measure_pod(plan)
    pod["metadata"]["labels"][ROLE_LABEL] = ROLE_CHECK
    pod["spec"]["serviceAccountName"] = EXECUTOR_ACCOUNT
    pod["spec"]["activeDeadlineSeconds"] = DEADLINE_SECONDS
    (container,) = pod["spec"]["containers"]
    pod["metadata"]["annotations"] = {**plan.annotations, **quote_annotations(plan)}
    del container["args"]
    container["command"] = ["bash", "-c", LOOK_SCRIPT]
    container["env"] = [
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
    ]
    if plan.epc_bytes is not None:
        for amounts in container["resources"].values():
            amounts[EPC_RESOURCE] = str(plan.epc_bytes)
    return pod


@dataclass(frozen=True)
class ProbeFacts:
    """What the pod met.

    :param node: where it ran.
    :param clock: of the node, seconds since 1970.
    :param devices: SGX devices as the enclave's user meets them.
    :param reached_network: whether it could connect to the API server, to which it has no right.
    """

    node: str
    clock: int
    devices: tuple[SgxDevice, ...]
    reached_network: bool


def probe_facts(output: str) -> ProbeFacts:
    """Read what the script printed; lines of other forms are ignored.

    :raises EnclaveError: ``probe-facts-missing`` when the script did not come to its end.
    """
    found = dict(ENTRY.findall(output))
    if found.keys() != {"node", "now", "network"} or not found["now"].isdecimal():
        raise EnclaveError(
            "The pod that looks at the cluster did not answer.",
            code="probe-facts-missing",
            got=output[-200:] or "nothing",
            expected="node, time and network",
            action="run the image by hand: kubectl run look --image <image> -- bash -c true",
        )
    return ProbeFacts(
        node=found["node"],
        clock=int(found["now"]),
        devices=tuple(
            SgxDevice(path, mode, int(group), opens == "yes")
            for path, mode, group, opens in DEVICE.findall(output)
        ),
        reached_network=found["network"] == "open",
    )
