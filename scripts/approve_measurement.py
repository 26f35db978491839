"""Put the simulated enclave's present measurement into `include/policies/simulation.yaml`.

Changing the agent or a job changes the measurement, and runs are refused until somebody says that the change
was meant. The change of the policy is reviewed with the change of the code.
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
ALLOWED = re.compile(r'(mrenclave:\s+allow: \[")([0-9a-f]{64})(?="\])')


def main() -> int:
    """Return 1 when ``--check`` finds another measurement than the policy allows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail when the policy is stale")
    check = parser.parse_args().check
    measured = simulated_measurement(ROOT / "include" / "jobs").mrenclave
    allowed = allowed_measurement(POLICY)
    if allowed == measured:
        print(f"{POLICY.name} allows the present measurement {measured}")
        return 0
    if check:
        print(f"ERROR: measured {measured}, {POLICY.name} allows {allowed}", file=sys.stderr)
        print(
            "       do: review the change of agent or jobs, then `make approve-measurement`", file=sys.stderr
        )
        return 1
    POLICY.write_text(ALLOWED.sub(rf"\g<1>{measured}", POLICY.read_text()))
    print(f"{POLICY.name} allowed {allowed}\n           now allows {measured}")
    return 0


def allowed_measurement(policy: Path) -> str:
    """Return the one measurement the policy allows.

    :raises SystemExit: the policy does not have exactly one.
    """
    found = ALLOWED.findall(policy.read_text())
    if len(found) != 1:
        raise SystemExit(f"ERROR: {policy} does not allow exactly one MRENCLAVE; edit it by hand")
    return str(found[0][1])


if __name__ == "__main__":
    raise SystemExit(main())
