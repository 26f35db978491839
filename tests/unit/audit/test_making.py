"""`audit bundle`: everything that an auditor needs, nothing that nobody vouches for, and no secret."""

from __future__ import annotations

import errno
import io
import json
import os
import tracemalloc
import zipfile
from dataclasses import dataclass

import pytest
import yaml
from confidential_spark.audit.making import bundle as making
from confidential_spark.audit.making.bundle import bundle
from confidential_spark.audit.making.credentials import require_no_credential
from confidential_spark.cli.main import main
from confidential_spark.core.errors import ConfigurationError, InputError
from confidential_spark.image_build.ledger import append_approval
from confidential_spark.settings import forget_settings
from confidential_spark.verification.policy.ledger import Approval

from tests.support.factories.bundles import IDENTITY, make_bundle
from tests.support.places import ROOT
from tests.support.published_range import Range, month_files, publish
from tests.unit.audit.conftest import FIRST, LAST, MONTHS, STEM
from tests.unit.ui.conftest import DAG_ID, POLICY_FILE

SECRET = "sv=2026-01-01&sp=rl&sig=c2VjcmV0LXNlY3JldC1zZWNyZXQ%3D"


def files_of(data):
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        assert file.testzip() is None
        return {name.removeprefix(f"{STEM}/"): file.read(name) for name in file.namelist()}


def made(sources):
    return b"".join(bundle(sources, FIRST, LAST))


def test_everything_that_an_auditor_needs(complete, include):
    files = files_of(made(complete.sources()))
    results = {"summary.json", "by_hour.parquet", "tables/part"}
    companions = {"evidence.json", "envelope.json", "report.json"}
    months = {f"months/{month}/{name}" for month in MONTHS for name in results | companions}
    policy = {"policy/simulation.yaml", "policy/roots/development-root-ca.pem"}
    others = {"README.md", "verify-all.sh", "manifest.json", "manifest.sha256", "keys/signing-keys.json"}
    assert files.keys() == months | policy | others | {"jobs/nytaxi.py"}
    assert files["policy/simulation.yaml"] == (include / "policies/simulation.yaml").read_bytes()
    assert files["jobs/nytaxi.py"] == (include / "jobs/nytaxi.py").read_bytes()
    published = complete.store.current("month=2018-05").location
    assert files["months/2018-05/evidence.json"] == (published / "evidence.json").read_bytes()


def test_the_same_results_give_the_same_bytes(complete, tmp_path):
    first = made(complete.sources())
    for path in (tmp_path / "results").rglob("*"):
        if not path.is_symlink():
            os.utime(path, (1, 1))
    assert made(complete.sources()) == first


def test_the_readme_is_for_an_outsider(complete):
    text = files_of(made(complete.sources()))["README.md"].decode()
    assert text.startswith(
        "# Audit bundle: nytaxi on local, 2018-04 to 2018-06\n\n**SIMULATED – proves nothing"
    )
    assert "3 of 3 months VERIFIED. None is missing." in text
    for said in ("What it proves", "What it does not prove", "--policy YOUR-POLICY.yaml", "--trust-bundle"):
        assert said in text
    assert "{" not in text


def test_the_readme_of_a_hardware_policy_says_so(complete, include):
    sources = complete.sources(policy=ROOT / "include/policies/production.yaml")
    files = files_of(made(sources))
    text = files["README.md"].decode()
    assert "SIMULATED" not in text.partition("## What this is")[0]
    assert "https://sharedweu.weu.attest.azure.net/certs" in text
    assert "0 of 3 months VERIFIED" in text
    assert "| 2018-05 | REFUSED | `jku-mismatch` |" in text
    assert "policy/roots/intel-sgx-root-ca.pem" in files
    assert json.loads(files["manifest.json"])["ledger"] is None


def test_what_is_not_verified_is_named(deployed, verify, tmp_path):
    publish(deployed.store, "2018-04", month_files("2018-04"))
    version = publish(deployed.store, "2018-05", month_files("2018-05"))
    (version.location / "summary.json").write_text("{}")
    (version.location / "notes.txt").write_text("nobody vouches for this")
    data = made(deployed.sources(ended=lambda month: "spark-failed"))
    files = files_of(data)
    assert "months/2018-05/notes.txt" not in files
    text = files["README.md"].decode()
    assert "**Not verified: 2018-05 (REFUSED), 2018-06 (MISSING).**" in text
    assert "| 2018-05 | REFUSED | `result-digest-mismatch` 1 files beside the results are left out" in text
    assert "| 2018-06 | MISSING | `spark-failed` |" in text

    (tmp_path / "bundle.zip").write_bytes(data)
    status, said = verify(tmp_path / "bundle.zip")
    assert status == 1
    assert "2018-05  REFUSED     result-digest-mismatch" in said
    assert "2018-06  MISSING     the bundle says: MISSING spark-failed" in said
    assert "1 of 3 months VERIFIED · 1 REFUSED (2018-05) · 1 MISSING (2018-06)" in said
    assert "FILE" not in said


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda folder: (folder / "evidence.json").write_bytes(b"{}"), id="malformed"),
        pytest.param(lambda folder: (folder / "evidence.json").unlink(), id="absent"),
        pytest.param(
            lambda folder: ((folder / "evidence.json").unlink(), (folder / "evidence.json").mkdir()),
            id="folder",
        ),
        pytest.param(
            lambda folder: (
                (folder / "evidence.json").unlink(),
                (folder / "evidence.json").symlink_to("report.json"),
            ),
            id="link",
        ),
    ],
)
def test_a_month_without_evidence_is_refused_and_keeps_the_others(complete, verify, tmp_path, spoil):
    spoil(complete.store.current("month=2018-05").location)
    (tmp_path / "bundle.zip").write_bytes(made(complete.sources()))
    status, said = verify(tmp_path / "bundle.zip")
    assert (status, "2018-05  REFUSED     evidence-malformed" in said) == (1, True), said
    assert "2 of 3 months VERIFIED" in said


def test_names_of_a_statement_are_no_paths(deployed, verify, tmp_path):
    """Whoever publishes evidence that lists ../ gets nothing of the machine into the bundle."""
    (tmp_path / "secret.txt").write_text("secret")
    version = publish(deployed.store, "2018-05", month_files("2018-05"))
    subject = [{"name": "../../../../../secret.txt", "digest": {"sha256": "ab" * 32}}]
    evil = make_bundle(statement=lambda statement: {**statement, "subject": subject})
    (version.location / "evidence.json").write_bytes(evil.evidence)
    data = made(deployed.sources())
    assert b"secret" not in data
    (tmp_path / "bundle.zip").write_bytes(data)
    assert "2018-05  REFUSED" in verify(tmp_path / "bundle.zip")[1]


def with_input(uri):
    """Return the evidence of a run whose signed statement names this input."""
    inputs = [{"uri": uri, "bytes": 4, "sha256": "ab" * 32}]
    return make_bundle(predicate=lambda members: {**members, "inputs": inputs}).evidence


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param(
            "report.json", json.dumps({"uri": f"https://a.example/c?{SECRET}"}).encode(), id="report"
        ),
        pytest.param(
            "report.json",
            b'{"uri": "https://a.example/c?sp=r\\u0026s\\u0069g=c2VjcmV0"}',
            id="report-with-escapes",
        ),
        pytest.param("evidence.json", with_input(f"https://a.example/c?{SECRET}"), id="statement"),
        pytest.param(
            "report.json", b"DefaultEndpointsProtocol=https;AccountKey=c2VjcmV0", id="connection-string"
        ),
        pytest.param("report.json", json.dumps({"https://ann:pass@a.example": 1}).encode(), id="password"),
    ],
)
def test_no_bundle_is_made_with_a_credential(complete, name, content):
    (complete.store.current("month=2018-05").location / name).write_bytes(content)
    with pytest.raises(InputError, match="audit-credential") as raised:
        made(complete.sources())
    assert f"months/2018-05/{name}" in str(raised.value)
    for secret in ("c2Vj", "pass@"):
        assert secret not in str(raised.value)


def shipped():
    """Return the files of include/, without the approvals of images that were built in this checkout."""
    files = (path for path in (ROOT / "include").rglob("*.*") if path.is_file())
    return sorted(path for path in files if "approvals-simulated." not in str(path))


@pytest.mark.parametrize("path", shipped(), ids=lambda path: path.name)
def test_what_this_project_ships_contains_no_credential(path):
    require_no_credential(path.name, path.read_bytes())


class TestPolicy:
    @pytest.fixture
    def policy(self, tmp_path):
        folder = tmp_path / "policies"
        (folder / "roots").mkdir(parents=True)
        root = (ROOT / "include/policies/roots/development-root-ca.pem").read_bytes()
        (folder / "roots/development-root-ca.pem").write_bytes(root)

        def write(roots=("roots/development-root-ca.pem",), **members):
            value = {**POLICY_FILE, "dcap": {**POLICY_FILE["dcap"], "roots": list(roots)}, **members}
            (folder / "own.yaml").write_text(yaml.safe_dump(value))
            return folder / "own.yaml"

        return write

    def test_the_ledger_goes_with_a_policy_that_needs_it(self, complete, policy, verify, tmp_path):
        path = policy(
            identities={
                **POLICY_FILE["identities"],
                "mrenclave": {"allow": "ledger"},
                "mrsigner": {"allow": "ledger"},
            },
            ledger="ledger/approvals.jsonl",
        )
        (path.parent / "ledger").mkdir()
        who = (IDENTITY.mrenclave.hex(), IDENTITY.mrsigner.hex(), 7, 3, "ab" * 20)
        approval = Approval("2026-11-23T10:00:00Z", "ann", "sha256:" + "cd" * 32, *who)
        append_approval(path.parent / "ledger/approvals.jsonl", approval)
        data = made(complete.sources(policy=path))
        assert "policy/ledger/approvals.jsonl" in files_of(data)
        (tmp_path / "bundle.zip").write_bytes(data)
        status, said = verify(tmp_path / "bundle.zip", "--trust-bundle", policy=False)
        assert status == 0, said
        assert "JUDGED BY THE BUNDLE'S OWN policy, ledger, programs" in said

    def test_keys_go_with_a_policy_that_pins_none(self, complete, policy, verify, tmp_path):
        path = policy(attestation={**POLICY_FILE["attestation"], "token_signing_keys": None})
        (tmp_path / "bundle.zip").write_bytes(made(complete.sources(policy=path)))
        own = ["--policy", str(path)]
        status, said = verify(tmp_path / "bundle.zip", *own, policy=False)
        assert (status, said.count("NOT CHECKED jwks-missing")) == (2, 3), said
        status, said = verify(tmp_path / "bundle.zip", *own, "--trust-bundle", policy=False)
        assert status == 0, said
        assert "JUDGED BY THE BUNDLE'S OWN signing keys, programs" in said

    def test_roots_that_stand_in_the_policy_need_no_file(self, complete, policy):
        files = files_of(made(complete.sources(policy=policy(POLICY_FILE["dcap"]["roots"]))))
        assert [name for name in files if name.startswith("policy/")] == ["policy/own.yaml"]

    @pytest.mark.parametrize("where", ["../root.pem", "absolute"])
    def test_a_root_beside_the_policys_folder_cannot_be_handed_over(self, complete, policy, tmp_path, where):
        (tmp_path / "root.pem").write_bytes(
            (ROOT / "include/policies/roots/development-root-ca.pem").read_bytes()
        )
        name = str(tmp_path / "root.pem") if where == "absolute" else where
        with pytest.raises(ConfigurationError, match="audit-policy-paths"):
            made(complete.sources(policy=policy([name])))


@dataclass(frozen=True)
class ManyMonths:
    """The same few megabytes for each month."""

    size: int

    def names(self):
        return ["evidence.json", "report.json"]

    def content(self, name, limit):
        return b"\xff" * self.size


def test_a_long_range_is_never_in_memory_at_once(complete):
    sources = complete.sources(published=lambda month: ManyMonths(2 * 1024 * 1024))
    tracemalloc.start()
    size = sum(len(piece) for piece in bundle(sources, "2009-01", "2010-12"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size > 24 * 4 * 1024 * 1024
    assert peak < 40 * 1024 * 1024


@pytest.mark.parametrize(
    ("limit", "value"), [("MAX_MONTH_BYTES", 100), ("MAX_EVIDENCE_BYTES", 100)], ids=["month", "evidence"]
)
def test_what_is_too_large_for_a_bundle_says_so(complete, monkeypatch, limit, value):
    monkeypatch.setattr(making, limit, value)
    with pytest.raises(InputError, match="audit-too-large"):
        made(complete.sources())


class TestCommand:
    @pytest.fixture
    def command(self, complete, include, tmp_path, capsys, monkeypatch):
        monkeypatch.setenv("CONFIDENTIAL_SPARK_INCLUDE_DIR", str(include))
        monkeypatch.setenv("CONFIDENTIAL_SPARK_RESULTS_DIR", str(tmp_path / "results"))
        forget_settings()

        def command(job="nytaxi", **changes):
            options = {
                "platform": "local",
                "from": FIRST,
                "to": LAST,
                "output": tmp_path / "b.zip",
                **changes,
            }
            given = [part for name, value in options.items() for part in (f"--{name}", str(value))]
            status = main(["audit", "bundle", job, *given])
            said = capsys.readouterr()
            return status, said.out + said.err

        yield command
        forget_settings()

    def test_makes_and_verifies(self, command, verify, tmp_path):
        status, said = command()
        assert status == 0, said
        assert "3 of 3 months VERIFIED" in said
        assert verify(tmp_path / "b.zip")[0] == 0
        assert sorted(path.name for path in tmp_path.iterdir()) == ["b.zip", "results"]

    def test_says_what_is_not_verified(self, command):
        status, said = command(to="2018-07")
        assert (status, "1 MISSING (2018-07)" in said) == (1, True)

    def test_a_month_whose_tries_were_refused_is_named_so(self, command, complete, tmp_path):
        store = complete.store
        staging = store.stage("month=2018-07", "run.1")
        (staging / "envelope.json").write_text("{}")
        assert store.discard_run("month=2018-07", "run", keep_signed=True)
        status, said = command(to="2018-07")
        assert status == 1
        assert "2018-07  MISSING     the bundle says: MISSING try-refused" in said

    def test_overwrites_nothing(self, command, tmp_path):
        (tmp_path / "b.zip").write_text("mine")
        assert command() == (2, f"{tmp_path / 'b.zip'} exists: name a new file\n")
        assert (tmp_path / "b.zip").read_text() == "mine"

    @pytest.mark.parametrize(
        ("changes", "code"),
        [
            pytest.param({"job": "sparkpi"}, "audit-job-unknown", id="job-without-months"),
            pytest.param({"job": "../nytaxi"}, "audit-job-unknown", id="no-job"),
            pytest.param({"to": "2018-03"}, "audit-range", id="no-range"),
            pytest.param({"platform": "aks"}, "policy-unreadable", id="policy-not-there"),
            pytest.param({"job-file": "absent.py"}, "[audit-files]", id="no-program"),
            pytest.param({"output": "absent/b.zip"}, "[audit-files]", id="no-folder"),
            pytest.param({"location": "wasbs://c"}, "results-location", id="no-location"),
        ],
    )
    def test_what_cannot_be_made_leaves_nothing(self, command, tmp_path, changes, code):
        status, said = command(**changes)
        assert (status, said.startswith("NOT MADE · "), code in said) == (2, True, True), said
        assert [path.name for path in tmp_path.iterdir()] == ["results"]

    def test_what_breaks_off_leaves_nothing(self, command, complete, tmp_path):
        (complete.store.current("month=2018-06").location / "report.json").write_text(f"?{SECRET}")
        status, said = command()
        assert (status, "audit-credential" in said) == (2, True)
        assert [path.name for path in tmp_path.iterdir()] == ["results"]

    def test_an_older_program_goes_with_it(self, command, verify, tmp_path):
        (tmp_path / "older.py").write_text("older")
        assert command(**{"job-file": tmp_path / "older.py"})[0] == 0
        with zipfile.ZipFile(tmp_path / "b.zip") as file:
            programs = [name for name in file.namelist() if "/jobs/" in name]
        assert len(programs) == 2

    def test_a_full_disk_is_named_with_the_file(self, command, tmp_path, monkeypatch):
        def full(pieces, path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr("confidential_spark.cli.audit_bundle.write", full)
        status, said = command()
        assert status == 2
        assert (
            f"[audit-files] The bundle cannot be made. · got: No space left on device: {tmp_path / 'b.zip'}"
            in said
        )


def test_months_of_another_platform_are_refused(include, tmp_path, verify):
    """Results that were copied into another DAG's place."""
    from confidential_spark.hooks.results.folder_store import FolderStore

    deployed = Range(FolderStore(tmp_path / "results", "nytaxi_aks"), include)
    for month in MONTHS:
        publish(deployed.store, month, month_files(month, dag_id=DAG_ID))
    data = b"".join(bundle(deployed.sources(platform="aks"), FIRST, LAST))
    (tmp_path / "bundle.zip").write_bytes(data)
    status, said = verify(tmp_path / "bundle.zip")
    assert (status, said.count("REFUSED     run-id-mismatch")) == (1, 3)
