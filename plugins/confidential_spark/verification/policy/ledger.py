"""Approvals of enclave measurements: an append-only file in which every line vouches for the one before it.

Each line is one entry as canonical JSON; ``previous`` is the SHA-256 of the line before (64 zeros in the
first). Changing, removing or reordering a line breaks the chain. Cutting lines off the end does not: to see
that, keep the head (:attr:`Ledger.head`) elsewhere and give it as ``expected_head``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from confidential_spark.agent.protocol import canonical_json, sha256_hex
from confidential_spark.core.errors import VerificationError
from confidential_spark.verification.json_object import JsonObject
from confidential_spark.verification.refusals import Refusal, refuse, require_equal
from confidential_spark.verification.safe_files import read_regular

if TYPE_CHECKING:
    from pathlib import Path

NO_ENTRY = "0" * 64
MAX_LEDGER_BYTES = 8 * 1024 * 1024
MAX_LINE_BYTES = 4096


@dataclass(frozen=True)
class Approval:
    """One approved identity: who approved it, when, and what was measured.

    :param approved_at: UTC, ``2026-11-23T10:00:00Z``.
    :param image_digest: ``sha256:`` and 64 hex digits.
    :param git_revision: the commit the image was built from, ``-dirty`` when changed.
    :param requested_by: who started the build; None where nobody is known, and in entries of version 1.
    :param rebuilt: whether the approver entered the same measurement from a build of their own.
    """

    approved_at: str
    approved_by: str
    image_digest: str
    mrenclave: str
    mrsigner: str
    product_id: int
    svn: int
    git_revision: str
    requested_by: str | None = None
    rebuilt: bool = False


_NEWER = ("v", *Approval.__dataclass_fields__, "previous")
_MEMBERS = {1: tuple(name for name in _NEWER if name not in ("requested_by", "rebuilt")), 2: _NEWER}


@dataclass(frozen=True)
class Ledger:
    """A ledger whose chain was verified; ``head`` is the SHA-256 of its last line."""

    approvals: tuple[Approval, ...]
    head: str

    def approves(self, mrenclave: str, mrsigner: str, product_id: int, svn: int) -> bool:
        """Whether one entry approves exactly this identity."""
        identity = (mrenclave, mrsigner, product_id, svn)
        return any((a.mrenclave, a.mrsigner, a.product_id, a.svn) == identity for a in self.approvals)


def parse_ledger(data: bytes, *, expected_head: str | None = None) -> Ledger:
    """Read and verify a ledger.

    :raises VerificationError: ``ledger-malformed``, ``ledger-broken`` (naming the line),
        ``ledger-head-mismatch``.
    """
    if len(data) > MAX_LEDGER_BYTES:
        refuse(Refusal.LEDGER_MALFORMED, "The ledger is too large.", expected=f"{MAX_LEDGER_BYTES} bytes")
    if data and not data.endswith(b"\n"):
        refuse(Refusal.LEDGER_MALFORMED, "The ledger's last line is cut off.", got="no line end")
    approvals: list[Approval] = []
    head = NO_ENTRY
    for number, line in enumerate(data.split(b"\n")[:-1], start=1):
        approvals.append(_entry(line, number, head))
        head = sha256_hex(line)
    if expected_head is not None:
        require_equal(Refusal.LEDGER_HEAD_MISMATCH, head, expected_head)
    return Ledger(tuple(approvals), head)


def read_ledger(path: Path, *, expected_head: str | None = None) -> Ledger:
    """Read and verify a ledger file.

    :raises VerificationError: ``ledger-missing``, and as :func:`parse_ledger`.
    """
    try:
        data = read_regular(path, MAX_LEDGER_BYTES)
    except (OSError, ValueError) as error:
        action = "give the ledger of approved measurements (--ledger)"
        refuse(Refusal.LEDGER_MISSING, got=f"{path}: {error}", expected="a file of approvals", action=action)
    return parse_ledger(data, expected_head=expected_head)


def _entry(line: bytes, number: int, head: str) -> Approval:
    try:
        entry = JsonObject.parse(line, "entry", MAX_LINE_BYTES, Refusal.LEDGER_MALFORMED)
        require_equal(entry.code, canonical_json(entry.members), line, "it is not canonical JSON")
        entry.only(_MEMBERS[entry.integer("v", 1, 2)])
        approval = Approval(
            approved_at=entry.text("approved_at", r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"),
            approved_by=entry.text("approved_by", max_length=256),
            image_digest=entry.text("image_digest", r"sha256:[0-9a-f]{64}"),
            mrenclave=entry.hexadecimal("mrenclave", 32),
            mrsigner=entry.hexadecimal("mrsigner", 32),
            product_id=entry.integer("product_id", 0, 0xFFFF),
            svn=entry.integer("svn", 0, 0xFFFF),
            git_revision=entry.text("git_revision", r"[0-9a-f]{7,64}(-dirty)?"),
            requested_by=entry.optional_text("requested_by") if "requested_by" in entry.members else None,
            rebuilt="rebuilt" in entry.members and entry.boolean("rebuilt"),
        )
        previous = entry.hexadecimal("previous", 32)
    except VerificationError as error:
        message = f"Line {number} of the ledger is not an entry: {error.message}"
        refuse(Refusal.LEDGER_MALFORMED, message, got=error.got, expected=error.expected)
    if previous != head:
        message = f"Line {number} of the ledger does not follow from the line before it."
        action = "restore the ledger from its backup and find out who changed it"
        refuse(Refusal.LEDGER_BROKEN, message, got=previous, expected=head, action=action)
    return approval
