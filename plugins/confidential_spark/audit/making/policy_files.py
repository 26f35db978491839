"""The policy as the deployment uses it, with the roots and the ledger that it names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from confidential_spark.audit.manifest import POLICY_FOLDER
from confidential_spark.core import strict_yaml
from confidential_spark.core.errors import ConfigurationError
from confidential_spark.verification import load_policy
from confidential_spark.verification.policy.ledger import MAX_LEDGER_BYTES
from confidential_spark.verification.safe_files import read_regular

if TYPE_CHECKING:
    from confidential_spark.verification import Policy

MAX_ROOT_BYTES = 64 * 1024


@dataclass(frozen=True)
class PolicyFiles:
    """A policy and its files by their names in a bundle.

    :param name: of the policy's own file.
    :param ledger: name of the ledger; None where the policy names none, or it is not there.
    """

    policy: Policy
    name: str
    ledger: str | None
    files: dict[str, bytes]


def policy_files(path: Path) -> PolicyFiles:
    """Read a policy and what it names.

    :raises PolicyError: as :func:`.load_policy`.
    :raises ConfigurationError: ``audit-policy-paths``: it names a file that is not below its own folder.
    :raises OSError: a root is unreadable.
    """
    policy = load_policy(path)
    data = read_regular(path, strict_yaml.MAX_BYTES)
    value = strict_yaml.loads(data)
    name = f"{POLICY_FOLDER}/{path.name}"
    files = {name: data}
    for root in value["dcap"]["roots"]:
        if not root.lstrip().startswith("-----BEGIN"):
            files[_inside(root)] = read_regular(path.parent / root, MAX_ROOT_BYTES)
    ledger = None
    if policy.ledger is not None and policy.ledger.is_file():
        ledger = _inside(value["ledger"])
        files[ledger] = read_regular(policy.ledger, MAX_LEDGER_BYTES)
    return PolicyFiles(policy, name, ledger, files)


def _inside(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise ConfigurationError(
            "The policy names a file that is not below its own folder, so it cannot be handed over as it is.",
            code="audit-policy-paths",
            got=name,
            expected="paths below the policy's folder",
            action="move the file beside the policy, and name it by a relative path",
        )
    return f"{POLICY_FOLDER}/{path}"
