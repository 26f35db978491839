"""What only a pod knows of its launch, put into the launch file before the enclave starts.

Runs in the container, outside the enclave: the agent takes the file as hostile input, wherever it comes from.
Source: Spark 3.5 `BasicExecutorFeatureStep`, which gives executors their task in these variables.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

ADDRESS_VARIABLE = "POD_IP"
EXECUTOR_VARIABLES = {
    "app_id": "SPARK_APPLICATION_ID",
    "cores": "SPARK_EXECUTOR_CORES",
    "driver_url": "SPARK_DRIVER_URL",
    "executor_id": "SPARK_EXECUTOR_ID",
    "memory": "SPARK_EXECUTOR_MEMORY",
    "pod_name": "SPARK_EXECUTOR_POD_NAME",
    "resource_profile_id": "SPARK_RESOURCE_PROFILE_ID",
}
EXECUTOR = "executor"
BAD_LAUNCH = 65


def completed(launch: Mapping[str, Any], command: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the launch with the pod's address and, for an executor, with what Spark tells it.

    :raises KeyError: the pod lacks a variable.
    """
    known: dict[str, Any] = {"pod_ip": environment[ADDRESS_VARIABLE]}
    if command == EXECUTOR:
        known["executor"] = {name: environment[variable] for name, variable in EXECUTOR_VARIABLES.items()}
    return {**launch, **known}


def main(command: str, path: Path) -> int:
    """Complete the file in place; 65 when it, or a variable, is not there."""
    try:
        launch = completed(json.loads(path.read_bytes()), command, os.environ)
        path.write_text(json.dumps(launch), encoding="utf-8")
    except (OSError, ValueError, TypeError, KeyError) as error:
        print(
            f"[launch-incomplete] The pod does not know its part of the launch · got: {error!r}"
            " · do: start the pod through the operator, executors through Spark",
            file=sys.stderr,
        )
        return BAD_LAUNCH
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
