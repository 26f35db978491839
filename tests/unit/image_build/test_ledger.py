"""The ledger's append half: durable, whole, and by one writer at a time."""

from __future__ import annotations

import os
from dataclasses import replace
from multiprocessing import get_context

import pytest
from confidential_spark.core.errors import VerificationError
from confidential_spark.image_build.ledger import append_approval
from confidential_spark.verification.policy.ledger import Approval, read_ledger

APPROVAL = Approval(
    approved_at="2026-11-01T00:00:00Z",
    approved_by="ada",
    image_digest="sha256:" + "ab" * 32,
    mrenclave="01" * 32,
    mrsigner="02" * 32,
    product_id=0,
    svn=1,
    git_revision="0123abc",
)


@pytest.fixture
def ledger(tmp_path):
    path = tmp_path / "approvals.jsonl"
    for name in ("ada", "grace", "edsger"):
        append_approval(path, replace(APPROVAL, approved_by=name))
    return path


@pytest.mark.parametrize(
    "approval",
    [
        replace(APPROVAL, approved_by=""),
        replace(APPROVAL, approved_at="now"),
        replace(APPROVAL, mrenclave="AB" * 32),
        replace(APPROVAL, image_digest="latest"),
        replace(APPROVAL, svn=-1),
        replace(APPROVAL, product_id=True),
        replace(APPROVAL, git_revision=""),
        replace(APPROVAL, approved_by="x" * 5000),
    ],
    ids=["nobody", "time", "mrenclave", "image", "svn", "product", "revision", "long"],
)
def test_invalid_approval_is_not_written(ledger, approval):
    before = ledger.read_bytes()
    with pytest.raises(VerificationError, match="ledger-malformed"):
        append_approval(ledger, approval)
    assert ledger.read_bytes() == before


def test_nothing_is_added_to_a_broken_ledger(ledger):
    broken = ledger.read_bytes().replace(b"grace", b"mallory")
    ledger.write_bytes(broken)
    with pytest.raises(VerificationError, match="ledger-broken"):
        append_approval(ledger, APPROVAL)
    assert ledger.read_bytes() == broken


def test_ledger_is_not_grown_beyond_what_is_read(ledger, monkeypatch):
    before = ledger.read_bytes()
    monkeypatch.setattr("confidential_spark.verification.policy.ledger.MAX_LEDGER_BYTES", len(before) + 10)
    with pytest.raises(VerificationError, match="ledger-malformed"):
        append_approval(ledger, APPROVAL)
    assert ledger.read_bytes() == before


def test_full_disk_leaves_the_ledger_as_it_was(ledger, monkeypatch):
    before = ledger.read_bytes()
    real_write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real_write(descriptor, data[:20]))
    with pytest.raises(OSError, match="20 of"):
        append_approval(ledger, APPROVAL)
    assert ledger.read_bytes() == before


def test_ledger_is_not_written_through_a_link(ledger, tmp_path):
    (tmp_path / "link").symlink_to(ledger)
    with pytest.raises(OSError, match=r"link|symbolic"):
        append_approval(tmp_path / "link", APPROVAL)


def append_many(path, name):
    for _ in range(10):
        append_approval(path, replace(APPROVAL, approved_by=name))


def test_writers_do_not_interleave(tmp_path):
    path = tmp_path / "approvals.jsonl"
    context = get_context("fork")
    writers = [context.Process(target=append_many, args=(path, name)) for name in ("ada", "grace")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    names = [approval.approved_by for approval in read_ledger(path).approvals]
    assert sorted(names) == ["ada"] * 10 + ["grace"] * 10
