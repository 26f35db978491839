"""`measure`: the identity of a signed enclave, read from its binary and compared with `occlum print`.

Runs beside the enclave, in the image, by ``python3 -m confidential_spark.enclave.container.signed_enclave``.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from confidential_spark.agent.protocol import SIMULATED_NOTICE, TRUST_HARDWARE, TRUST_SIMULATED
from confidential_spark.core.errors import ConfidentialSparkError, EnclaveError
from confidential_spark.enclave.container import sigstruct

if TYPE_CHECKING:
    from collections.abc import Sequence

    from confidential_spark.enclave.container.sigstruct import SignedIdentity


def read_identity(enclave: Path, mrenclave: str, mrsigner: str) -> SignedIdentity:
    """Return what the signed binary says of the enclave that `occlum print` names.

    :param enclave: `libocclum-libos.signed.so`.
    :param mrenclave: as `occlum print mrenclave` says, hex.
    :param mrsigner: as `occlum print mrsigner` says, hex.
    :raises EnclaveError: ``signed-enclave-unreadable``, ``sigstruct-invalid`` or ``measurement-mismatch``.
    """
    try:
        binary = enclave.read_bytes()
    except OSError as error:
        raise EnclaveError(
            "The signed enclave cannot be read.",
            code="signed-enclave-unreadable",
            got=error.strerror,
            expected=str(enclave),
            action="build and sign the enclave",
        ) from error
    identities = [sigstruct.parse(candidate) for candidate in sigstruct.find(binary)]
    for identity in identities:
        if (identity.mrenclave, identity.mrsigner) == (mrenclave, mrsigner):
            return identity
    raise EnclaveError(
        "The signed enclave and `occlum print` disagree.",
        code="measurement-mismatch",
        got="; ".join(f"{i.mrenclave} by {i.mrsigner}" for i in identities) or "no SIGSTRUCT",
        expected=f"{mrenclave} by {mrsigner}",
        action="build and sign the enclave again",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the identity as one line of JSON; 1 when there is none to trust."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--enclave", type=Path, required=True, help="the signed enclave")
    parser.add_argument("--mrenclave", required=True, help="what `occlum print mrenclave` says")
    parser.add_argument("--mrsigner", required=True, help="what `occlum print mrsigner` says")
    options = parser.parse_args(arguments)
    try:
        identity = read_identity(options.enclave, options.mrenclave, options.mrsigner)
    except ConfidentialSparkError as error:
        print(error, file=sys.stderr)
        return 1
    # Only the simulated image contains the simulation, and it contains nothing else.
    simulated = find_spec("confidential_spark.simulation") is not None
    trust = TRUST_SIMULATED if simulated else TRUST_HARDWARE
    notice = {"notice": SIMULATED_NOTICE} if simulated else {}
    print(json.dumps(asdict(identity) | {"trust": trust} | notice, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
