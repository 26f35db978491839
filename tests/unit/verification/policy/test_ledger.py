"""The ledger of approvals: verified at every read."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from confidential_spark.agent.protocol import canonical_json, sha256_hex
from confidential_spark.core.errors import VerificationError
from confidential_spark.image_build.ledger import append_approval
from confidential_spark.verification.policy.ledger import (
    NO_ENTRY,
    Approval,
    parse_ledger,
    read_ledger,
)
from hypothesis import given
from hypothesis import strategies as st

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


def code(data: bytes, **options) -> tuple[str, str]:
    with pytest.raises(VerificationError) as refusal:
        parse_ledger(data, **options)
    return refusal.value.code, refusal.value.message


def rechained(data: bytes) -> bytes:
    """Forge: chain all lines anew."""
    head, lines = NO_ENTRY, []
    for line in data.splitlines():
        lines.append(canonical_json(json.loads(line) | {"previous": head}))
        head = sha256_hex(lines[-1])
    return b"\n".join(lines) + b"\n"


def test_approvals_are_read_back_in_order(ledger):
    read = read_ledger(ledger)
    assert [approval.approved_by for approval in read.approvals] == ["ada", "grace", "edsger"]
    assert read.head == sha256_hex(ledger.read_bytes().splitlines()[-1])
    assert read_ledger(ledger, expected_head=read.head) == read
    assert read.approves("01" * 32, "02" * 32, 0, 1)
    assert not read.approves("01" * 32, "02" * 32, 0, 2)


def test_entries_of_version_1_are_read_before_those_of_version_2(ledger):
    newer = {"v", "requested_by", "rebuilt"}
    older = [json.loads(line) for line in ledger.read_bytes().splitlines()]
    plain = [{name: entry[name] for name in entry.keys() - newer} | {"v": 1} for entry in older]
    ledger.write_bytes(rechained(b"".join(canonical_json(entry) + b"\n" for entry in plain)))
    append_approval(ledger, replace(APPROVAL, requested_by="grace", rebuilt=True))
    read = [(approval.requested_by, approval.rebuilt) for approval in read_ledger(ledger).approvals]
    assert read == [(None, False)] * 3 + [("grace", True)]


def test_empty_ledger_approves_nothing(tmp_path):
    (tmp_path / "ledger").write_bytes(b"")
    read = read_ledger(tmp_path / "ledger")
    assert (read.approvals, read.head) == ((), NO_ENTRY)


def lines(*order):
    return lambda data: b"".join(data.splitlines(keepends=True)[index] for index in order)


@pytest.mark.parametrize(
    ("change", "expected", "line"),
    [
        pytest.param(lambda d: d.replace(b"grace", b"mallory"), "ledger-broken", "Line 3", id="changed"),
        pytest.param(lambda d: d.replace(b"ada", b"eve"), "ledger-broken", "Line 2", id="first-changed"),
        pytest.param(lines(0, 2), "ledger-broken", "Line 2", id="middle-removed"),
        pytest.param(lines(1, 2), "ledger-broken", "Line 1", id="first-removed"),
        pytest.param(lines(1, 0, 2), "ledger-broken", "Line 1", id="reordered"),
        pytest.param(lines(0, 1, 1, 2), "ledger-broken", "Line 3", id="repeated"),
        pytest.param(lambda d: d[:-1], "ledger-malformed", "cut off", id="line-end-missing"),
        pytest.param(lambda d: d[:-30], "ledger-malformed", "cut off", id="last-line-cut"),
        pytest.param(lambda d: d + b"\n", "ledger-malformed", "Line 4", id="empty-line"),
        pytest.param(lambda d: d + b"x\n", "ledger-malformed", "Line 4", id="garbage"),
        pytest.param(lambda d: b"\xef\xbb\xbf" + d, "ledger-malformed", "Line 1", id="bom"),
        pytest.param(lambda d: d.replace(b"\n", b"\r\n"), "ledger-malformed", "Line 1", id="crlf"),
        pytest.param(lambda d: d.replace(b'"v":2', b'"v":3'), "ledger-malformed", "Line 1", id="version"),
        pytest.param(
            lambda d: d.replace(b'"v":2', b'"v":1'), "ledger-malformed", "Line 1", id="older-version"
        ),
        pytest.param(
            lambda d: d.replace(b'"rebuilt":false', b'"rebuilt":0'), "ledger-malformed", "Line 1", id="number"
        ),
        pytest.param(
            lambda d: d.replace(b'"rebuilt":false,', b""), "ledger-malformed", "Line 1", id="not-said"
        ),
        pytest.param(
            lambda d: d.replace(b'"svn":1', b'"svn":"1"'), "ledger-malformed", "Line 1", id="svn-text"
        ),
        pytest.param(lambda d: d.replace(b'"svn":1', b'"svn": 1'), "ledger-malformed", "Line 1", id="blank"),
        pytest.param(
            lambda d: d.replace(b'"svn":1', b'"svn":1,"svn":1'),
            "ledger-malformed",
            "Line 1",
            id="member-twice",
        ),
        pytest.param(
            lambda d: d.replace(b'"svn":1', b'"svn":1,"x":1'), "ledger-malformed", "Line 1", id="unknown"
        ),
        pytest.param(lambda d: b"[]\n" + d, "ledger-malformed", "Line 1", id="array"),
        pytest.param(lambda d: b"[" * 4000 + b"\n", "ledger-malformed", "Line 1", id="deep"),
        pytest.param(lambda d: b'"' + b"x" * 5000 + b'"\n', "ledger-malformed", "Line 1", id="long-line"),
    ],
)
def test_tampered_ledger_is_refused_with_its_line(ledger, change, expected, line):
    got, message = code(change(ledger.read_bytes()))
    assert got == expected
    assert line in message


def test_cut_off_tail_is_seen_only_with_the_expected_head(ledger):
    head = read_ledger(ledger).head
    shorter = b"".join(ledger.read_bytes().splitlines(keepends=True)[:2])
    assert len(parse_ledger(shorter).approvals) == 2
    assert code(shorter, expected_head=head)[0] == "ledger-head-mismatch"


def test_rewritten_ledger_is_seen_only_with_the_expected_head(ledger):
    head = read_ledger(ledger).head
    forged = rechained(ledger.read_bytes().replace(b"grace", b"mallory"))
    assert parse_ledger(forged).approvals[1].approved_by == "mallory"
    assert code(forged, expected_head=head)[0] == "ledger-head-mismatch"


def test_more_than_eight_mebibytes_are_not_read(tmp_path):
    (tmp_path / "ledger").write_bytes(b"\n" * (8 * 1024 * 1024 + 1))
    with pytest.raises(VerificationError, match=r"ledger-malformed.*too large"):
        read_ledger(tmp_path / "ledger")


@given(st.binary(min_size=1))
def test_any_bytes_are_a_ledger_or_a_refusal(data):
    with pytest.raises(VerificationError, match="ledger-"):
        parse_ledger(data)
