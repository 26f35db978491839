"""The append half of the ledger of approvals; `verification.policy.ledger` reads it."""

from __future__ import annotations

import fcntl
import os
from dataclasses import asdict
from typing import TYPE_CHECKING

from confidential_spark.agent.protocol import canonical_json
from confidential_spark.verification.policy.ledger import Approval, Ledger, parse_ledger

if TYPE_CHECKING:
    from pathlib import Path


def append_approval(path: Path, approval: Approval) -> Ledger:
    """Add an approval to the ledger, durably and never beside another writer; the file is made if absent.

    The existing chain is verified first: nothing is added to a broken ledger. A crash in the middle of the
    write leaves a cut-off last line, which every later read refuses.

    :raises VerificationError: as :func:`parse_ledger`, and ``ledger-malformed`` for an invalid approval.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    with os.fdopen(descriptor, "r+b", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        data = file.read()
        ledger = parse_ledger(data)
        line = canonical_json({"v": 1, **asdict(approval), "previous": ledger.head})
        grown = parse_ledger(data + line + b"\n")
        _write_whole(file.fileno(), line + b"\n", len(data))
    return grown


def _write_whole(descriptor: int, data: bytes, size_before: int) -> None:
    try:
        written = os.write(descriptor, data)
        if written != len(data):
            raise OSError(f"only {written} of {len(data)} bytes were written")
        os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, size_before)
        raise
