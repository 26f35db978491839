"""What lets no run of a platform be verified: a policy that cannot be read, a ledger that is broken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from confidential_spark.core.errors import ConfidentialSparkError
from confidential_spark.core.platforms import Platform
from confidential_spark.image_build.ledger import read_approvals
from confidential_spark.settings import get_settings
from confidential_spark.verification import load_policy

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Fault:
    """One file that is missing, malformed or broken.

    :param file: its name.
    :param platforms: whose runs and results need it.
    """

    file: str
    code: str
    message: str
    platforms: tuple[Platform, ...]


def faults() -> tuple[Fault, ...]:
    """Return what is wrong with the policies of the platforms and their ledgers, once for each file."""
    found: dict[Path, Fault] = {}
    for platform in Platform:
        path = get_settings().policy_path(platform)
        try:
            policy = load_policy(path)
            path = policy.approvals_path if policy.identities.needs_ledger else path
            read_approvals(policy)
        except (ConfidentialSparkError, OSError) as error:
            concerned = (*found[path].platforms, platform) if path in found else (platform,)
            found[path] = _fault(path, error, concerned)
    return tuple(found.values())


def _fault(path: Path, error: Exception, platforms: tuple[Platform, ...]) -> Fault:
    if isinstance(error, ConfidentialSparkError):
        return Fault(path.name, error.code, error.message, platforms)
    # Its text would name a folder of this machine.
    return Fault(path.name, "file-unreadable", f"It cannot be read: {type(error).__name__}.", platforms)
