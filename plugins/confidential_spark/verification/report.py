"""What a verification found: numbered steps with got and expected, and the facts that were proven."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Any

from confidential_spark import __version__
from confidential_spark.agent.protocol import SIMULATED_NOTICE, TRUST_SIMULATED
from confidential_spark.core.errors import ConfidentialSparkError, VerificationError, shorten
from confidential_spark.verification.refusals import CHECKING_SIDE, Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

NOT_COMPARED = "NOT COMPARED"
MAX_SHOWN_INPUTS = 100
_MAX_DETAIL = 400


class Status(StrEnum):
    """How one step ended."""

    PASS = "PASS"  # noqa: S105 - a verdict
    FAIL = "FAIL"
    NOT_RUN = "NOT RUN"


class Outcome(StrEnum):
    """What the verification as a whole says; only a year is stale: one of its months was published again."""

    VERIFIED = "verified"
    REFUSED = "refused"
    NOT_CHECKED = "not-checked"
    STALE = "stale"

    @property
    def word(self) -> str:
        """The verdict for people, e.g. ``NOT CHECKED``."""
        return self.name.replace("_", " ")


class NumberedStep(Enum):
    """A step of a verification; its number and title are an interface.

    :ivar number: in documents and reports.
    :ivar title: what the step shows.
    """

    def __init__(self, number: int, title: str) -> None:
        """Name the parts."""
        self.number = number
        self.title = title


class Step(NumberedStep):
    """The steps of a month's verification."""

    PREPARE = 0, "Policy, clock and expectations are usable"
    DECODE = 1, "Sizes, strict base64url and strict JSON"
    HEADER = 2, "Token header: RS256, issuer's key address, nothing else"
    SIGNATURE = 3, "Token signature by exactly one trusted key"
    TIME = 4, "Issuer, lifetime and freshness of the token"
    KIND = 5, "The token is an SGX attestation"
    IDENTITY = 6, "Enclave identity: not debuggable, allowed, not denied"
    BINDING = 7, "Token is bound to the runtime data"
    QUOTE_MATCH = 8, "Token and quote say the same"
    QUOTE = 9, "Quote: chain to the pinned root, TCB status, advisories, collateral"
    RUNTIME_DATA = 10, "Runtime data: nonce, run, job, public key"
    STATEMENT = 11, "Statement signed with the attested key and consistent"
    RESULTS = 12, "Every result file has its listed digest"
    TRUST = 13, "Trust level of evidence and policy agree"


@dataclass(frozen=True)
class StepResult:
    """One line of a report; ``code``, ``got`` and ``expected`` are set when the step failed."""

    number: int
    title: str
    status: Status
    code: str | None = None
    got: str | None = None
    expected: str | None = None
    detail: str = ""
    action: str | None = None

    def text(self) -> str:
        """Return the step for a terminal: a line, and below it what a failure got, expected and asks for."""
        note = self.detail and f" · {self.detail}"
        parts = {"got": self.got, "expected": self.expected, "do": self.action}
        more = [f"{name:>20}: {value}" for name, value in parts.items() if value is not None]
        return "\n".join([f"{self.number:>2} {self.status:<7} {self.title}{note}", *more])


@dataclass(frozen=True)
class ExecutorFacts:
    """What was proven of one executor.

    :param id: Spark's number for it; a replaced executor has another one.
    """

    id: str
    mrenclave: str
    quote_sha256: str
    token_id: str
    tcb_status: str


@dataclass(frozen=True)
class VerifiedFacts:
    """What the passed steps proved; a fact is None while the step that proves it has not passed."""

    issuer: str | None = None
    key_id: str | None = None
    token_id: str | None = None
    issued_at: str | None = None
    expires_at: str | None = None
    mrenclave: str | None = None
    mrsigner: str | None = None
    product_id: int | None = None
    svn: int | None = None
    quote_sha256: str | None = None
    tcb_status: str | None = None
    advisories: tuple[str, ...] | None = None
    fmspc: str | None = None
    tcb_evaluation_data_number: int | None = None
    collateral_expires_at: str | None = None
    root_spki_sha256: str | None = None
    nonce: str | None = None
    run_id: str | None = None
    job_name: str | None = None
    job_file_sha256: str | None = None
    arguments_sha256: str | None = None
    signing_key_thumbprint: str | None = None
    arguments: tuple[str, ...] | None = None
    inputs: tuple[dict[str, Any], ...] | None = None
    month: str | None = None
    image_digest: str | None = None
    started_at: str | None = None
    finished_at: str | None = None
    results: dict[str, str] | None = None
    executors: tuple[ExecutorFacts, ...] | None = None

    def to_compare(self) -> list[str]:
        """Return what a reader compares by eye, because nobody but the reader knows what was wanted."""
        inputs = self.inputs or ()
        lines = [
            f"job: {self.job_name}, file SHA-256 {self.job_file_sha256}",
            f"arguments: {json.dumps(self.arguments)}",
            f"month: {self.month or 'none'}",
            *(
                f"input: SHA-256 {i['sha256']}, {i['bytes']} bytes, {i['uri']}"
                for i in inputs[:MAX_SHOWN_INPUTS]
            ),
            f"run id: {self.run_id}",
            f"nonce: {self.nonce}",
            f"image digest: {self.image_digest}",
        ]
        more = len(inputs) - MAX_SHOWN_INPUTS
        return [*lines, f"inputs: {more} more, which --json lists"] if more > 0 else lines


class StepReport:
    """A report of numbered steps: whether all passed, and which one failed first."""

    steps: tuple[StepResult, ...]

    @property
    def passed(self) -> bool:
        """Whether every step passed."""
        return bool(self.steps) and all(step.status is Status.PASS for step in self.steps)

    @property
    def failure(self) -> StepResult | None:
        """The first step that failed."""
        return next((step for step in self.steps if step.status is Status.FAIL), None)

    @property
    def code(self) -> str | None:
        """The failed step's stable short code."""
        return self.failure.code if self.failure else None

    @property
    def outcome(self) -> Outcome:
        """Verified, refused, or not checked because of what the checking side handed over."""
        if self.passed:
            return Outcome.VERIFIED
        failed = self.failure
        unchecked = failed and (failed.number == 0 or failed.code in CHECKING_SIDE)
        return Outcome.NOT_CHECKED if unchecked else Outcome.REFUSED

    def raise_for_failure(self) -> None:
        """Do nothing when every step passed.

        :raises VerificationError: with the first failure's code, got and expected.
        """
        if self.passed:
            return
        crashed = Refusal.CHECK_CRASHED.value
        step = self.failure or StepResult(0, Step.PREPARE.title, Status.FAIL, crashed)
        message, code = f"Step {step.number} ({step.title}) failed: {step.detail}", step.code or crashed
        raise VerificationError(message, code=code, got=step.got, expected=step.expected, action=step.action)


@dataclass(frozen=True)
class VerificationReport(StepReport):
    """The verdict. Only :attr:`passed` means verified; everything else proves nothing.

    :param policy: name and version of the policy, or a stand-in when it could not be read.
    :param trust: ``hardware`` or ``simulated`` when verified, else None.
    :param policy_sha256: of the policy's file, where it came from one.
    :param judged_at: the clock that everything was judged by.
    :param not_compared: expectations that the caller left out.
    :param unused: what the caller gave and nothing needed.
    """

    policy: str
    steps: tuple[StepResult, ...]
    facts: VerifiedFacts = field(default_factory=VerifiedFacts)
    trust: str | None = None
    issuer: str | None = None
    policy_sha256: str | None = None
    judged_at: str | None = None
    not_compared: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()

    @classmethod
    def not_checked(cls, policy: str, error: Exception) -> VerificationReport:
        """Return the report of a verification that could not start."""

        def fail() -> str:
            raise error

        return cls(policy, run_checks([(Step.PREPARE, fail)]))

    def text(self) -> str:
        """Return the report for people: what was judged by, one line per step, and the verdict."""
        lines = [
            f"confidential-spark {__version__}, judged at {self.judged_at or 'no time'}",
            f"Policy: {shorten(self.policy)}, SHA-256 {self.policy_sha256 or 'of no file'}",
            f"Issuer: {self.issuer or 'none'}",
            *(f"NOT USED: {what}" for what in self.unused),
            *(step.text() for step in self.steps),
        ]
        if self.facts.results is not None and self.passed:
            lines += ["Compare by eye:", *(f"   {shorten(line, 600)}" for line in self.facts.to_compare())]
        return "\n".join([*lines, self._verdict()])

    def _verdict(self) -> str:
        if failed := self.failure:
            return f"{self.outcome.word} · step {failed.number}, {failed.code}: {failed.detail}"
        meaning = SIMULATED_NOTICE if self.trust == TRUST_SIMULATED else self.trust
        left_out = f" · {NOT_COMPARED}: {', '.join(self.not_compared)}" if self.not_compared else ""
        return f"VERIFIED · trust: {meaning}{left_out}"

    def without_trust(self) -> VerificationReport:
        """Return the report of a verification that proved nothing."""
        return replace(self, trust=None)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        steps = [asdict(step) | {"status": step.status.value} for step in self.steps]
        verdict = {"outcome": self.outcome.value, "passed": self.passed, "code": self.code}
        return asdict(self) | verdict | {"steps": steps, "version": __version__}


Check = tuple[NumberedStep, "Callable[[], str]"]


def run_checks(checks: Iterable[Check]) -> tuple[StepResult, ...]:
    """Run checks in order up to the first that fails; the rest is reported as not run.

    A check returns what it found, or raises. Any exception, foreseen or not, is that step's failure:
    a verifier that breaks down must not let anything through.
    """
    results: list[StepResult] = []
    failed = False
    for step, check in checks:
        result = StepResult(step.number, step.title, Status.NOT_RUN) if failed else _run(step, check)
        failed = failed or result.status is Status.FAIL
        results.append(result)
    return tuple(results)


def _run(step: NumberedStep, check: Callable[[], str]) -> StepResult:
    try:
        return StepResult(step.number, step.title, Status.PASS, detail=shorten(check(), _MAX_DETAIL))
    except ConfidentialSparkError as error:
        parts = (error.code, error.got, error.expected, shorten(error.message, _MAX_DETAIL), error.action)
    except Exception as error:
        got, expected = shorten(f"{type(error).__name__}: {error}"), "an input that the check can handle"
        parts = (Refusal.CHECK_CRASHED.value, got, expected, "The check itself failed.", None)
    return StepResult(step.number, step.title, Status.FAIL, *parts)
