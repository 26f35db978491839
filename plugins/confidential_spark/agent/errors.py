"""How the agent fails: an exit code for programs, got/expected/action for people."""

from __future__ import annotations

from enum import IntEnum

TEXT_LIMIT = 200


class ExitCode(IntEnum):
    """Why the agent ended; the failure table gives each a name and a cure.

    75 is BSD's EX_TEMPFAIL: the only one a retry can help.
    """

    OK = 0
    BAD_LAUNCH = 65
    INPUT_UNUSABLE = 66
    INTERNAL = 70
    ATTESTATION_REFUSED = 71
    QUOTE_FAILED = 72
    SERVICE_UNAVAILABLE = 75
    SPARK_FAILED = 80
    RESULTS_INCOMPLETE = 81
    INPUT_CHANGED = 82
    TERMINATED = 143


class AgentError(Exception):
    """The agent stops: nothing was signed and no envelope was written.

    The text has the form of the project's other errors: the failure table looks for ``[code]`` in the log.

    :param message: what happened, one sentence.
    :param exit_code: how the process ends; unless said otherwise, what was given at launch is to blame.
    :param code: stable short code.
    :param got: the offending value, never secret.
    :param expected: what would have been accepted.
    :param action: what the reader should do next.
    """

    def __init__(
        self,
        message: str,
        *,
        exit_code: ExitCode = ExitCode.BAD_LAUNCH,
        code: str,
        got: object = None,
        expected: object = None,
        action: str | None = None,
    ) -> None:
        """Join the parts to one line."""
        self.exit_code = exit_code
        self.code = code
        super().__init__(one_line(code, message, got, expected, action))


def one_line(code: str, message: str, got: object, expected: object, action: str | None) -> str:
    """Return the whole story in one line: code, message, got, expected, action."""
    parts = [f"[{code}] {message}"]
    parts += [f"got: {shorten(got)}"] if got is not None else []
    parts += [f"expected: {shorten(expected)}"] if expected is not None else []
    return " · ".join([*parts, f"do: {action}"] if action else parts)


def shorten(value: object, limit: int = TEXT_LIMIT) -> str:
    """Return ``value`` as one line of at most ``limit`` printable characters, whatever a host put into it."""
    head = (value if isinstance(value, str) else repr(value))[: limit + 1]
    head = head if head.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in head)
    return head if len(head) <= limit else head[: limit - 1] + "…"
