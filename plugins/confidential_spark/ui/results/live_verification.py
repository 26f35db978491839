"""The verification that a page does when it is shown: its result is what the page claims.

A list shows many versions, so verdicts are kept for as long as nothing that they depend on has changed: the
version's files, the policy with its roots and ledger, and the job's program.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import sha256
from operator import itemgetter
from stat import S_ISDIR
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from confidential_spark.core.errors import ConfidentialSparkError, ResultError
from confidential_spark.jobs.job import publication_key
from confidential_spark.verification import VerificationReport, load_policy, verify_evidence
from confidential_spark.verification.evidence.bundle import MAX_EVIDENCE_BYTES
from confidential_spark.verification.evidence.claims import Claims
from confidential_spark.verification.policy.ledger import MAX_LEDGER_BYTES
from confidential_spark.verification.refusals import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from confidential_spark.jobs.job import SparkJob
    from confidential_spark.ui.results.published import PublishedResult
    from confidential_spark.ui.results.published_state import PublishedState
    from confidential_spark.verification import Policy
    from confidential_spark.verification.report import StepResult
    from confidential_spark.years.verify import YearReport

EVIDENCE = "evidence.json"
MAX_KEPT = 4096
MAX_FILES = 20_000
# Hashing takes about a second for each 500 MB: a list cannot wait for such a version, its own page can.
MAX_BYTES_IN_LIST = 64 * 1024 * 1024
MAX_BYTES_ON_PAGE = 1024 * 1024 * 1024
SLOW_MS = 500.0

State = tuple[tuple[Any, ...], ...]
VersionState = tuple[State, tuple[str, ...]]


@dataclass(frozen=True)
class Claim:
    """What a page says that a version is; its verification and its command are both made of this.

    :param month: ``YYYY-MM``, None for jobs without months.
    :param run_id: of the evidence when it can belong to this DAG and key, else what would be accepted.
    :param at: when the enclave signed, ISO time; empty when the evidence does not say.
    """

    month: str | None
    run_id: str
    at: str

    @property
    def moment(self) -> datetime:
        """The time to judge at: the end of the run, because tokens expire within hours."""
        return datetime.fromisoformat(self.at) if self.at else datetime.now(UTC)


@dataclass(frozen=True)
class Judgement:
    """What one verification found.

    :param checked_at: when the page verified.
    :param fresh: whether that was for this very page.
    :param in_lists: what lists say of the version, once one has said it: it follows from the same files.
    """

    report: VerificationReport
    claim: Claim
    checked_at: datetime
    elapsed_ms: float = 0.0
    fresh: bool = True
    in_lists: list[PublishedState] = field(default_factory=list, repr=False, compare=False)

    @property
    def counts(self) -> str:
        """How many steps passed, of how many."""
        return passed_of(self.report.steps)


@dataclass(frozen=True)
class YearJudgement:
    """What one verification of a year found.

    :param report: without a comparison with the published months, which is made when it is shown.
    :param made_at: when the year was added up, as its statement says.
    :param run_id: of the run that made it, ``DAG_ID/RUN_ID``, as its statement says.
    """

    report: YearReport
    made_at: datetime | None
    run_id: str
    synthetic: bool
    checked_at: datetime
    elapsed_ms: float = 0.0
    fresh: bool = True

    @property
    def counts(self) -> str:
        """How many steps passed, of how many."""
        return passed_of(self.report.steps)


def passed_of(steps: Sequence[StepResult]) -> str:
    """Return how many steps passed, of how many."""
    return f"{sum(step.status == 'PASS' for step in steps)}/{len(steps)}"


Found = TypeVar("Found", Judgement, YearJudgement)


class Kept(Generic[Found]):
    """The latest judgement of each version, with the state of everything it depends on."""

    def __init__(self) -> None:
        """Keep nothing yet."""
        self._kept: OrderedDict[tuple[Path | str, ...], tuple[object, Found]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, version: tuple[Path | str, ...], state: object) -> Found | None:
        """Return the judgement of a version, unless anything has changed since.

        :param version: its folder, what it was published under, and the run that it was said to be of.
        """
        with self._lock:
            kept = self._kept.get(version)
        return replace(kept[1], fresh=False) if kept and kept[0] == state else None

    def put(self, version: tuple[Path | str, ...], state: object, judgement: Found) -> None:
        """Keep a judgement; the one that was kept longest is forgotten."""
        with self._lock:
            self._kept[version] = (state, judgement)
            self._kept.move_to_end(version)
            while len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)

    def judged(
        self,
        version: tuple[Path | str, ...],
        state_now: Callable[[], VersionState],
        judge: Callable[[VersionState], Found],
    ) -> Found:
        """Judge a version now, unless that took so long that an earlier judgement of the same files must do.

        :param version: as for :meth:`get`.
        :param state_now: the state of everything that a judgement depends on.
        :param judge: what judges it; how long that takes is measured here.
        """
        state = state_now()
        kept = self.get(version, state)
        if kept and kept.elapsed_ms > SLOW_MS:
            return kept
        began = time.perf_counter()
        found = judge(state)
        judgement = replace(found, elapsed_ms=(time.perf_counter() - began) * 1000)
        if state == state_now():
            self.put(version, state, judgement)
        return judgement


class KeptJudgements(Kept[Judgement]):
    """Of months and single runs."""


KEPT = KeptJudgements()


class Judge:
    """Verifies the published versions of one DAG against its policy and its program as they are now.

    :param policy: path of the policy that the DAG's evidence must satisfy.
    :param jobs_dir: where the job's program is.
    """

    def __init__(
        self, dag_id: str, job: SparkJob, policy: Path, jobs_dir: Path, kept: KeptJudgements = KEPT
    ) -> None:
        """Read policy and program; what is wrong with them is every version's judgement."""
        self.dag_id, self.job, self.policy_path, self.job_file = (
            dag_id,
            job,
            policy,
            jobs_dir / f"{job.name}.py",
        )
        self._kept = kept
        self.policy: Policy | None = None
        self.fault: ConfidentialSparkError | None = None
        self._program = self._basis = ""
        try:
            self._program = sha256(job.file(jobs_dir).read_bytes()).hexdigest()
            self.policy = load_policy(policy)
            self._basis = policy_digest(policy, self.policy)
        except ConfidentialSparkError as error:
            self.fault = error
        except OSError as error:
            self.fault = unreadable(error)

    @property
    def keys_of(self) -> str:
        """The issuer whose signing keys a verifier has to fetch; empty when the policy pins them."""
        if self.policy is None or self.policy.attestation.token_signing_keys is not None:
            return ""
        return self.policy.attestation.issuer

    @property
    def program(self) -> str:
        """Hex SHA-256 of the job's program; empty where it cannot be read."""
        return self._program

    def known(self, result: PublishedResult, run_id: str = "") -> Judgement | None:
        """Return what was found when nothing has changed since; this opens none of the version's files.

        :param run_id: of the run that a page says made it; empty: the evidence's own.
        """
        return self.known_in(self.state(result), result, run_id)

    def known_in(self, state: VersionState, result: PublishedResult, run_id: str = "") -> Judgement | None:
        """Return what was found of the version in this state, see :meth:`known`."""
        return self._kept.get((result.folder, result.key, run_id), state)

    def judge(
        self, result: PublishedResult, run_id: str = "", *, limit: int = MAX_BYTES_ON_PAGE
    ) -> Judgement:
        """Verify the version now, unless it is so large that an earlier judgement of the same files must do.

        :param limit: bytes; a larger version is not checked.
        """

        def judge(state: VersionState) -> Judgement:
            claim = self.claim(result, run_id)
            report = self._verify(result, claim, size_of(state[0]), limit)
            return Judgement(report, claim, datetime.now(UTC))

        return self._kept.judged((result.folder, result.key, run_id), lambda: self.state(result), judge)

    def claim(self, result: PublishedResult, run_id: str = "") -> Claim:
        """Return what the page says that the version is."""
        claims = Claims.of(result.content(EVIDENCE, MAX_EVIDENCE_BYTES))
        month = result.key.partition("=")[2] if self.job.monthly else None
        own_run = f"{self.dag_id}/{run_id}" if run_id else self._own_run(result.key, claims.run_id)
        return Claim(month, own_run, claims.finished_at)

    def _own_run(self, key: str, signed_run: str) -> str:
        dag_id, _, run = signed_run.partition("/")
        belongs = dag_id == self.dag_id and (self.job.monthly or publication_key(self.job, None, run) == key)
        return signed_run if belongs else f"{self.dag_id}/{'' if self.job.monthly else key.partition('=')[2]}"

    def _verify(self, result: PublishedResult, claim: Claim, size: int, limit: int) -> VerificationReport:
        fault = self.fault or (too_large(size, limit) if size > limit else None)
        if fault or self.policy is None:
            return VerificationReport.not_checked(self.policy_path.name, fault or unreadable("nothing"))
        return verify_evidence(
            evidence=result.content(EVIDENCE, MAX_EVIDENCE_BYTES) or b"",
            results=result.folder,
            policy=self.policy,
            now=claim.moment,
            expected_run_id=claim.run_id,
            expected_month=claim.month,
            expected_job_file_sha256=self._program,
        )

    def state(self, result: PublishedResult) -> VersionState:
        """Return the state of everything that a judgement depends on: first that of the version's files."""
        basis = (self._basis, self._program, self.dag_id, result.key, str(self.fault or ""))
        return state_of(result.folder), basis


def policy_digest(path: Path, policy: Policy) -> str:
    """Return a digest of everything that the policy says, its root certificates and its ledger included."""
    digest = sha256(path.read_bytes())
    for root in policy.dcap.roots:
        digest.update(repr(root).encode())
    if policy.ledger is not None and policy.identities.needs_ledger:
        try:
            with policy.ledger.open("rb") as file:
                digest.update(file.read(MAX_LEDGER_BYTES + 1))
        except OSError as error:
            digest.update(repr(error).encode())
    return digest.hexdigest()


def state_of(folder: Path) -> State:
    """Return names, kinds, sizes and times of everything in a folder: any change of a file changes it.

    The time of change cannot be set back, as that of modification can.
    """
    found: list[tuple[Any, ...]] = []
    waiting: list[str | Path] = [folder]
    while waiting and len(found) <= MAX_FILES:
        waiting += _look_at(waiting.pop(), found)
    # By path alone: two entries of one path are the work of somebody who writes meanwhile.
    return tuple(sorted(found, key=itemgetter(0)))


def _look_at(place: str | Path, found: list[tuple[Any, ...]]) -> list[str]:
    """Add what is in a folder, and return the folders among it."""
    try:
        with os.scandir(place) as entries:
            listed = list(entries)
    except OSError as error:
        found.append((str(place), repr(error)))
        return []
    folders = []
    for entry in listed:
        try:
            stat = entry.stat(follow_symlinks=False)
        except OSError as error:
            found.append((entry.path, repr(error)))
            continue
        times = (stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)
        found.append((entry.path, stat.st_mode, stat.st_size, *times))
        if S_ISDIR(stat.st_mode):
            folders.append(entry.path)
    return folders


def size_of(state: State) -> int:
    """Return how many bytes a folder in this state holds."""
    return sum(entry[2] for entry in state if len(entry) > 2)


def too_large(size: int, limit: int) -> ConfidentialSparkError:
    """Return why a version is not verified while somebody waits for the page."""
    return ResultError(
        "The version is too large to be verified while a page is loaded.",
        code=Refusal.INPUT_TOO_LARGE.value,
        got=f"{size:,} bytes",
        expected=f"at most {limit:,}",
        action="verify it with the command",
    )


def unreadable(error: object) -> ConfidentialSparkError:
    """Return why nothing can be verified: a file of the checking side cannot be read."""
    return ResultError(
        "The policy or the job's program cannot be read.",
        code="file-unreadable",
        got=error,
        expected="a readable file",
        action="correct the deployment's files",
    )
