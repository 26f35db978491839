"""What a platform check found: rows, their table and the verdict. Checks nothing itself."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from confidential_spark.agent.protocol import SIMULATED_NOTICE, TRUST_HARDWARE
from confidential_spark.core.errors import ConfidentialSparkError, EnclaveError, shorten
from confidential_spark.core.failures import failure_named

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

NOT_READY = "platform-not-ready"
NOT_LOOKED_AT = "not looked at"
GIBIBYTE = 1024**3
# A token must not be older than its run; the run's start is this machine's time, the token's the provider's.
CLOCK_WARNING_SECONDS = 5.0
CLOCK_FAILURE_SECONDS = 60.0


class Status(StrEnum):
    """What a row means for the next run.

    ``NOT HERE`` is no kind of success: the thing is absent, or could not be looked at, and the policy of the
    platform can do without it.
    """

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"
    NOT_HERE = "NOT HERE"


@dataclass(frozen=True)
class CheckRow:
    """One thing that was looked at.

    :param name: stable short name; a heading of `docs/runbooks/platform-check.md`.
    :param expected: what would have been OK.
    :param action: what the reader should do; empty for OK, and where another row says it.
    """

    name: str
    status: Status
    got: str
    expected: str
    action: str = ""

    @classmethod
    def judge(cls, name: str, got: object, expected: str, *, passed: bool, action: str) -> CheckRow:
        """Return an OK or FAIL row."""
        return cls._of(name, Status.OK if passed else Status.FAIL, got, expected, action)

    @classmethod
    def advise(cls, name: str, got: object, expected: str, *, passed: bool, action: str) -> CheckRow:
        """Return an OK or WARN row: runs work without it, less well."""
        return cls._of(name, Status.OK if passed else Status.WARN, got, expected, action)

    @classmethod
    def require_for_hardware(
        cls, name: str, got: object, expected: str, *, trust: str, passed: bool, action: str
    ) -> CheckRow:
        """Return an OK row, or without it FAIL for a hardware policy and NOT HERE for a simulated one."""
        if trust == TRUST_HARDWARE:
            return cls.judge(name, got, expected, passed=passed, action=action)
        missing = f"for hardware enclaves: {action}"
        return cls._of(name, Status.OK if passed else Status.NOT_HERE, got, expected, missing)

    @classmethod
    def absent(cls, name: str, got: object, expected: str, action: str) -> CheckRow:
        """Return a NOT HERE row."""
        return cls._of(name, Status.NOT_HERE, got, expected, action)

    @classmethod
    def refused(cls, name: str, error: ConfidentialSparkError, expected: str) -> CheckRow:
        """Return the FAIL row for what an error of this project says."""
        got = f"[{error.code}] {error.got or error.message}"
        return cls._of(name, Status.FAIL, got, error.expected or expected, error.action or error.message)

    @classmethod
    def _of(cls, name: str, status: Status, got: object, expected: str, action: str) -> CheckRow:
        return cls(name, status, shorten(str(got)), expected, "" if status is Status.OK else action)


def attempt(name: str, expected: str, check: Callable[[], CheckRow]) -> CheckRow:
    """Return the check's row; what it refuses with becomes a FAIL row, so that the others are still made."""
    try:
        return check()
    except ConfidentialSparkError as error:
        return CheckRow.refused(name, error, expected)


def attempt_all(
    names: Sequence[str], expected: str, check: Callable[[], Iterable[CheckRow]]
) -> list[CheckRow]:
    """Return the check's rows; what it refuses with becomes a FAIL row, and NOT HERE rows after that.

    :param names: of all rows that the check gives, in its order.
    """
    rows: list[CheckRow] = []
    try:
        rows.extend(check())
    except ConfidentialSparkError as error:
        refused, *others = names[len(rows) :]
        rows += [CheckRow.refused(refused, error, expected), *not_looked_at(others, refused)]
    return rows


@dataclass(frozen=True)
class SgxDevice:
    """One device as the enclave's user meets it in a container.

    :param mode: octal permissions, e.g. ``660``.
    :param group: number of the owning group.
    :param opens: whether the enclave's user may read and write it.
    """

    path: str
    mode: str
    group: int
    opens: bool


@dataclass(frozen=True)
class PlatformReport:
    """All rows of one platform.

    :param trust: of the platform's policy; what a ready platform is ready for.
    :param checked_at: ISO time in UTC.
    """

    platform: str
    trust: str
    checked_at: str
    rows: tuple[CheckRow, ...]

    @property
    def failed(self) -> tuple[CheckRow, ...]:
        """The rows that would fail a run."""
        return self.having(Status.FAIL)

    def having(self, status: Status) -> tuple[CheckRow, ...]:
        """Return the rows of that status."""
        return tuple(row for row in self.rows if row.status is status)

    @property
    def is_ready(self) -> bool:
        """Whether a run can start now: something was looked at, and nothing of it failed."""
        return not self.is_absent and not self.failed

    @property
    def is_absent(self) -> bool:
        """Whether there is no such platform here, so that nothing at all was checked."""
        return all(row.status is Status.NOT_HERE for row in self.rows)

    @property
    def counts(self) -> str:
        """How many rows have each status; says of NOT HERE that it is not passed."""
        parts = [f"{len(self.having(status))} {status}" for status in Status]
        note = " (not passed)" if self.having(Status.NOT_HERE) else ""
        return " · ".join(parts) + note

    @property
    def verdict(self) -> str:
        """One sentence: ready for what, or not ready and why."""
        if self.is_absent:
            return f"{self.platform} is not here: nothing was checked"
        if not self.is_ready:
            return f"{self.platform} cannot run enclaves now: {', '.join(row.name for row in self.failed)}"
        if self.trust == TRUST_HARDWARE:
            return f"{self.platform} can run hardware enclaves now"
        return f"{self.platform} can run simulated enclaves now · {SIMULATED_NOTICE}"

    def table(self) -> str:
        """Return the report for people: a head line, a line per row and what to do about it, the verdict."""
        status_width = max(len(status) for status in Status)
        name_width = max((len(row.name) for row in self.rows), default=0)
        margin = " " * (status_width + name_width + 4)
        lines = [
            f"PLATFORM CHECK  {self.platform} · policy for {self.trust} enclaves · {self.checked_at}",
            "",
        ]
        for row in self.rows:
            lines.append(f"{row.status.value:<{status_width}}  {row.name:<{name_width}}  {row.got}")
            if row.action:
                lines += [f"{margin}expected: {row.expected}", f"{margin}do: {row.action}"]
        return "\n".join([*lines, "", f"VERDICT  {self.verdict}", f"         {self.counts}"])

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON object; also the XCom value."""
        rows = [asdict(row) | {"status": row.status.value} for row in self.rows]
        return {
            "platform": self.platform,
            "trust": self.trust,
            "checked_at": self.checked_at,
            "ready": self.is_ready,
            "verdict": self.verdict,
            "counts": self.counts,
            "rows": rows,
        }

    def require_ready(self) -> None:
        """Raise when a run would fail.

        :raises EnclaveError: ``platform-not-ready``, with the failed rows.
        """
        if self.is_ready:
            return
        row = failure_named(NOT_READY)
        raise EnclaveError(
            "The platform cannot run enclaves now.",
            code=NOT_READY,
            got="; ".join(f"{failed.name}: {failed.got}" for failed in self.failed) or self.verdict,
            expected="no FAIL row",
            action=f"the table in the log says what to do for each row; {row.runbook if row else ''}",
        )


def not_looked_at(names: Iterable[str], because: str) -> list[CheckRow]:
    """Return NOT HERE rows for what another row's failure kept from being checked."""
    got = f"{NOT_LOOKED_AT}: correct {because} first"
    return [CheckRow(name, Status.NOT_HERE, got, f"{because} OK") for name in names]


def gib(size: int) -> str:
    """Return a size for people, e.g. ``7.8 GiB``."""
    return f"{size / GIBIBYTE:.1f} GiB"
