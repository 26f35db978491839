"""The command line: exit status, output, unreadable input."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest
import yaml
from confidential_spark.agent.protocol import b64url
from confidential_spark.cli import main as cli
from confidential_spark.cli.main import MAX_JOB_BYTES, main
from confidential_spark.hooks.durable_files import switch_link
from confidential_spark.image_build.ledger import append_approval
from confidential_spark.verification.policy.ledger import Approval

from tests.support.factories.bundles import IDENTITY, NONCE, POLICY, RUN_ID, make_bundle
from tests.support.factories.changes import put
from tests.support.places import ROOT
from tests.support.published_months import versions

BUNDLE = make_bundle()
AT = "2026-11-23T10:01:00Z"


@pytest.fixture
def run(tmp_path, capsys):
    """Write a bundle, its results, policy and key set; return a function that verifies them."""
    (tmp_path / "run").mkdir()
    for name, content in BUNDLE.results.items():
        (tmp_path / "run" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "run" / name).write_bytes(content)
    (tmp_path / "run" / "evidence.json").write_bytes(BUNDLE.evidence)
    (tmp_path / "policy.yaml").write_text(yaml.safe_dump(POLICY))
    (tmp_path / "nytaxi.py").write_bytes(b"job file")
    (tmp_path / "jwks.json").write_text(json.dumps(BUNDLE.jwks))

    def verify(*extra, **changes):
        options = {"policy": "policy.yaml", "jwks": "jwks.json", "at": AT} | changes
        arguments = ["verify", str(tmp_path / options.pop("evidence", "run/evidence.json"))]
        for name, value in options.items():
            if value is not None:
                path = name in {"policy", "jwks", "results", "ledger", "job_file"}
                arguments += [f"--{name.replace('_', '-')}", str(tmp_path / value) if path else value]
        status = main([*arguments, *extra])
        captured = capsys.readouterr()
        assert captured.err == ""
        return status, captured.out

    verify.folder = tmp_path
    return verify


def test_genuine_evidence(run):
    status, output = run()
    assert status == 0
    assert "VERIFIED · trust: SIMULATED – proves nothing about hardware" in output
    assert output.count("PASS") == 13


def test_json_says_the_same(run):
    status, output = run("--json")
    report = json.loads(output)
    assert (status, report["outcome"], len(report["steps"])) == (0, "verified", 13)
    assert output.isascii()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        pytest.param({"nonce": NONCE.hex()}, None, id="nonce-hex"),
        pytest.param({"nonce": b64url(NONCE)}, None, id="nonce-base64url"),
        pytest.param({"run_id": RUN_ID}, None, id="run-id"),
        pytest.param({"image_digest": "sha256:" + "cd" * 32}, None, id="image-digest"),
        pytest.param(
            {"image_digest": "sha256:" + "00" * 32}, "image-digest-mismatch", id="image-digest-other"
        ),
        pytest.param({"month": "2018-05"}, None, id="month"),
        pytest.param({"month": "2018-06"}, "statement-mismatch", id="month-other"),
        pytest.param({"job_file": "nytaxi.py"}, None, id="job-file"),
        pytest.param({"job_file": "jwks.json"}, "job-mismatch", id="job-file-other"),
        pytest.param({"results": "run"}, None, id="results"),
        pytest.param({"at": "2026-11-23T11:01:00+01:00"}, None, id="time-zone"),
        pytest.param({"nonce": "00" * 32}, "nonce-mismatch", id="nonce-other"),
        pytest.param({"run_id": "other"}, "run-id-mismatch", id="run-id-other"),
        pytest.param({"at": "2026-11-24T00:00:00Z"}, "token-expired", id="later"),
        pytest.param({"results": "."}, "result-unlisted", id="results-elsewhere"),
    ],
)
def test_options(run, changes, code):
    status, output = run("--json", **changes)
    assert (status, json.loads(output)["code"]) == (0 if code is None else 1, code)


def test_refusal_shows_got_and_expected(run):
    (run.folder / "run" / "summary.json").write_bytes(b"{}")
    status, output = run()
    assert status == 1
    assert "12 FAIL" in output
    assert "got: " in output
    assert "expected: " in output
    assert "13 NOT RUN" in output
    assert "REFUSED · step 12, result-digest-mismatch" in output


@pytest.mark.parametrize("results", [None, "month", "also"], ids=["beside", "same-link", "another-link"])
@pytest.mark.parametrize("moment", ["_resolve", "read_file"])
def test_a_month_that_is_replaced_meanwhile_is_no_false_alarm(run, monkeypatch, results, moment):
    link = run.folder / "month"
    for version in versions()[:2]:
        for name, content in version.files.items():
            path = run.folder / str(version.number) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    link.symlink_to("0")
    (run.folder / "also").symlink_to("month")
    real, calls = getattr(cli, moment), count()

    def replace_after_the_first(*args):
        value = real(*args)
        if next(calls) == 0:
            switch_link(link, "1", run.folder / "draft")
        return value

    monkeypatch.setattr(cli, moment, replace_after_the_first)
    status, output = run(evidence="month/evidence.json", results=results)
    assert status == 0, output
    assert link.readlink() == Path("1")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        pytest.param({"evidence": "absent.json"}, "file-unreadable", id="evidence-absent"),
        pytest.param({"evidence": "run"}, "file-unreadable", id="evidence-folder"),
        pytest.param({"policy": "absent.yaml"}, "policy-unreadable", id="policy-absent"),
        pytest.param({"policy": "jwks.json"}, "policy-invalid", id="policy-other-file"),
        pytest.param({"policy": "run"}, "policy-unreadable", id="policy-folder"),
        pytest.param({"jwks": "absent.json"}, "file-unreadable", id="jwks-absent"),
        pytest.param({"jwks": None}, "jwks-missing", id="jwks-needed"),
        pytest.param({"results": "absent"}, "results-unreadable", id="results-absent"),
        pytest.param({"results": "jwks.json"}, "results-unreadable", id="results-file"),
        pytest.param({"at": "yesterday"}, "time-malformed", id="time-text"),
        pytest.param({"at": "2026-11-23T10:01:00"}, "time-malformed", id="time-without-zone"),
        pytest.param({"at": "0001-01-01T00:00:00Z"}, "clock-invalid", id="time-long-ago"),
        pytest.param({"nonce": "xyz"}, "nonce-malformed", id="nonce-short"),
        pytest.param({"nonce": "zz" * 32}, "nonce-malformed", id="nonce-no-hex"),
    ],
)
def test_what_cannot_be_checked_has_its_own_status(run, changes, code):
    status, output = run("--json", **changes)
    report = json.loads(output)
    assert (status, report["outcome"], report["code"]) == (2, "not-checked", code)
    assert "NOT CHECKED" in run(**changes)[1]


def test_crash_is_no_verdict(run, monkeypatch):
    def crash(**_):
        raise RuntimeError("boom")

    monkeypatch.setattr("confidential_spark.verification.verify.verify_evidence", crash)
    status, output = run("--json")
    report = json.loads(output)
    assert (status, report["outcome"], report["code"]) == (2, "not-checked", "check-crashed")


@pytest.mark.parametrize("line", ["version: 0x" + "f" * 5000, "version: 1" + ":59" * 3000])
def test_number_that_no_policy_has_is_no_verdict(run, line):
    text = yaml.safe_dump(POLICY).replace("version: 1", line)
    (run.folder / "policy.yaml").write_text(text)
    status, output = run("--json")
    assert (status, json.loads(output)["code"]) == (2, "policy-malformed")


@pytest.mark.parametrize(
    "arguments",
    [[], ["verify"], ["verify", "x"], ["verify", "x", "--policy"], ["other"], ["verify", "--nope"]],
)
def test_usage_errors(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_ledger_of_approvals(run):
    by_ledger = put("identities/mrenclave/allow", "ledger")(
        put("identities/mrsigner/allow", "ledger")(POLICY)
    )
    (run.folder / "policy.yaml").write_text(yaml.safe_dump(by_ledger | {"ledger": "approvals.jsonl"}))
    assert json.loads(run("--json")[1])["code"] == "ledger-missing"
    approval = Approval(
        approved_at="2026-11-01T00:00:00Z",
        approved_by="ada",
        image_digest="sha256:" + "ab" * 32,
        mrenclave=IDENTITY.mrenclave.hex(),
        mrsigner=IDENTITY.mrsigner.hex(),
        product_id=IDENTITY.product_id,
        svn=IDENTITY.svn,
        git_revision="0123abc",
    )
    append_approval(run.folder / "approvals.jsonl", approval)
    assert run()[0] == 0
    (run.folder / "approvals.jsonl").rename(run.folder / "elsewhere.jsonl")
    assert run()[0] == 2
    assert run(ledger="elsewhere.jsonl")[0] == 0


@pytest.mark.parametrize(
    ("content", "code"),
    [
        pytest.param(b"", "ledger-empty", id="empty"),
        pytest.param(b"{}\n", "ledger-malformed", id="no-entry"),
        pytest.param(b"\n" * (8 * 1024 * 1024 + 1), "ledger-malformed", id="too-large"),
    ],
)
def test_a_wrong_ledger_is_no_verdict(run, content, code):
    by_ledger = put("identities/mrenclave/allow", "ledger")(POLICY)
    (run.folder / "policy.yaml").write_text(yaml.safe_dump(by_ledger))
    (run.folder / "approvals.jsonl").write_bytes(content)
    status, output = run("--json", ledger="approvals.jsonl")
    report = json.loads(output)
    assert (status, report["outcome"], report["code"]) == (2, "not-checked", code)


FILES = ["evidence", "policy", "jwks", "ledger", "job_file"]


@pytest.mark.parametrize("option", FILES)
@pytest.mark.parametrize("kind", ["fifo", "device", "folder", "socket", "absent"])
def test_what_is_no_regular_file_is_refused_at_once(run, option, kind):
    """A FIFO would wait for a writer for ever, /dev/zero would be read for ever."""
    by_ledger = put("identities/mrenclave/allow", "ledger")(POLICY)
    (run.folder / "policy.yaml").write_text(yaml.safe_dump(by_ledger))
    place = run.folder / "given"
    with socket.socket(socket.AF_UNIX) as listener:
        make = {
            "fifo": lambda: os.mkfifo(place),
            "device": lambda: place.symlink_to("/dev/zero"),
            "folder": place.mkdir,
            "socket": lambda: listener.bind(os.path.relpath(place)),
            "absent": lambda: None,
        }
        make[kind]()
        status, output = run("--json", **{option: "given"}, results="run")
    report = json.loads(output)
    assert (status, report["outcome"]) == (2, "not-checked"), output
    assert report["code"] in {"file-unreadable", "policy-unreadable", "ledger-missing"}


@pytest.mark.parametrize("name", ["root.pem", "approvals.jsonl"])
def test_the_policys_own_files_are_opened_as_carefully(run, name):
    os.mkfifo(run.folder / name)
    by_ledger = put("identities/mrenclave/allow", "ledger")(POLICY) | {"ledger": "approvals.jsonl"}
    policy = put("dcap/roots", ["root.pem"])(POLICY) if name == "root.pem" else by_ledger
    (run.folder / "policy.yaml").write_text(yaml.safe_dump(policy))
    status, output = run("--json")
    assert status == 2
    assert json.loads(output)["code"] in {"policy-root-unreadable", "ledger-missing"}


def test_a_given_file_that_is_not_used_is_said(run):
    (run.folder / "approvals.jsonl").write_bytes(b"")
    status, output = run(ledger="approvals.jsonl")
    assert (status, "NOT USED: the ledger" in output) == (0, True)


def test_a_job_file_beyond_its_limit_is_not_compared_by_its_beginning(run):
    with (run.folder / "large.py").open("wb") as file:
        file.truncate(MAX_JOB_BYTES + 1)
    status, output = run("--json", job_file="large.py")
    assert (status, json.loads(output)["code"]) == (2, "file-unreadable")


def full_disk():
    return os.open("/dev/full", os.O_WRONLY)


def pipe_without_a_reader():
    reader, writer = os.pipe()
    os.close(reader)
    return writer


@pytest.mark.parametrize(
    "options", [(), ("--json",), ("--month", "2018-04")], ids=["text", "json", "refused"]
)
@pytest.mark.parametrize(
    ("output", "said"),
    [
        pytest.param(full_disk, b"No space left on device", id="full-disk"),
        pytest.param(pipe_without_a_reader, b"Broken pipe", id="closed-pipe"),
        pytest.param(lambda: None, b"standard output is closed", id="closed"),
    ],
)
def test_a_verdict_that_nobody_can_read_is_none(run, output, said, options):
    descriptor = output()
    close = "import os, sys; os.close(1); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    command = [
        *([sys.executable] if descriptor else [sys.executable, "-c", close]),
        *("-m", "confidential_spark", "verify", str(run.folder / "run" / "evidence.json"), *options),
        *("--policy", str(run.folder / "policy.yaml"), "--jwks", str(run.folder / "jwks.json"), "--at", AT),
    ]
    environment = {"PYTHONPATH": str(ROOT / "plugins")}
    done = subprocess.run(
        command, env=environment, stdout=descriptor, stderr=subprocess.PIPE, check=False, timeout=60
    )
    if descriptor:
        os.close(descriptor)
    assert done.returncode == 2
    assert done.stderr.startswith(b"NOT CHECKED")
    assert said in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_module_needs_neither_airflow_nor_a_utf8_terminal(run):
    command = [
        *(sys.executable, "-m", "confidential_spark", "verify", str(run.folder / "run" / "evidence.json")),
        *("--policy", str(run.folder / "policy.yaml"), "--jwks", str(run.folder / "jwks.json"), "--at", AT),
    ]
    environment = {"PYTHONPATH": str(ROOT / "plugins"), "PYTHONIOENCODING": "latin-1", "PATH": ""}
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"VERIFIED" in done.stdout


@pytest.mark.parametrize(
    ("statement", "forbidden"),
    [
        pytest.param(
            "import confidential_spark.verification.verify",
            {"airflow", "docker", "kubernetes", "requests", "httpx", "pyspark"},
            id="library",
        ),
        pytest.param(
            "import confidential_spark.cli.main as c; c.parser().format_help()",
            {"cryptography", "pydantic", "yaml", "dcap_qvl"},
            id="help",
        ),
    ],
)
def test_imports_stay_small(statement, forbidden):
    code = f"import sys; {statement}; print(*{{name.split('.')[0] for name in sys.modules}})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout
    assert not forbidden & set(loaded.split())
