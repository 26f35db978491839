"""Where a verified result comes from, in one line: input files → job file in an enclave → result files.

Everything about files and enclave is what the page's verification has proven; who approved the measurement is
what policy and ledger say, and who triggered the run what Airflow's database says.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from confidential_spark.core.errors import ConfidentialSparkError
from confidential_spark.image_build.ledger import entry_number
from confidential_spark.verification.policy.ledger import read_ledger

if TYPE_CHECKING:
    from confidential_spark.ui.results.live_verification import Judge, Judgement
    from confidential_spark.verification import Policy
    from confidential_spark.verification.report import VerifiedFacts

MOST_FILES = 100


@dataclass(frozen=True)
class ProvenFile:
    """One file whose digest the enclave signed.

    :param where: its address; for a result the name within the version.
    :param size: bytes; None where the evidence does not say.
    """

    name: str
    where: str
    sha256: str
    size: int | None = None


@dataclass(frozen=True)
class Provenance:
    """Where a result comes from.

    :param job: the job file that the enclave executed.
    :param inputs: the first :data:`MOST_FILES` of them.
    :param approved: who or what approved the measurement.
    :param triggered: who or what started the run; empty when Airflow no longer knows the run.
    """

    job: ProvenFile
    arguments: tuple[str, ...]
    inputs: tuple[ProvenFile, ...]
    more_inputs: int
    input_bytes: int
    results: tuple[ProvenFile, ...]
    mrenclave: str
    approved: str
    signed: str
    triggered: str = ""

    @property
    def input_files(self) -> int:
        """How many input files there were."""
        return len(self.inputs) + self.more_inputs


def provenance(judge: Judge, judgement: Judgement) -> Provenance | None:
    """Return where a result comes from, or None unless every step of its verification has passed."""
    if not judgement.report.passed or judge.policy is None:
        return None
    facts = judgement.report.facts
    inputs = facts.inputs or ()
    return Provenance(
        job=ProvenFile(judge.job_file.name, judge.job_file.name, facts.job_file_sha256 or ""),
        arguments=facts.arguments or (),
        inputs=tuple(_input(each["uri"], each["sha256"], each["bytes"]) for each in inputs[:MOST_FILES]),
        more_inputs=max(0, len(inputs) - MOST_FILES),
        input_bytes=sum(each["bytes"] for each in inputs),
        results=tuple(
            ProvenFile(name, name, digest) for name, digest in sorted((facts.results or {}).items())
        ),
        mrenclave=facts.mrenclave or "",
        approved=approval(judge.policy, facts),
        signed=facts.finished_at or "",
    )


def approval(policy: Policy, facts: VerifiedFacts) -> str:
    """Return who approved the measurement and when; a policy that lists it names nobody."""
    named = f"policy {policy.name}, version {policy.version}"
    if policy.ledger is None or not policy.identities.needs_ledger:
        return f"{named}, which lists the measurement and names no person"
    try:
        ledger = read_ledger(policy.ledger)
    except ConfidentialSparkError as error:
        return f"{named}, by its ledger, which cannot be read: {error.message}"
    number = entry_number(facts, ledger)
    if not number:
        return f"{named}, which lists the signer and names no person"
    count, entry = len(ledger.approvals), ledger.approvals[number - 1]
    return f"{entry.approved_by}, {entry.approved_at}, entry {number} of {count} in the ledger"


def _input(uri: str, sha256: str, size: int) -> ProvenFile:
    return ProvenFile(PurePosixPath(urlsplit(uri).path).name or uri, uri, sha256, size)
