"""What a verification judges against: policy, clock, expectations, approvals; and the facts it has found."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from types import NoneType
from typing import Any

from confidential_spark.agent.protocol import NONCE_BYTES, JobIdentity
from confidential_spark.verification import strict_json
from confidential_spark.verification.policy.ledger import Ledger, read_ledger
from confidential_spark.verification.policy.policy import Policy, as_policy
from confidential_spark.verification.refusals import Refusal, refuse
from confidential_spark.verification.report import (
    Check,
    VerificationReport,
    VerifiedFacts,
    run_checks,
)

PolicySource = Policy | Mapping[str, Any] | str | bytes | os.PathLike[str]
JsonSource = bytes | str | Mapping[str, Any]
LedgerSource = Ledger | str | os.PathLike[str]

IMAGE_DIGEST = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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
        """Refuse wrong types.

        :raises VerificationError: ``expectation-invalid``, ``clock-invalid``.
        """
        nonce_fits = self.nonce is None or (isinstance(self.nonce, bytes) and len(self.nonce) == NONCE_BYTES)
        for name, fits, expected in (
            ("expected_nonce", nonce_fits, f"{NONCE_BYTES} bytes or None"),
            ("expected_run_id", self.run_id is None or isinstance(self.run_id, str), "a string or None"),
            ("expected_job", self.job is None or isinstance(self.job, JobIdentity), "a JobIdentity or None"),
            (
                "claimed_trust",
                self.claimed_trust is None or isinstance(self.claimed_trust, str),
                "a string or None",
            ),
            ("expected_month", self.month is None or isinstance(self.month, str), "a string or None"),
            (
                "expected_job_file_sha256",
                self.job_file_sha256 is None or isinstance(self.job_file_sha256, str),
                "a string or None",
            ),
            ("seen_nonces", _is_container(self.seen_nonces), "a set, list or other container, not text"),
            (
                "seen_token_ids",
                _is_container(self.seen_token_ids),
                "a set, list or other container, not text",
            ),
            (
                "expected_image_digest",
                self._image_digest_fits(),
                "sha256:, 64 lower-case hex digits, or None",
            ),
        ):
            if not fits:
                refuse(
                    Refusal.EXPECTATION_INVALID, f"{name} is unusable.", got="another type", expected=expected
                )
        if self.run_started_at is not None:
            require_clock(self.run_started_at, "run_started_at")

    def _image_digest_fits(self) -> bool:
        digest = self.image_digest
        return digest is None or (isinstance(digest, str) and IMAGE_DIGEST.fullmatch(digest) is not None)


@dataclass
class Context:
    """One verification at work."""

    policy_source: PolicySource
    now: datetime
    expectations: Expectations
    ledger_source: LedgerSource | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def policy(self) -> Policy:
        """The policy, read on first use."""
        return as_policy(self.policy_source)

    def prepare(self) -> str:
        """Step 0: accept usable arguments.

        :raises ConfidentialSparkError: ``policy-…``, ``clock-invalid``, ``expectation-invalid``.
        """
        require_clock(self.now, "now")
        self.expectations.require_usable()
        if not isinstance(self.ledger_source, (Ledger, str, os.PathLike, NoneType)):
            refuse(
                Refusal.EXPECTATION_INVALID,
                "ledger is unusable.",
                got=type(self.ledger_source).__name__,
                expected="a Ledger, a path or None",
            )
        return self.policy.label

    def read_ledger(self) -> Ledger:
        """Return the approvals: those given, else those of the policy's file.

        :raises VerificationError: ``ledger-…``.
        """
        source = self.policy.approvals_path if self.ledger_source is None else self.ledger_source
        return source if isinstance(source, Ledger) else read_ledger(Path(source))

    def report(self, checks: list[Check]) -> VerificationReport:
        """Run the checks; step 0 is shown only when it fails."""
        with warnings.catch_warnings():
            # What cryptography finds odd in a stranger's certificate is no message to whoever verifies.
            warnings.simplefilter("ignore")
            steps = run_checks(checks)
        if steps[0].code is None:
            steps = steps[1:]
        known = "policy" in self.__dict__
        report = VerificationReport(
            policy=self.policy.label if known else "unreadable policy",
            steps=steps,
            facts=VerifiedFacts(**self.facts),
            trust=self.policy.trust if known else None,
        )
        return report if report.passed else report.without_trust()


def require_clock(moment: object, name: str) -> None:
    """Accept a datetime with a time zone, from 1970 on.

    :raises VerificationError: ``clock-invalid``.
    """
    usable = isinstance(moment, datetime) and moment.utcoffset() is not None
    if not usable or not _EPOCH <= moment < datetime.max.replace(tzinfo=UTC):  # type: ignore[operator]
        refuse(
            Refusal.CLOCK_INVALID,
            f"{name} is not a usable time.",
            got=repr(moment),
            expected="a datetime with a time zone, e.g. datetime.now(UTC)",
        )


def json_text(value: object, what: str, malformed: Refusal, max_bytes: int) -> str | bytes:
    """Return a caller's JSON, given as text, bytes or mapping, for the strict reader.

    :raises VerificationError: ``input-type``, ``input-too-large``, ``malformed``.
    """
    if isinstance(value, Mapping):
        value = strict_json.dumps(dict(value), what=what, malformed=malformed)
    if not isinstance(value, (str, bytes)):
        refuse(
            Refusal.INPUT_TYPE, f"The {what} has the wrong type.", got=type(value).__name__, expected="JSON"
        )
    require_size(value, what, max_bytes)
    return value


def require_bytes(value: object, what: str, max_bytes: int) -> bytes:
    """Return bytes of an acceptable size.

    :raises VerificationError: ``input-type``, ``input-too-large``.
    """
    if not isinstance(value, bytes):
        refuse(
            Refusal.INPUT_TYPE, f"The {what} has the wrong type.", got=type(value).__name__, expected="bytes"
        )
    require_size(value, what, max_bytes)
    return value


def require_size(value: bytes | str, what: str, max_bytes: int) -> None:
    """Accept at most ``max_bytes`` bytes or characters.

    :raises VerificationError: ``input-too-large``.
    """
    if len(value) > max_bytes:
        refuse(
            Refusal.INPUT_TOO_LARGE,
            f"The {what} is too large.",
            got=f"{len(value)} bytes",
            expected=f"at most {max_bytes}",
        )


def _is_container(value: object) -> bool:
    return isinstance(value, Container) and not isinstance(value, (str, bytes, bytearray))
