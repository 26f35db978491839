"""Evidence in, PASS or FAIL out: the public face, handed on lazily.

What `confidential-spark verify` imports is at most 3,000 lines of code; tests/architecture holds the number.
DAG files and hooks import `verification.strict_json` and must load neither pydantic nor dcap-qvl by it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from confidential_spark.agent.protocol import JobIdentity
    from confidential_spark.verification.policy.policy import Policy, load_policy
    from confidential_spark.verification.report import Outcome, VerificationReport
    from confidential_spark.verification.verify import verify_attestation, verify_evidence

__all__ = ["JobIdentity", "Outcome", "Policy", "VerificationReport"]
__all__ += ["load_policy", "verify_attestation", "verify_evidence"]
_HOMES = {
    "JobIdentity": "agent.protocol",
    "Outcome": "verification.report",
    "Policy": "verification.policy.policy",
    "VerificationReport": "verification.report",
    "load_policy": "verification.policy.policy",
    "verify_attestation": "verification.verify",
    "verify_evidence": "verification.verify",
}


def __getattr__(name: str) -> object:
    """Import a public name where it lives, on its first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"confidential_spark.{_HOMES[name]}"), name)
