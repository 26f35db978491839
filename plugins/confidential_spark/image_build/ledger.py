"""The append half of the ledger of approvals; `verification.policy.ledger` reads and verifies it."""

from __future__ import annotations

import fcntl
import os
from dataclasses import asdict
from typing import TYPE_CHECKING

from confidential_spark.agent.protocol import canonical_json
from confidential_spark.verification.policy.ledger import (
    NO_ENTRY,
    Approval,
    Ledger,
    parse_ledger,
    read_ledger,
)

if TYPE_CHECKING:
    from pathlib import Path

    from confidential_spark.enclave.image import EnclaveImage
    from confidential_spark.verification import Policy
    from confidential_spark.verification.report import VerifiedFacts


def append_approval(path: Path, approval: Approval) -> Ledger:
    """Add an approval to the ledger, durably and never beside another writer; the file is made if absent.

    The existing chain is verified first: nothing is added to a broken ledger. A crash in the middle of the
    write leaves a cut-off last line, which every later read refuses.

    :raises VerificationError: as :func:`parse_ledger`, and ``ledger-malformed`` for an invalid approval.
    :raises OSError: it cannot be written.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    with os.fdopen(descriptor, "r+b", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        data = file.read()
        ledger = parse_ledger(data)
        line = canonical_json({"v": 2, **asdict(approval), "previous": ledger.head})
        grown = parse_ledger(data + line + b"\n")
        _write_whole(file.fileno(), line + b"\n", len(data))
    return grown


def read_approvals(policy: Policy) -> Ledger:
    """Return the policy's ledger; before the first approval there is none.

    :raises VerificationError: ``ledger-…`` for one that is broken.
    """
    if policy.identities.needs_ledger and policy.approvals_path.exists():
        return read_ledger(policy.approvals_path)
    return Ledger((), NO_ENTRY)


def approval_of(image: EnclaveImage, ledger: Ledger) -> Approval | None:
    """Return the latest approval of exactly this identity, if there is one."""
    number = entry_number(image, ledger)
    return ledger.approvals[number - 1] if number else None


def entry_number(enclave: EnclaveImage | VerifiedFacts, ledger: Ledger) -> int:
    """Return the latest entry that approves exactly this identity, from 1; 0 for none."""
    identity = (enclave.mrenclave, enclave.mrsigner, enclave.product_id, enclave.svn)
    numbers = range(len(ledger.approvals), 0, -1)
    entries = ((number, ledger.approvals[number - 1]) for number in numbers)
    return next(
        (number for number, a in entries if (a.mrenclave, a.mrsigner, a.product_id, a.svn) == identity), 0
    )


def _write_whole(descriptor: int, data: bytes, size_before: int) -> None:
    try:
        written = os.write(descriptor, data)
        if written != len(data):
            raise OSError(f"only {written} of {len(data)} bytes were written")
        os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, size_before)
        raise
