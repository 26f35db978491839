from __future__ import annotations

import os
import shutil

import pytest
import yaml
from confidential_spark.jobs import JOBS
from confidential_spark.ui.results import live_verification as module
from confidential_spark.ui.results.live_verification import Judge, KeptJudgements
from confidential_spark.ui.results.published import Published
from confidential_spark.verification import Outcome
from confidential_spark.verification.evidence.claims import is_moment

from tests.unit.ui.conftest import DAG_ID, KEY, POLICY_FILE, RUN_ID


@pytest.fixture
def result(publish, tmp_path):
    publish()
    return Published(tmp_path).result(DAG_ID, KEY)


def fresh(judge: Judge, kept: KeptJudgements | None = None) -> Judge:
    """The same judge after a change of policy or program, as the next page makes it."""
    return Judge(DAG_ID, judge.job, judge.policy_path, judge.job_file.parent, kept or judge._kept)


def test_what_was_published_verifies_and_is_known_from_then_on(judge, result):
    assert judge.known(result) is None
    found = judge.judge(result)

    assert found.report.outcome is Outcome.VERIFIED, found.report.text()
    assert (found.counts, found.fresh, found.report.trust) == ("13/13", True, "simulated")
    assert judge.known(result).fresh is False
    assert fresh(judge).known(result).report == found.report


def rewrite(result, judge):
    """Other bytes of the same length, with the old times, in the same file."""
    path = result.folder / "summary.json"
    before = path.stat()
    content = path.read_bytes()
    with path.open("r+b") as file:
        file.write(content.replace(b"9974", b"9975"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace_file(result, judge):
    path = result.folder / "summary.json"
    path.with_suffix(".new").write_bytes(path.read_bytes().replace(b"9974", b"9975"))
    path.with_suffix(".new").rename(path)


def add_file(result, judge):
    (result.folder / "notes.txt").write_text("unlisted")


def add_folder(result, judge):
    (result.folder / "empty").mkdir()


def link(result, judge):
    path = result.folder / "summary.json"
    path.rename(result.folder.parent / "elsewhere")
    path.symlink_to(result.folder.parent / "elsewhere")


def pipe(result, judge):
    path = result.folder / "evidence.json"
    path.unlink()
    os.mkfifo(path)


def deny_enclave(result, judge):
    identities = {**POLICY_FILE["identities"], "mrenclave": {"allow": ["00" * 32]}}
    judge.policy_path.write_text(yaml.safe_dump({**POLICY_FILE, "identities": identities}))


def change_program(result, judge):
    judge.job_file.write_bytes(b"another program")


CHANGES = {
    rewrite: "result-digest-mismatch",
    replace_file: "result-digest-mismatch",
    add_file: "result-unlisted",
    add_folder: "result-unlisted",
    link: "result-not-a-file",
    pipe: "evidence-malformed",
    deny_enclave: "mrenclave-not-allowed",
    change_program: "job-mismatch",
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_any_change_is_seen_and_its_first_failure_named(judge, result, change):
    judge.judge(result)
    change(result, judge)
    later = fresh(judge)

    assert later.known(result) is None
    found = later.judge(result)
    assert (found.report.outcome, found.report.code) == (Outcome.REFUSED, CHANGES[change]), (
        found.report.text()
    )
    assert later.known(result).report.code == CHANGES[change]


def test_a_ledger_line_is_a_change(judge, result):
    ledger = judge.policy_path.with_name("approvals.jsonl")
    ledger.write_text("")
    named = {**POLICY_FILE, "identities": {**POLICY_FILE["identities"], "mrenclave": {"allow": "ledger"}}}
    judge.policy_path.write_text(yaml.safe_dump({**named, "ledger": ledger.name}))
    before = fresh(judge)
    before.judge(result)
    assert fresh(judge).known(result) is not None
    ledger.write_text("an entry\n")

    assert fresh(judge).known(result) is None


def test_another_months_evidence_is_refused(publish, judge, tmp_path):
    folder, other = publish(), publish(key="month=2018-06")
    shutil.rmtree(folder)
    shutil.copytree(other, folder)
    found = judge.judge(Published(tmp_path).result(DAG_ID, KEY))

    assert (found.report.code, found.report.failure.expected) == ("statement-mismatch", "2018-05")


def test_evidence_of_another_run_is_refused_on_a_runs_page(judge, result):
    assert judge.judge(result, RUN_ID).report.passed
    found = judge.judge(result, "another")

    assert (found.report.code, found.report.failure.number) == ("run-id-mismatch", 10)


@pytest.mark.parametrize("key", ["run=manual-1", "run=other-5d1a"])
def test_evidence_filed_under_another_run_is_refused(publish, deployment, tmp_path, key):
    policy = deployment / "policies/simulation.yaml"
    judge = Judge("sparkpi_local", JOBS["sparkpi"], policy, deployment / "jobs", KeptJudgements())
    publish("sparkpi_local", key, run_id="manual")
    found = judge.judge(Published(tmp_path).result("sparkpi_local", key))

    assert found.report.code == "run-id-mismatch"


@pytest.mark.parametrize("fault", ["policy-missing", "policy-malformed", "program-missing"])
def test_a_fault_of_the_checking_side_proves_nothing_and_refuses_nothing(judge, result, fault):
    if fault == "policy-malformed":
        judge.policy_path.write_text("[")
    else:
        (judge.policy_path if fault == "policy-missing" else judge.job_file).unlink()
    found = fresh(judge).judge(result).report

    assert (found.outcome, found.trust, len(found.steps)) == (Outcome.NOT_CHECKED, None, 1)


def test_a_list_leaves_large_versions_to_their_own_pages(judge, result):
    found = judge.judge(result, limit=100).report

    assert (found.outcome, found.code) == (Outcome.NOT_CHECKED, "input-too-large")
    assert judge.judge(result).report.passed


def test_a_slow_verification_is_not_repeated_while_nothing_changes(judge, result, monkeypatch):
    monkeypatch.setattr(module, "SLOW_MS", -1.0)
    first = judge.judge(result)
    again = judge.judge(result)

    assert (again.fresh, again.checked_at) == (False, first.checked_at)
    add_file(result, judge)
    assert judge.judge(result).report.code == "result-unlisted"


def test_a_fast_one_is_done_for_every_page(judge, result, monkeypatch):
    monkeypatch.setattr(module, "SLOW_MS", 1e9)
    judge.judge(result)

    assert judge.judge(result).fresh


def test_only_so_many_judgements_are_kept(judge, monkeypatch, publish, tmp_path):
    monkeypatch.setattr(module, "MAX_KEPT", 2)
    results = []
    for month in ("2018-01", "2018-02", "2018-03"):
        publish(key=f"month={month}")
        results.append(Published(tmp_path).result(DAG_ID, f"month={month}"))
        judge.judge(results[-1])

    assert [judge.known(each) is not None for each in results] == [False, True, True]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-11-23T10:00:00Z", True),
        ("2026-11-23T10:00:00", False),
        ("1969-12-31T23:59:59Z", False),
        ("0001-01-01T00:00:00+14:00", False),
        ("--json", False),
        (None, False),
        (5, False),
    ],
)
def test_a_moment_has_a_zone_and_a_clock_can_show_it(value, expected):
    assert is_moment(value) is expected
