"""Add the simulated enclave's present measurement to those that `include/policies/simulation.yaml` allows.

Changing the agent or a job changes the measurement, and runs are refused until somebody says that the change
was meant. The change of the policy is reviewed with the change of the code. Older measurements stay allowed:
months that were published under them stay verifiable.
"""

from __future__ import annotations

import argparse
import re
import sys
from typing import TYPE_CHECKING

from confidential_spark.agent.attestation.measurement import simulated_measurement

from scripts.local_airflow import ROOT

if TYPE_CHECKING:
    from pathlib import Path

POLICY = ROOT / "include" / "policies" / "simulation.yaml"
ALLOWED = re.compile(r"(?<=  mrenclave:\n    allow:\n)(?:      - [0-9a-f]{64}\n)+")


def main() -> int:
    """Return 1 when ``--check`` finds a measurement that the policy does not allow."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail when the policy is stale")
    check = parser.parse_args().check
    measured = simulated_measurement(ROOT / "include" / "jobs").mrenclave
    allowed = allowed_measurements(POLICY)
    if measured in allowed:
        print(f"{POLICY.name} allows the present measurement {measured}")
        return 0
    if check:
        print(f"ERROR: measured {measured}, {POLICY.name} allows {', '.join(allowed)}", file=sys.stderr)
        print(
            "       do: review the change of agent or jobs, then `make approve-measurement`", file=sys.stderr
        )
        return 1
    allow(POLICY, measured)
    print(f"{POLICY.name} now also allows {measured}")
    return 0


def allowed_measurements(policy: Path) -> list[str]:
    """Return the measurements the policy allows, the newest last.

    :raises SystemExit: the policy has no such list.
    """
    found = ALLOWED.search(policy.read_text())
    if found is None:
        raise SystemExit(f"ERROR: {policy} has no list of allowed MRENCLAVEs; edit it by hand")
    return re.findall(r"[0-9a-f]{64}", found[0])


def allow(policy: Path, measurement: str) -> None:
    """Add a measurement at the end of the policy's list."""
    policy.write_text(ALLOWED.sub(lambda found: f"{found[0]}      - {measurement}\n", policy.read_text()))


if __name__ == "__main__":
    raise SystemExit(main())
