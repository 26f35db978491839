"""Errors that say what happened, what was expected and what to do next."""

from __future__ import annotations

# One function for all messages: the agent's go through the same logs and pages.
from confidential_spark.agent.errors import one_line
from confidential_spark.agent.errors import shorten as shorten


class ConfidentialSparkError(Exception):
    """Base of every error this project raises on purpose.

    :param message: what happened, one sentence.
    :param code: stable short code for programs, e.g. ``token-expired``.
    :param got: the offending value, shortened and never secret.
    :param expected: what would have been accepted.
    :param action: what the reader should do next.
    :param retryable: whether the same call may succeed later without a change.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        got: object = None,
        expected: object = None,
        action: str | None = None,
        retryable: bool = False,
    ) -> None:
        """Keep the parts apart, so a report can show them in columns."""
        self.message = message
        self.code = code
        self.got = None if got is None else shorten(got)
        self.expected = None if expected is None else shorten(expected)
        self.action = action
        self.retryable = retryable
        super().__init__(self.diagnostics())

    def diagnostics(self) -> str:
        """Return the whole story in one line: code, message, got, expected, action."""
        return one_line(self.code, self.message, self.got, self.expected, self.action)


class ConfigurationError(ConfidentialSparkError):
    """A setting, connection or machine is not fit for the job; a retry cannot help."""


class InputError(ConfidentialSparkError):
    """The month, its location or its files are not usable."""


class PolicyError(ConfidentialSparkError):
    """A policy file or a policy decision; never retried."""


class VerificationError(ConfidentialSparkError):
    """Evidence did not verify; never retried."""


class AttestationServiceError(ConfidentialSparkError):
    """Microsoft Azure Attestation (or its loopback stand-in) did not give a usable answer."""


class EnclaveError(ConfidentialSparkError):
    """The enclave, or Spark inside it, failed."""


class ResultError(ConfidentialSparkError):
    """Results failed a check or could not be stored."""
