"""One check of a run's results, as it stands in the log, the report and XCom."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from confidential_spark.core.errors import ConfidentialSparkError, shorten

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Severity(StrEnum):
    """Whether a failed check stops publishing."""

    ERROR = "error"
    WARN = "warn"


@dataclass(frozen=True)
class CheckResult:
    """A check's verdict.

    :param got: what was found, short.
    :param expected: what would have passed.
    :param detail: what the check looks at, or why it could not.
    """

    name: str
    severity: Severity
    passed: bool
    got: str
    expected: str
    detail: str = ""

    @classmethod
    def compare(cls, name: str, got: object, expected: object, detail: str = "") -> CheckResult:
        """Return an error-severity check that passes when both are equal."""
        return cls(name, Severity.ERROR, got == expected, _short(got), _short(expected), detail)

    @classmethod
    def compare_members(
        cls, name: str, got: Mapping[Any, Any], expected: Mapping[Any, Any], detail: str = ""
    ) -> CheckResult:
        """Return an error-severity check that passes when both are equal, and shows what differs."""
        keys = {*got, *expected}
        differing = sorted((key for key in keys if got.get(key) != expected.get(key)), key=str)
        if not differing:
            return cls(name, Severity.ERROR, True, f"{len(keys)} equal", "all equal", detail)
        found, wanted = ({key: side.get(key) for key in differing[:2]} for side in (got, expected))
        note = f"{len(differing)} of {len(keys)} differ"
        return cls(
            name,
            Severity.ERROR,
            False,
            _short(found),
            _short(wanted),
            f"{detail} · {note}" if detail else note,
        )

    @classmethod
    def at_most(cls, name: str, got: float, limit: float, detail: str = "") -> CheckResult:
        """Return an error-severity check that passes when ``got`` is not above ``limit``."""
        return cls(name, Severity.ERROR, got <= limit, f"{got:.6g}", f"at most {limit:g}", detail)

    @classmethod
    def impossible(cls, name: str, error: Exception) -> CheckResult:
        """Return the failed check that could not look at what it needs."""
        if isinstance(error, ConfidentialSparkError):
            return cls(
                name,
                Severity.ERROR,
                False,
                error.got or "",
                error.expected or "",
                f"[{error.code}] {error.message}",
            )
        return cls(
            name, Severity.ERROR, False, shorten(repr(error)), "a check that can be made", "not checked"
        )

    @property
    def blocks(self) -> bool:
        """Whether this check forbids publishing."""
        return not self.passed and self.severity is Severity.ERROR

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON object."""
        return asdict(self) | {"severity": self.severity.value}

    def line(self) -> str:
        """Return the check as one log line."""
        verdict = "PASS" if self.passed else "FAIL" if self.blocks else "WARN"
        note = f" · {self.detail}" if self.detail else ""
        compared = f"got {self.got}" if self.passed else f"got {self.got} · expected {self.expected}"
        return f"{verdict} {self.name}: {compared}{note}"


def summarise(results: Iterable[CheckResult]) -> str:
    """Return the checks as one short phrase, e.g. ``34 of 36 checks passed, 1 warning``."""
    listed = list(results)
    warnings = sum(not result.passed and not result.blocks for result in listed)
    text = f"{sum(result.passed for result in listed)} of {len(listed)} checks passed"
    return f"{text}, {warnings} warning{'s' if warnings > 1 else ''}" if warnings else text


def _short(value: object) -> str:
    return shorten(value if isinstance(value, str) else repr(value))
