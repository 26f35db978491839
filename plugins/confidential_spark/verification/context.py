"""What a verification judges against: policy, clock, expectations, approvals; and the facts it has found."""

from __future__ import annotations

import os
import re
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from types import NoneType
from typing import Any

from confidential_spark.agent.protocol import MONTH_PATTERN, NONCE_BYTES, JobIdentity
from confidential_spark.verification import report as reports
from confidential_spark.verification import strict_json
from confidential_spark.verification.attestation.maa_token import utc_text
from confidential_spark.verification.policy.ledger import Ledger, read_ledger
from confidential_spark.verification.policy.policy import Policy, as_policy
from confidential_spark.verification.refusals import Refusal, refuse, require_size

PolicySource = Policy | Mapping[str, Any] | str | bytes | os.PathLike[str]
JsonSource = bytes | str | Mapping[str, Any]
LedgerSource = Ledger | str | os.PathLike[str]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ANYTHING, _SHA256 = r"(?s).*", "[0-9a-f]{64}"


@dataclass(frozen=True)
class Expectations:
    """What the caller knows about the run; None is not compared, and the report says so.

    :param nonce: the 32 bytes that were minted for this run.
    :param seen_nonces: nonces used before, as bytes, or as text or ASCII bytes in base64, base64url or hex
        (in one case); the run's own must not be among them.
    :param seen_token_ids: ``jti`` of tokens used before.
    :param image_digest: ``sha256:`` and 64 lower-case hex digits.
    :param month: ``YYYY-MM``, the month that the results must be about.
    :param job_file_sha256: 64 lower-case hex digits, where the whole job identity is not known.
    """

    nonce: bytes | None = None
    run_id: str | None = None
    job: JobIdentity | None = None
    run_started_at: datetime | None = None
    seen_nonces: Container[object] = ()
    seen_token_ids: Container[object] = ()
    image_digest: str | None = None
    claimed_trust: str | None = None
    month: str | None = None
    job_file_sha256: str | None = None

    def require_usable(self) -> None:
        """Refuse wrong types, and what no evidence could ever equal.

        :raises VerificationError: ``expectation-invalid``, ``clock-invalid``.
        """
        nonce_fits = isinstance(self.nonce, bytes) and len(self.nonce) == NONCE_BYTES
        for name, value, fits, expected in (
            ("expected_nonce", self.nonce, nonce_fits, f"{NONCE_BYTES} bytes"),
            ("expected_job", self.job, isinstance(self.job, JobIdentity), "a JobIdentity"),
            ("seen_nonces", *_container(self.seen_nonces)),
            ("seen_token_ids", *_container(self.seen_token_ids)),
            ("expected_run_id", *_text(self.run_id, _ANYTHING)),
            ("claimed_trust", *_text(self.claimed_trust, _ANYTHING)),
            ("expected_month", *_text(self.month, MONTH_PATTERN)),
            ("expected_job_file_sha256", *_text(self.job_file_sha256, _SHA256)),
            ("expected_image_digest", *_text(self.image_digest, f"sha256:{_SHA256}")),
        ):
            if value is not None and not fits:
                got = value if isinstance(value, str) else f"another {type(value).__name__}"
                refuse(Refusal.EXPECTATION_INVALID, f"{name} is unusable.", got=got, expected=expected)
        if self.run_started_at is not None:
            require_clock(self.run_started_at, "run_started_at")


@dataclass
class Context:
    """One verification at work."""

    policy_source: PolicySource
    now: datetime
    expectations: Expectations
    ledger_source: LedgerSource | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    not_compared: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)

    @cached_property
    def policy(self) -> Policy:
        """The policy, read on first use."""
        return as_policy(self.policy_source)

    @cached_property
    def ledger(self) -> Ledger:
        """The approvals: those given, else those of the policy's file; read on first use.

        :raises VerificationError: ``ledger-…``.
        """
        source = self.policy.approvals_path if self.ledger_source is None else self.ledger_source
        return source if isinstance(source, Ledger) else read_ledger(Path(source))

    def prepare(self) -> str:
        """Step 0: accept usable arguments.

        :raises ConfidentialSparkError: ``policy-…``, ``clock-invalid``, ``expectation-invalid``.
        """
        require_clock(self.now, "now")
        self.expectations.require_usable()
        if not isinstance(self.ledger_source, (Ledger, str, os.PathLike, NoneType)):
            got, expected = type(self.ledger_source).__name__, "a Ledger, a path or None"
            refuse(Refusal.EXPECTATION_INVALID, "ledger is unusable.", got=got, expected=expected)
        if self.ledger_source is not None and not self.policy.identities.needs_ledger:
            self.unused.append("the ledger: the policy lists what it allows")
        return self.policy.label

    def compared(self, name: str, expected: object, shown: str = "") -> str:
        """Say whether there was an expectation to compare with; the verdict names those that are missing."""
        if expected is None:
            self.not_compared.append(name)
        return f"{shown or name} {reports.NOT_COMPARED if expected is None else 'as expected'}"

    def report(self, checks: list[reports.Check]) -> reports.VerificationReport:
        """Run the checks; step 0 is shown only when it fails."""
        steps = reports.run_checks(checks)
        policy = self.policy if "policy" in self.__dict__ else None
        report = reports.VerificationReport(
            policy=policy.label if policy else "unreadable policy",
            steps=steps if steps[0].code else steps[1:],
            facts=reports.VerifiedFacts(**self.facts),
            trust=policy.trust if policy else None,
            issuer=policy.attestation.issuer if policy else None,
            policy_sha256=policy.sha256 if policy else None,
            judged_at=None if steps[0].code else utc_text(int(self.now.timestamp())),
            not_compared=tuple(self.not_compared),
            unused=tuple(self.unused),
        )
        return report if report.passed else report.without_trust()


def require_clock(moment: object, name: str) -> None:
    """Accept a datetime with a time zone, from 1970 on.

    :raises VerificationError: ``clock-invalid``.
    """
    usable = isinstance(moment, datetime) and moment.utcoffset() is not None
    if not usable or not _EPOCH <= moment < datetime.max.replace(tzinfo=UTC):  # type: ignore[operator]
        expected = "a datetime with a time zone, e.g. datetime.now(UTC)"
        refuse(Refusal.CLOCK_INVALID, f"{name} is not a usable time.", got=repr(moment), expected=expected)


def json_text(value: object, what: str, malformed: Refusal, max_bytes: int) -> str | bytes:
    """Return a caller's JSON, given as text, bytes or mapping, for the strict reader.

    :raises VerificationError: ``input-type``, ``input-too-large``, ``malformed``.
    """
    if isinstance(value, Mapping):
        value = strict_json.dumps(dict(value), what=what, malformed=malformed)
    if not isinstance(value, (str, bytes)):
        message = f"The {what} has the wrong type."
        refuse(Refusal.INPUT_TYPE, message, got=type(value).__name__, expected="JSON")
    require_size(value, what, max_bytes)
    return value


def require_bytes(value: object, what: str, max_bytes: int) -> bytes:
    """Return bytes of an acceptable size.

    :raises VerificationError: ``input-type``, ``input-too-large``.
    """
    if not isinstance(value, bytes):
        message = f"The {what} has the wrong type."
        refuse(Refusal.INPUT_TYPE, message, got=type(value).__name__, expected="bytes")
    require_size(value, what, max_bytes)
    return value


def _text(value: object, form: str) -> tuple[object, bool, str]:
    fits = isinstance(value, str) and re.fullmatch(form, value, re.ASCII) is not None
    return value, fits, f"text of the form {form}, or None"


def _container(value: object) -> tuple[object, bool, str]:
    fits = isinstance(value, Container) and not isinstance(value, (str, bytes, bytearray))
    return "" if value is None else value, fits, "a set, list or other container, not text"
