"""The ledgers of approvals as pages show them: verified whenever they are shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from confidential_spark.agent.protocol import sha256_hex
from confidential_spark.core.errors import ConfidentialSparkError, VerificationError
from confidential_spark.image_build.settings import image_settings
from confidential_spark.settings import get_settings
from confidential_spark.ui.measurements.uses import refusal
from confidential_spark.verification import load_policy
from confidential_spark.verification.attestation.identity import EnclaveClaims
from confidential_spark.verification.policy.ledger import MAX_LEDGER_BYTES, NO_ENTRY, Ledger, parse_ledger
from confidential_spark.verification.safe_files import read_regular

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from confidential_spark.core.platforms import Platform
    from confidential_spark.ui.measurements.uses import Use
    from confidential_spark.verification import Policy
    from confidential_spark.verification.policy.ledger import Approval

MAX_ENTRIES = 100


@dataclass(frozen=True)
class Entry:
    """One approval.

    :param sha256: of its line; the next line has it as ``previous``.
    :param platforms: where it is what runs now.
    :param refused: the code with which every policy of this ledger refuses it now; empty where one accepts.
    """

    number: int
    approval: Approval
    sha256: str
    platforms: tuple[Platform, ...]
    refused: str


@dataclass(frozen=True)
class Trouble:
    """Why a ledger proves nothing.

    :param intact: how many entries stand before the first one that is wrong.
    """

    code: str
    message: str
    got: str
    expected: str
    intact: int


@dataclass(frozen=True)
class LedgerView:
    """One ledger.

    :param name: of its file.
    :param policies: what refers to it, by name.
    :param count: how many entries it has, of which the latest are shown.
    :param entries: the latest first; none of a ledger that is broken.
    """

    name: str
    trust: str
    policies: tuple[str, ...]
    count: int
    head: str
    entries: tuple[Entry, ...]
    trouble: Trouble | None

    @property
    def older(self) -> int:
        """How many entries are not shown."""
        return self.count - len(self.entries) if self.entries else 0


def ledgers(uses: Sequence[Use]) -> tuple[LedgerView, ...]:
    """Return each ledger that a platform's policy, or the images' own, refers to."""
    policies = [use.policy for use in uses if use.policy]
    if (own := image_policy()) and own.name not in {policy.name for policy in policies}:
        policies.append(own)
    files: dict[Path, list[Policy]] = {}
    for policy in policies:
        if policy.identities.needs_ledger and policy.ledger:
            files.setdefault(policy.ledger, []).append(policy)
    return tuple(ledger_view(path, its, uses) for path, its in files.items())


def image_policy() -> Policy | None:
    """Return the policy for which images are built; None where it cannot be read."""
    try:
        return load_policy(get_settings().policy_file(image_settings().policy))
    except ConfidentialSparkError:
        return None


def ledger_view(path: Path, policies: Sequence[Policy], uses: Iterable[Use]) -> LedgerView:
    """Read and verify a ledger; one that is not there yet is empty."""
    names, trust = tuple(dict.fromkeys(policy.name for policy in policies)), policies[0].trust
    try:
        data = read_regular(path, MAX_LEDGER_BYTES)
    except FileNotFoundError:
        return LedgerView(path.name, trust, names, 0, NO_ENTRY, (), None)
    except (OSError, ValueError) as error:
        # Its text would name a folder of this machine.
        trouble = Trouble("ledger-missing", "The ledger cannot be read.", type(error).__name__, "a file", 0)
        return LedgerView(path.name, trust, names, 0, "", (), trouble)
    try:
        ledger = parse_ledger(data)
    except VerificationError as error:
        trouble = Trouble(error.code, error.message, str(error.got), str(error.expected), intact(data))
        return LedgerView(path.name, trust, names, 0, "", (), trouble)
    here = [use for use in uses if use.policy and use.policy.ledger == path]
    shown = entries(data, ledger, policies, here)
    return LedgerView(path.name, trust, names, len(ledger.approvals), ledger.head, shown, None)


def entries(
    data: bytes, ledger: Ledger, policies: Sequence[Policy], uses: Sequence[Use]
) -> tuple[Entry, ...]:
    """Return the latest entries, the latest first."""
    lines = data.split(b"\n")
    numbers = range(len(ledger.approvals), max(0, len(ledger.approvals) - MAX_ENTRIES), -1)
    return tuple(
        Entry(
            number,
            ledger.approvals[number - 1],
            sha256_hex(lines[number - 1]),
            tuple(use.platform for use in uses if use.entry == number),
            refused_by_all(ledger.approvals[number - 1], policies, ledger),
        )
        for number in numbers
    )


def refused_by_all(approval: Approval, policies: Sequence[Policy], ledger: Ledger) -> str:
    """Return the code with which the policies refuse an approved enclave; empty where one accepts it."""
    identity = EnclaveClaims(
        debuggable=False,
        mrenclave=approval.mrenclave,
        mrsigner=approval.mrsigner,
        product_id=approval.product_id,
        svn=approval.svn,
    )
    codes = [refusal(identity, policy, ledger) for policy in policies]
    return codes[0] if all(codes) else ""


def intact(data: bytes) -> int:
    """Return how many entries of a broken ledger stand before the first one that is wrong."""
    lines = data.split(b"\n")[:-1]
    low, high = 0, len(lines)
    while low < high:
        middle = (low + high + 1) // 2
        try:
            parse_ledger(b"".join(line + b"\n" for line in lines[:middle]))
        except VerificationError:
            high = middle - 1
        else:
            low = middle
    return low
