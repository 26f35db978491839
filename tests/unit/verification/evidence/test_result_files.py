"""Results that are not those of the statement (step 12)."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest
from confidential_spark.core.errors import VerificationError
from confidential_spark.verification.evidence.result_files import require_safe_name
from hypothesis import given
from hypothesis import strategies as st

from tests.support.factories.bundles import RESULTS, make_bundle, run_report
from tests.support.factories.changes import drop, put

GENUINE, OTHER = make_bundle(), make_bundle(run_id="nytaxi_local/other")
ENVELOPE = json.dumps(json.loads(GENUINE.evidence)["envelope"], indent=1).encode()


def report(change=lambda it: it):
    return json.dumps(change(run_report(GENUINE, trips=1))).encode()


@pytest.fixture
def folder(tmp_path):
    for name, content in RESULTS.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return tmp_path


def verify(results):
    report = GENUINE.verify(results=results)
    assert report.passed or report.failure.number == 12, report.text()
    return report


@pytest.mark.parametrize(
    ("change", "code"),
    [
        pytest.param(lambda r: r, None, id="genuine"),
        pytest.param(lambda r: r | {"summary.json": b"{}"}, "result-digest-mismatch", id="content"),
        pytest.param(lambda r: r | {"empty.csv": b"\n"}, "result-digest-mismatch", id="was-empty"),
        pytest.param(
            lambda r: r | {"summary.json": r["empty.csv"], "empty.csv": r["summary.json"]},
            "result-digest-mismatch",
            id="exchanged",
        ),
        pytest.param(lambda r: {}, "result-missing", id="none"),
        pytest.param(lambda r: {"summary.json": r["summary.json"]}, "result-missing", id="some"),
        pytest.param(lambda r: r | {"extra.json": b""}, "result-unlisted", id="one-more"),
        pytest.param(
            lambda r: r | {"by_hour/evidence.json": b""}, "result-unlisted", id="companion-elsewhere"
        ),
        pytest.param(lambda r: r | {"evidence.json": GENUINE.evidence}, None, id="the-evidence"),
        pytest.param(
            lambda r: r | {"evidence.json": OTHER.evidence}, "companion-mismatch", id="other-evidence"
        ),
        pytest.param(lambda r: r | {"evidence.json": b""}, "companion-mismatch", id="empty-evidence"),
        pytest.param(lambda r: r | {"envelope.json": ENVELOPE}, None, id="the-envelope"),
        pytest.param(lambda r: r | {"envelope.json": b"{}"}, "companion-mismatch", id="other-envelope"),
        pytest.param(lambda r: r | {"envelope.json": "{}"}, "input-type", id="envelope-text"),
        pytest.param(
            lambda r: r | {"envelope.json": b" " * 9_000_000}, "input-too-large", id="envelope-too-large"
        ),
        pytest.param(lambda r: r | {"report.json": report()}, None, id="the-report"),
        pytest.param(lambda r: r | {"report.json": b"{}"}, "companion-mismatch", id="empty-report"),
        *(
            pytest.param(
                lambda r, c=change: r | {"report.json": report(c)}, "companion-mismatch", id=f"report-{name}"
            )
            for name, change in {
                "run": put("run_id", "other"),
                "job": put("job", "sparkpi"),
                "month": put("month", "2018-06"),
                "trust": put("trust", "hardware"),
                "notice": put("notice", None),
                "image": put("image_digest", "sha256:" + "00" * 32),
                "measurement": put("measurement/svn", 9),
                "verdict": put("verification/trust", "hardware"),
                "fact": put("verification/facts/tcb_status", "OutOfDate"),
                "invented-fact": put("verification/facts/audited_by", "nobody"),
                "results": put("verification/facts/results/empty.csv", "00" * 32),
                "figure": put("figures/trips", 2),
                "boolean-figure": put("figures/trips", True),
                "invented-figure": put("figures/revenue_cents", 1),
                "without-facts": drop("verification/facts"),
                "without-figures": drop("figures"),
                "without-a-run": drop("run_id"),
            }.items()
        ),
        pytest.param(lambda r: r | {"report.json": report(put("figures/tips", None))}, None, id="no-figure"),
        pytest.param(lambda r: r | {"report.json": report(put("timings", {"spark": 1}))}, None, id="timings"),
        pytest.param(lambda r: r | {"summary.json": "text"}, "input-type", id="text"),
        pytest.param(lambda r: r | {"summary.json": bytearray(r["summary.json"])}, "input-type", id="array"),
        pytest.param(lambda r: r | {"summary.json": None}, "input-type", id="null"),
        pytest.param(lambda r: r | {7: b""}, "result-unlisted", id="name-number"),
    ],
)
def test_results_by_name(change, code):
    assert verify(change(dict(RESULTS))).code == code


def test_results_in_a_folder(folder):
    assert verify(folder).passed
    assert verify(str(folder)).passed


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        pytest.param(
            lambda d: (d / "summary.json").write_bytes(b"x"), "result-digest-mismatch", id="content"
        ),
        pytest.param(lambda d: (d / "summary.json").unlink(), "result-missing", id="missing"),
        pytest.param(lambda d: (d / "extra").write_bytes(b""), "result-unlisted", id="unlisted"),
        pytest.param(lambda d: (d / "by_hour" / ".hidden").write_bytes(b""), "result-unlisted", id="hidden"),
        pytest.param(lambda d: (d / "empty-folder").mkdir(), "result-unlisted", id="empty-folder"),
        pytest.param(lambda d: (d / "report.json").mkdir(), "result-unlisted", id="companion-empty-folder"),
        pytest.param(lambda d: (d / "a" / "b").mkdir(parents=True), "result-unlisted", id="empty-inner"),
        pytest.param(lambda d: (d / "report.json").write_bytes(report()), None, id="report-beside"),
        pytest.param(
            lambda d: (d / "report.json").write_bytes(b"{}"), "companion-mismatch", id="another-report"
        ),
        pytest.param(lambda d: (d / "envelope.json").write_bytes(ENVELOPE), None, id="envelope-beside"),
        pytest.param(
            lambda d: (d / "envelope.json").write_bytes(b"{}"), "companion-mismatch", id="another-envelope"
        ),
        pytest.param(
            lambda d: (d / "envelope.json").write_bytes(b" " * 9_000_000),
            "input-too-large",
            id="huge-envelope",
        ),
        pytest.param(lambda d: (d / "link").symlink_to("summary.json"), "result-not-a-file", id="extra-link"),
        pytest.param(lambda d: (d / "report.json").symlink_to("x"), "result-not-a-file", id="companion-link"),
        pytest.param(lambda d: os.mkfifo(d / "pipe"), "result-not-a-file", id="pipe"),
    ],
)
def test_folder_that_is_not_the_statements(folder, spoil, code):
    spoil(folder)
    assert verify(folder).code == code


def test_folders_nested_beyond_pythons_stack_are_refused(folder, monkeypatch):
    monkeypatch.chdir(folder)
    for _ in range(1500):
        Path("d").mkdir()
        os.chdir("d")
    failure = verify(folder).failure
    for _ in range(1500):  # pytest's own cleaning would exhaust the stack
        os.chdir("..")
        Path("d").rmdir()
    assert (failure.code, failure.expected) == ("result-unlisted", "at most 64")


def test_link_to_the_right_content_is_refused(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "summary.json"
    (folder / "summary.json").rename(elsewhere)
    (folder / "summary.json").symlink_to(elsewhere)
    assert verify(folder).code == "result-not-a-file"


def test_linked_folder_is_refused(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "by_hour"
    (folder / "by_hour").rename(elsewhere)
    (folder / "by_hour").symlink_to(elsewhere)
    assert verify(folder).code == "result-not-a-file"


def test_socket_is_refused(folder, monkeypatch):
    monkeypatch.chdir(folder)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        assert verify(folder).code == "result-not-a-file"


def test_folder_in_place_of_a_file_is_refused(folder):
    (folder / "summary.json").unlink()
    (folder / "summary.json").mkdir()
    assert verify(folder).code == "result-missing"


@pytest.mark.parametrize(
    ("path", "code"),
    [
        pytest.param("/nowhere", "result-unreadable", id="absent"),
        pytest.param("\0", "result-unreadable", id="nul"),
        pytest.param("", "result-missing", id="empty-current-folder"),
        pytest.param(7, "input-type", id="number"),
        pytest.param(None, "input-type", id="none"),
    ],
)
def test_folder_that_cannot_be_read_is_refused(path, code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    report = make_bundle().verify(results=path)
    assert (report.code, report.failure.number) == (code, 12)
    # Nothing was compared: that is no verdict on the evidence.
    assert report.outcome == ("not-checked" if code == "result-unreadable" else "refused")


def test_a_file_that_cannot_be_read_is_no_verdict(folder, monkeypatch):
    opened = os.open

    def deny(path, *arguments, **options):
        if str(path).endswith("summary.json"):
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *arguments, **options)

    monkeypatch.setattr(os, "open", deny)
    report = verify(folder)
    assert (report.code, report.outcome) == ("result-unreadable", "not-checked")


@given(st.text(max_size=40))
def test_accepted_names_stay_inside_the_folder(name):
    try:
        require_safe_name(name)
    except VerificationError as refusal:
        accepted = refusal.code == "statement-subject"
    else:
        inside = os.path.normpath(name) == name and not name.startswith(("/", ".."))
        accepted = inside and "\\" not in name
    assert accepted
