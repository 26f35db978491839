"""Everything that a person needs to decide about one measurement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from confidential_spark.agent.protocol import TRUST_SIMULATED
from confidential_spark.core.errors import ConfidentialSparkError, VerificationError
from confidential_spark.core.platforms import Platform
from confidential_spark.enclave.image import EnclaveImage
from confidential_spark.image_build.ledger import entry_number, read_approvals
from confidential_spark.image_build.settings import ImageSettings, image_settings
from confidential_spark.settings import get_settings
from confidential_spark.ui.measurements.airflow_rows import announced_image, image_or_none, returned
from confidential_spark.ui.measurements.changes import commit_changes, input_changes, rows
from confidential_spark.ui.measurements.ledgers import image_policy
from confidential_spark.ui.measurements.uses import dags_on, named_image
from confidential_spark.ui.views.report_view import text
from confidential_spark.verification import load_policy

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from confidential_spark.ui.measurements.airflow_rows import Question
    from confidential_spark.ui.measurements.changes import CommitChanges, InputChanges, Row
    from confidential_spark.verification import Policy
    from confidential_spark.verification.policy.ledger import Ledger

MEASURED, COMPARED = "measure_enclave", "compare_with_ledger"
DIRTY = "-dirty"


@dataclass(frozen=True)
class Proposal:
    """The measured image about which a person is asked.

    :param policy: the label of the policy that the run has judged it by.
    """

    image: EnclaveImage
    revision: str
    policy: str

    @property
    def is_simulated(self) -> bool:
        """Whether it proves nothing about hardware."""
        return self.image.trust == TRUST_SIMULATED

    @property
    def is_dirty(self) -> bool:
        """Whether no commit has the sources that it was built from."""
        return self.revision.endswith(DIRTY)

    @property
    def command(self) -> str:
        """What rebuilds it in a clone of the repository; the question that it prints is then rejected."""
        policy = f"{ImageSettings.variable('policy')}={image_settings().policy}"
        return f"git checkout --detach {self.revision.removesuffix(DIRTY)}\n{policy} make image < /dev/null"


@dataclass(frozen=True)
class InUse:
    """What the proposed image would replace.

    :param where: how it is known.
    :param entry: the ledger's entry that approves it; 0 for none.
    :param revision: what that entry says; empty where it is not known.
    """

    image: EnclaveImage | None = None
    where: str = "Nothing is in use yet: this would be the first."
    entry: int = 0
    revision: str = ""


@dataclass(frozen=True)
class Comparison:
    """The two side by side.

    :param entries: how many entries the ledger has now.
    :param dags: the DAGs whose next run would use the image.
    """

    in_use: InUse
    rows: tuple[Row, ...]
    inputs: InputChanges
    commits: CommitChanges
    entries: int
    dags: tuple[str, ...]


@dataclass(frozen=True)
class Decision:
    """The page of one question.

    :param proposal: None where the run does not say what it has measured.
    :param comparison: None where there is nothing to compare; ``trouble`` says why.
    """

    question: Question
    proposal: Proposal | None
    comparison: Comparison | None
    trouble: str
    needs_second_person: bool

    @property
    def is_open(self) -> bool:
        """Whether an approval could be given here."""
        return self.question.is_open and self.proposal is not None and not self.trouble


def decision(session: Session, question: Question) -> Decision:
    """Return the page of a question."""
    proposal = proposal_of(session, question)
    second = image_settings().second_person
    if proposal is None:
        trouble = "The run does not say what it has measured. Do not approve it: trigger it again."
        return Decision(question, None, None, trouble, second)
    policy = image_policy()
    if policy is None or policy.ledger is None:
        trouble = "The policy of the images cannot be read on this server, or names no ledger."
        return Decision(question, proposal, None, trouble, second)
    if policy.trust != proposal.image.trust:
        trouble = f"The image is for {proposal.image.trust}, this server's policy {policy.label} is not."
        return Decision(question, proposal, None, trouble, second)
    try:
        ledger = read_approvals(policy)
    except VerificationError as error:
        trouble = f"The ledger is refused, so nothing can be approved [{error.code}]: {error.message}"
        return Decision(question, proposal, None, trouble, second)
    return Decision(question, proposal, compare(session, proposal, policy, ledger), "", second)


def proposal_of(session: Session, question: Question) -> Proposal | None:
    """Return the image that a run has measured, or None."""
    measured = returned(session, question.run, MEASURED)
    image = image_or_none(measured.get("image"))
    if image is None:
        return None
    compared = returned(session, question.run, COMPARED)
    return Proposal(image, text(measured.get("revision")), text(compared.get("policy")))


def compare(session: Session, proposal: Proposal, policy: Policy, ledger: Ledger) -> Comparison:
    """Return the proposed image beside the one in use."""
    now = in_use(session, policy.trust, ledger)
    revisions = (now.revision, proposal.revision)
    place = policy.approvals_path
    return Comparison(
        now,
        rows(now.image, proposal.image, revisions),
        input_changes(place, now.image, proposal.image),
        commit_changes(*revisions),
        len(ledger.approvals),
        concerned(policy),
    )


def in_use(session: Session, trust: str, ledger: Ledger) -> InUse:
    """Return what the job DAGs of a trust level use now; else the ledger's latest entry."""
    image = announced_image(session, trust)
    if image is not None:
        number = entry_number(image, ledger)
        revision = ledger.approvals[number - 1].git_revision if number else ""
        where = "The image that was announced last."
        return InUse(image, where, number, revision)
    if not ledger.approvals:
        return InUse()
    last, number = ledger.approvals[-1], len(ledger.approvals)
    approved = EnclaveImage(
        last.image_digest,
        last.image_digest,
        trust,
        last.mrenclave,
        last.mrsigner,
        last.product_id,
        last.svn,
        debuggable=False,
        inputs_sha256="",
    )
    where = "No image was announced here: this is the ledger's latest entry."
    return InUse(approved, where, number, last.git_revision)


def concerned(policy: Policy) -> tuple[str, ...]:
    """Return the job DAGs that take the announced image, and whose policy reads the same ledger."""
    found: list[str] = []
    for platform in Platform:
        try:
            its = load_policy(get_settings().policy_path(platform))
        except ConfidentialSparkError:
            continue
        takes_announced = named_image(platform)[0] is None
        if takes_announced and its.identities.needs_ledger and its.ledger == policy.ledger:
            found.extend(dags_on(platform))
    return tuple(found)
