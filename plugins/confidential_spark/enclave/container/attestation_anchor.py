"""Whom the enclaves of an image trust: written once, when the enclave is built, and measured with it.

    python -m confidential_spark.enclave.container.attestation_anchor \\
        --provider FILE --occlum-json FILE --sign-key FILE

prints the file that `agent/executors/peer.py` reads. Driver and executors judge each other by it.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from confidential_spark.core.errors import ConfidentialSparkError, ConfigurationError
from confidential_spark.enclave.container.sign_key import SignKey

if TYPE_CHECKING:
    from collections.abc import Sequence

PROVIDER_MEMBERS = {"issuer", "token_signing_keys"}


def anchor(provider: dict[str, Any], occlum_json: dict[str, Any], mrsigner: str) -> dict[str, Any]:
    """Return the anchor.

    :param provider: issuer and pinned keys, as the policy of the image's trust level names them.
    :param occlum_json: the enclave's configuration, which states product id and SVN.
    :param mrsigner: who signs the enclave, lower-case hex.
    :raises ConfigurationError: ``anchor-input-invalid``.
    """
    try:
        metadata = occlum_json["metadata"]
        numbers = {"product_id": metadata["product_id"], "svn": metadata["version_number"]}
    except (KeyError, TypeError) as error:
        raise _invalid("Occlum.json", repr(error)) from error
    if set(provider) != PROVIDER_MEMBERS:
        raise _invalid("the provider's file", str(sorted(provider)))
    return {**provider, "mrsigner": mrsigner, **numbers}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the anchor; 1 when a file is not usable."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    for name in ("--provider", "--occlum-json", "--sign-key"):
        parser.add_argument(name, type=Path, required=True)
    options = parser.parse_args(arguments)
    try:
        made = anchor(
            _read(options.provider), _read(options.occlum_json), SignKey.read(options.sign_key).mrsigner
        )
    except ConfidentialSparkError as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(made, sort_keys=True))
    return 0


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise _invalid(path.name, str(error)) from error
    if not isinstance(document, dict):
        raise _invalid(path.name, type(document).__name__)
    return document


def _invalid(what: str, got: str) -> ConfigurationError:
    return ConfigurationError(
        f"The enclaves' anchor cannot be made of {what}.",
        code="anchor-input-invalid",
        got=got,
        expected=f"Occlum.json with its metadata, and a provider with {sorted(PROVIDER_MEMBERS)}",
        action="run DAG enclave_image again, which makes both files",
    )


if __name__ == "__main__":
    sys.exit(main())
