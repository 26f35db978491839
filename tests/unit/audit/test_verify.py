"""`audit verify`: a bundle as it was made is verified, and any change of it is found."""

from __future__ import annotations

import json
import os
import re
import shutil
import zipfile
from dataclasses import replace
from hashlib import sha256
from itertools import chain

import pytest
from confidential_spark.agent.protocol import SIMULATED_NOTICE
from confidential_spark.audit.archive import directory, read_members, written
from confidential_spark.audit.contents import ArchiveContents, faults, opened, read_manifest
from confidential_spark.audit.making.bundle import bundle
from confidential_spark.audit.manifest import CHECKSUM, MANIFEST, checksum_line
from confidential_spark.core.errors import VerificationError
from confidential_spark.hooks.results.folder_store import FolderStore

from tests.support.factories.bundles import make_bundle, run_report
from tests.support.published_range import Range, month_files, publish
from tests.unit.audit.conftest import FIRST, MONTHS, STEM
from tests.unit.ui.conftest import DAG_ID

MAY = "months/2018-05"


@pytest.mark.parametrize("form", ["bundle_zip", "unpacked"])
def test_a_bundle_as_it_was_made(verify, request, include, form):
    path = request.getfixturevalue(form)
    status, said = verify(path, "--job-file", str(include / "jobs/nytaxi.py"))
    assert status == 0, said
    for month in MONTHS:
        assert f"\n{month}  VERIFIED " in said
    assert said.count(SIMULATED_NOTICE) == 2
    verdict = "VERIFIED · 2018-04 to 2018-06: 3 of 3 months VERIFIED · trust: SIMULATED"
    assert said.splitlines()[-1].startswith(verdict)
    assert "JUDGED BY" not in said
    assert "NOT COMPARED: arguments, image digest, nonce" in said
    assert f"file SHA-256 {sha256(b'job file').hexdigest()}: 3 of 3 verified months" in said


def test_json_says_the_same(verify, bundle_zip):
    status, said = verify(bundle_zip, "--json")
    report = json.loads(said)
    assert (status, report["outcome"], report["passed"], report["faults"]) == (0, "VERIFIED", True, [])
    assert [(each["month"], each["outcome"]) for each in report["months"]] == [
        (m, "VERIFIED") for m in MONTHS
    ]
    assert report["months"][0]["report"]["facts"]["inputs"][0]["sha256"] == "ab" * 32
    with zipfile.ZipFile(bundle_zip) as file:
        assert report["manifest_sha256"] == sha256(file.read(f"{STEM}/{MANIFEST}")).hexdigest()


class TestBasis:
    def test_nothing_of_the_bundle_is_trusted_unless_told_so(self, verify, bundle_zip):
        status, said = verify(bundle_zip, policy=False)
        assert status == 2
        assert "audit-policy-missing" in said
        assert "VERIFIED" not in said

    def test_the_bundles_own_policy_is_used_when_told_so_and_said_loudly(self, verify, bundle_zip):
        status, said = verify(bundle_zip, "--trust-bundle", policy=False)
        assert status == 0, said
        assert said.count("JUDGED BY THE BUNDLE'S OWN policy, programs") == 2
        assert "whoever made the bundle chose what passes" in said

    def test_what_the_auditor_gives_goes_before_what_the_bundle_brings(self, verify, bundle_zip):
        status, said = verify(bundle_zip, "--trust-bundle")
        assert status == 0, said
        assert "JUDGED BY THE BUNDLE'S OWN programs" in said

    def test_the_packaged_production_policy_refuses_what_is_simulated(self, verify, bundle_zip):
        from tests.support.places import ROOT

        policy = str(ROOT / "include/policies/production.yaml")
        status, said = verify(bundle_zip, "--policy", policy, policy=False)
        assert status == 1
        assert f"{FIRST}  REFUSED     trust-mismatch" in said
        assert "trust: nothing was proven" in said

    @pytest.mark.parametrize(
        ("options", "status", "said"),
        [
            pytest.param(["--manifest-sha256", "ab" * 32], 1, "audit-file-changed", id="another-manifest"),
            pytest.param(["--from", "2018-03"], 1, "1 MISSING (2018-03)", id="a-longer-range"),
            pytest.param(["--from", "2018-05", "--to", "2018-05"], 0, "1 of 1 months", id="a-shorter-range"),
            pytest.param(["--from", "2018-07"], 2, "audit-range", id="no-range"),
            pytest.param(["--to", "2018-13"], 2, "audit-range", id="no-month"),
            pytest.param(["--at", "2018-01-01T00:00:00Z"], 1, "token-not-yet-valid", id="another-time"),
            pytest.param(["--at", "yesterday"], 2, "time-malformed", id="no-time"),
            pytest.param(["--job-file", "absent.py"], 2, "file-unreadable", id="no-program"),
            pytest.param(["--policy", "absent.yaml"], 2, "policy-unreadable", id="no-policy"),
            pytest.param(["--ledger", "absent.jsonl"], 2, "ledger-missing", id="no-ledger"),
        ],
    )
    def test_what_the_auditor_expects_is_compared(self, verify, bundle_zip, options, status, said):
        found, text = verify(bundle_zip, *options)
        assert (found, said in text) == (status, True), text

    @pytest.mark.parametrize("told", ["", "zz", "ab" * 31, "ab" * 33, "é" * 64])
    def test_a_digest_that_is_none_is_wrong_usage(self, verify, bundle_zip, told, capsys):
        with pytest.raises(SystemExit, match="2"):
            verify(bundle_zip, "--manifest-sha256", told)
        assert "--manifest-sha256" in capsys.readouterr().err

    def test_a_bundle_that_cannot_be_read_is_named(self, verify, tmp_path):
        status, said = verify(tmp_path / "absent.zip")
        assert (status, f"got: {tmp_path / 'absent.zip'}: No such file" in said) == (2, True), said

    def test_the_manifest_as_it_was_told(self, verify, bundle_zip, unpacked):
        digest = sha256((unpacked / MANIFEST).read_bytes()).hexdigest()
        assert verify(bundle_zip, "--manifest-sha256", digest.upper())[0] == 0

    def test_another_program_is_refused_and_one_of_several_is_enough(
        self, verify, bundle_zip, tmp_path, include
    ):
        (tmp_path / "other.py").write_text("other")
        other, own = str(tmp_path / "other.py"), str(include / "jobs/nytaxi.py")
        status, said = verify(bundle_zip, "--job-file", other)
        assert (status, said.count("REFUSED     job-mismatch")) == (1, 3)
        assert verify(bundle_zip, "--job-file", other, "--job-file", own)[0] == 0


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def relist(folder, change):
    """Change the manifest's text and its checksum, as a forger would."""
    text = (folder / MANIFEST).read_text(encoding="utf-8")
    changed = change(text)
    assert changed != text
    (folder / MANIFEST).write_text(changed, encoding="utf-8")
    (folder / CHECKSUM).write_bytes(checksum_line(changed.encode()))


def rename(path, name):
    path.rename(path.with_name(name))


TAMPERING = {
    "result-changed": (
        lambda f: put(f / MAY / "summary.json", b"{}"),
        "audit-file-changed",
        "result-digest-mismatch",
    ),
    "result-grown": (
        lambda f: put(f / MAY / "by_hour.parquet", b"PAR1"),
        "audit-file-changed",
        "result-digest-mismatch",
    ),
    "result-removed": (lambda f: (f / MAY / "summary.json").unlink(), "audit-file-missing", "result-missing"),
    "evidence-changed": (
        lambda f: put(f / MAY / "evidence.json", b"{}"),
        "audit-file-changed",
        "evidence-malformed",
    ),
    "evidence-removed": (
        lambda f: (f / MAY / "evidence.json").unlink(),
        "audit-file-missing",
        "evidence-malformed",
    ),
    "month-removed": (lambda f: shutil.rmtree(f / MAY), "audit-file-missing", "MISSING (2018-05)"),
    "months-swapped": (
        lambda f: (
            rename(f / MAY, "x"),
            rename(f / "months/2018-06", "2018-05"),
            rename(f / "months/x", "2018-06"),
        ),
        "audit-file-changed",
        "statement-mismatch",
    ),
    "report-reworded": (
        lambda f: put(f / MAY / "report.json", (f / MAY / "report.json").read_bytes() + b" "),
        "audit-file-changed",
        "3 of 3 months VERIFIED",
    ),
    "file-beside-results": (
        lambda f: put(f / MAY / "more.csv", b""),
        "audit-file-unlisted",
        "result-unlisted",
    ),
    "file-beside-months": (
        lambda f: put(f / "months/2018-07/summary.json", b"{}"),
        "audit-file-unlisted",
        "REFUSED",
    ),
    "file-at-the-top": (lambda f: put(f / "EULA.txt", b""), "audit-file-unlisted", "EULA.txt"),
    "hidden-file": (lambda f: put(f / ".hidden", b""), "audit-file-unlisted", ".hidden"),
    "policy-changed": (
        lambda f: put(f / "policy/simulation.yaml", b"x: 1"),
        "audit-file-changed",
        "policy/simulation",
    ),
    "root-changed": (
        lambda f: put(f / "policy/roots/development-root-ca.pem", b""),
        "audit-file-changed",
        "root-ca",
    ),
    "program-changed": (lambda f: put(f / "jobs/nytaxi.py", b"evil"), "audit-file-changed", "jobs/nytaxi.py"),
    "key-changed": (lambda f: put(f / "keys/signing-keys.json", b"{}"), "audit-file-changed", "signing-keys"),
    "script-changed": (
        lambda f: put(f / "verify-all.sh", b"#!/bin/sh\necho VERIFIED\n"),
        "audit-file-changed",
        ".sh",
    ),
    "readme-changed": (lambda f: put(f / "README.md", b"# Fine\n"), "audit-file-changed", "README.md"),
    "checksum-removed": (lambda f: (f / CHECKSUM).unlink(), "audit-file-missing", CHECKSUM),
    "checksum-changed": (lambda f: put(f / CHECKSUM, b"0"), "audit-file-changed", CHECKSUM),
    "manifest-changed": (
        lambda f: put(f / MANIFEST, (f / MANIFEST).read_bytes().replace(b'"VERIFIED"', b'"REFUSED"', 1)),
        "audit-file-changed",
        CHECKSUM,
    ),
    "manifest-removed": (lambda f: (f / MANIFEST).unlink(), "audit-bundle-malformed", MANIFEST),
    "manifest-empty": (lambda f: put(f / MANIFEST, b""), "audit-manifest-malformed", "REFUSED"),
    "manifest-of-another-form": (
        lambda f: relist(f, lambda text: json.dumps(json.loads(text))),
        "audit-manifest-malformed",
        "white space",
    ),
    "manifest-with-more": (
        lambda f: relist(f, lambda text: text.replace('{\n "', '{\n "more": 1,\n "', 1)),
        "audit-manifest-malformed",
        "more",
    ),
    "manifest-with-a-path": (
        lambda f: relist(f, lambda text: text.replace('"README.md": {', '"../README.md": {', 1)),
        "audit-manifest-malformed",
        "REFUSED",
    ),
    "manifest-without-a-month": (
        lambda f: relist(
            f, lambda text: re.sub(r'  "2018-05": \{.*?\},\n', "", text, count=1, flags=re.DOTALL)
        ),
        "audit-manifest-malformed",
        "each month",
    ),
    "manifest-of-another-platform": (
        lambda f: relist(f, lambda text: text.replace('"platform": "local"', '"platform": "aks"')),
        "run-id-mismatch",
        "3 REFUSED",
    ),
    "link": (lambda f: (f / "more").symlink_to("/etc/passwd"), "audit-bundle-malformed", "no plain file"),
    "link-in-place-of-a-file": (
        lambda f: ((f / "README.md").unlink(), (f / "README.md").symlink_to(MANIFEST)),
        "audit-bundle-malformed",
        "README.md",
    ),
    "link-in-place-of-a-month": (
        lambda f: ((f / MAY).rename(f.parent / "may"), (f / MAY).symlink_to(f.parent / "may")),
        "audit-bundle-malformed",
        "2018-05",
    ),
    "pipe": (lambda f: os.mkfifo(f / "pipe"), "audit-bundle-malformed", "pipe"),
    "names-that-are-one-elsewhere": (
        lambda f: put(f / "readme.MD", b""),
        "audit-bundle-malformed",
        "README.md",
    ),
    "name-with-a-line-break": (lambda f: put(f / "a\nb", b""), "audit-bundle-malformed", "REFUSED"),
}


@pytest.mark.parametrize("name", TAMPERING)
def test_tampering_with_the_folder_is_found(verify, unpacked, name):
    tamper, *expected = TAMPERING[name]
    tamper(unpacked)
    status, said = verify(unpacked)
    assert status == 1, said
    for text in expected:
        assert text in said
    assert said.splitlines()[-1].startswith("REFUSED · ")


@pytest.mark.parametrize("name", ["policy-changed", "root-changed", "policy-removed"])
def test_a_bundle_with_an_unusable_policy_is_no_verdict_of_its_own(verify, unpacked, name):
    if name == "policy-removed":
        (unpacked / "policy/simulation.yaml").unlink()
    else:
        TAMPERING[name][0](unpacked)
    status, said = verify(unpacked, "--trust-bundle", policy=False)
    assert (status, "NOT CHECKED · [policy-" in said) == (2, True), said


def archive(packed, change=lambda files: files):
    """Return the bundle's archive with other members."""
    with zipfile.ZipFile(packed) as file:
        files = [(name, file.read(name)) for name in file.namelist()]
    return b"".join(written(change(files)))


def spoil(path, at, content):
    data = bytearray(path.read_bytes())
    data[at : at + len(content)] = content
    path.write_bytes(bytes(data))


def deflated(path):
    with zipfile.ZipFile(path) as file:
        files = [(name, file.read(name)) for name in file.namelist()]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files:
            file.writestr(name, content)


def bomb(path):
    """Claim a size that the archive does not have."""
    spoil(path, 18, (2**31).to_bytes(4, "little") * 2)


MEMBERS = {
    "twice": lambda files: [*files, files[0]],
    "twice-with-other-content": lambda files: [*files, (files[0][0], b"other")],
    "slip": lambda files: [*files, (f"{STEM}/../../etc/cron.d/evil", b"")],
    "slip-at-the-front": lambda files: [("../evil", b""), *files],
    "absolute": lambda files: [*files, ("/etc/evil", b"")],
    "drive": lambda files: [*files, (f"{STEM}/..\\evil", b"")],
    "outside": lambda files: [*files, ("other/file", b"")],
    "folder-entry": lambda files: [*files, (f"{STEM}/months/", b"")],
    "case": lambda files: [*files, (f"{STEM}/readme.md", b"")],
    "a-file-as-a-folder": lambda files: [*files, (f"{STEM}/README.md/x", b"")],
    "control": lambda files: [*files, (f"{STEM}/a\x1b[2J", b"")],
    "right-to-left": lambda files: [*files, (f"{STEM}/a\u202egnp.sh", b"")],
    "another-stem": lambda files: [(f"x{name}", content) for name, content in files],
    "no-files": lambda files: [],
}


@pytest.mark.parametrize("name", MEMBERS)
def test_members_that_no_bundle_has(verify, bundle_zip, name):
    bundle_zip.write_bytes(archive(bundle_zip, MEMBERS[name]))
    status, said = verify(bundle_zip)
    assert (status, "[audit-bundle-malformed]" in said) == (1, True), said


def another_crc(path):
    """Give the first file another CRC, in its header and in the directory."""
    with path.open("rb") as file:
        members = read_members(file)
    members[0] = members[0]._replace(crc=members[0].crc ^ 1)
    spoil(path, 0, members[0].header)
    spoil(path, members[-1].end, directory(members))


CONTAINERS = {
    "another-crc": another_crc,
    "deflated": deflated,
    "bomb": bomb,
    "text-before": lambda path: path.write_bytes(b"#!/bin/sh\n" + path.read_bytes()),
    "text-after": lambda path: path.write_bytes(path.read_bytes() + b"\n"),
    "cut-off": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "cut-in-a-file": lambda path: path.write_bytes(path.read_bytes()[:5000]),
    "empty": lambda path: path.write_bytes(b""),
    "no-zip": lambda path: path.write_bytes(b"PK" * 5000),
    "comment": lambda path: zipfile.ZipFile(path, "a").__setattr__("comment", b"x"),
    "link": lambda path: spoil(
        path, path.read_bytes().index(b"PK\x01\x02") + 38, (0o120777 << 16).to_bytes(4, "little")
    ),
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_archives_of_another_form(verify, bundle_zip, name):
    CONTAINERS[name](bundle_zip)
    status, said = verify(bundle_zip)
    assert (status, "[audit-bundle-malformed]" in said) == (1, True), said


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(lambda tmp_path: tmp_path / "absent.zip", id="absent"),
        pytest.param(lambda tmp_path: (os.mkfifo(tmp_path / "pipe"), tmp_path / "pipe")[1], id="pipe"),
    ],
)
def test_what_cannot_be_read_is_no_verdict(verify, tmp_path, path):
    status, said = verify(path(tmp_path))
    assert (status, "NOT CHECKED · [file-unreadable]" in said) == (2, True), said


def test_no_byte_of_the_archive_can_be_changed_unnoticed(packed, tmp_path):
    """All bytes that are no file's content, and one byte of each file in every region of it."""
    path = tmp_path / "flipped.zip"
    path.write_bytes(packed)
    with path.open("rb") as file:
        members = read_members(file)
    framing = chain(
        *(range(member.offset, member.content_at) for member in members), range(members[-1].end, len(packed))
    )
    inside = (at for m in members for at in {m.content_at, m.content_at + m.size // 2, m.end - 1} if m.size)
    unnoticed = []
    with path.open("r+b") as file:
        for at in [*framing, *inside]:
            file.seek(at)
            file.write(bytes([packed[at] ^ 1]))
            file.flush()
            if not is_found(path):
                unnoticed.append(at)
            file.seek(at)
            file.write(packed[at : at + 1])
    assert unnoticed == []
    assert not is_found(path)


def is_found(path):
    """Whether the files are refused, before any month is judged."""
    try:
        with path.open("rb") as file:
            contents = ArchiveContents(file)
            manifest, data = read_manifest(contents)
            return bool(faults(contents, manifest, data))
    except VerificationError:
        return True


def test_months_of_another_job_are_refused(verify, unpacked):
    """A bundle that calls itself another job's, in all that its maker can write."""
    relist(unpacked, lambda text: text.replace('"job": "nytaxi"', '"job": "nytaxi_demand"'))
    status, said = verify(unpacked)
    assert (status, said.count("REFUSED     run-id-mismatch")) == (1, 3), said


def test_a_month_of_another_job_under_this_ones_run_id_is_refused(verify, include, tmp_path):
    """The pipeline chooses run ids; what the enclave ran, it cannot."""
    demand = {"name": "nytaxi_demand"}
    other = make_bundle(
        runtime=lambda members: {**members, "job": {**members["job"], **demand}},
        predicate=lambda members: {**members, "job": {**members["job"], **demand}},
    )
    store = FolderStore(tmp_path / "results", DAG_ID)
    publish(
        store, "2018-05", {**other.results, "evidence.json": other.evidence, "report.json": report_of(other)}
    )
    path = tmp_path / "bundle.zip"
    path.write_bytes(b"".join(bundle(Range(store, include).sources(), "2018-05", "2018-05")))
    status, said = verify(path)
    assert (status, "2018-05  REFUSED     job-mismatch the enclave ran nytaxi_demand" in said) == (1, True), (
        said
    )
    assert "trust: nothing was proven" in said
    assert "Compare by eye" not in said


def report_of(made):
    expected = {**made.expected, "expected_job": None}
    facts = made.verify(**expected).to_dict()["facts"]
    return json.dumps(run_report(replace(made, expected=expected)) | {"job": facts["job_name"]}).encode()


def test_a_forger_who_lists_everything_anew_is_found_by_the_evidence(verify, unpacked):
    """Whoever makes manifest and checksum again still cannot make a month."""
    forged = month_files("2018-05", trips=99)["summary.json"]
    old = (unpacked / MAY / "summary.json").read_bytes()
    put(unpacked / MAY / "summary.json", forged)
    relist(unpacked, lambda text: text.replace(sha256(old).hexdigest(), sha256(forged).hexdigest()))
    status, said = verify(unpacked)
    assert (status, "2018-05  REFUSED     result-digest-mismatch" in said) == (1, True), said
    assert "FILE" not in said


def test_one_month_at_a_time_is_unpacked(bundle_zip, monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    with opened(bundle_zip) as contents, contents.folder(MAY) as folder:
        assert {path.name for path in folder.iterdir()} == set(month_files("2018-05"))
        assert [path.name for path in folder.parent.iterdir()] == ["2018-05"]
    assert list(tmp_path.glob("audit-*")) == []
