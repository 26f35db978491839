"""A capacity of enclave memory that no hardware stands behind."""

from __future__ import annotations

import json
import re

from confidential_spark.core.errors import InputError

EPC_RESOURCE = "sgx.intel.com/epc"
# Kubernetes' quantities, whole numbers only: extended resources cannot be divided.
QUANTITY = re.compile(r"(0|[1-9][0-9]{0,17})([KMGTP]i|[kMGTP])?")


def epc_patch(node: str, quantity: str) -> list[str]:
    """Return kubectl's arguments that give a node the capacity; 0 takes it away.

    :raises InputError: ``cluster-quantity`` for what is no capacity.
    """
    if QUANTITY.fullmatch(quantity) is None:
        raise InputError(
            "this is no capacity",
            code="cluster-quantity",
            got=quantity,
            expected="e.g. 64Mi, 67108864 or 0",
        )
    patch = {"status": {field: {EPC_RESOURCE: quantity} for field in ("capacity", "allocatable")}}
    return ["patch", "node", node, "--subresource=status", "--type=merge", f"--patch={json.dumps(patch)}"]
