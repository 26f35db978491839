from __future__ import annotations

import io
import json
import zipfile

import pytest
from confidential_spark.ui.results import archive as module
from confidential_spark.ui.results.archive import archive, archive_stem
from confidential_spark.verification import Outcome
from hypothesis import given
from hypothesis import strategies as st

from tests.support.factories.bundles import make_bundle, run_report

STEM = "nytaxi_local-2018-05"


@pytest.fixture
def version(tmp_path):
    """A published version whose results lie in folders too."""
    bundle, folder = make_bundle(), tmp_path / "version"
    files = {
        **bundle.results,
        "evidence.json": bundle.evidence,
        "report.json": json.dumps(run_report(bundle)).encode(),
    }
    files["envelope.json"] = json.dumps(json.loads(bundle.evidence)["envelope"]).encode()
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def names(content: bytes) -> list[str]:
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        assert {member.compress_type for member in file.infolist()} == {zipfile.ZIP_STORED}
        return file.namelist()


def test_holds_every_signed_file_and_the_companions_and_nothing_else(version):
    (version / "notes.txt").write_text("nothing vouches for this")

    assert names(archive(version, STEM)) == [
        f"{STEM}/{name}"
        for name in (
            *("by_hour/part-0.parquet", "empty.csv", "envelope.json", "evidence.json"),
            *("report.json", "summary.json"),
        )
    ]


def test_what_is_unpacked_verifies(version, tmp_path):
    with zipfile.ZipFile(io.BytesIO(archive(version, STEM))) as file:
        file.extractall(tmp_path)

    evidence = (tmp_path / STEM / "evidence.json").read_bytes()
    report = make_bundle().verify(evidence=evidence, results=tmp_path / STEM)

    assert report.outcome is Outcome.VERIFIED, report.text()


def test_the_same_files_give_the_same_bytes(version):
    assert archive(version, STEM) == archive(version, STEM)


def test_a_link_is_not_a_signed_file(version, tmp_path):
    (tmp_path / "elsewhere").write_bytes(b"secret")
    (version / "summary.json").unlink()
    (version / "summary.json").symlink_to(tmp_path / "elsewhere")

    assert archive(version, STEM) is None


@pytest.mark.parametrize("name", ["evidence.json", "empty.csv", "by_hour/part-0.parquet"])
def test_without_a_file_that_verification_needs_there_is_no_archive(version, name):
    (version / name).unlink()
    assert archive(version, STEM) is None


def test_companions_that_verification_does_not_need_may_be_absent(version):
    (version / "report.json").unlink()
    assert f"{STEM}/evidence.json" in names(archive(version, STEM))


def test_the_limit_counts_all_files_together(version, monkeypatch):
    total = sum(path.stat().st_size for path in version.rglob("*") if path.is_file())
    monkeypatch.setattr(module, "MAX_ARCHIVE_BYTES", total)
    assert archive(version, STEM) is not None

    monkeypatch.setattr(module, "MAX_ARCHIVE_BYTES", total - 1)
    assert archive(version, STEM) is None


@given(st.binary(max_size=200))
def test_evidence_of_any_bytes_has_no_archive(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("version")
    (folder / "evidence.json").write_bytes(content)
    assert archive(folder, STEM) is None


@pytest.mark.parametrize("subject", [None, 5, [1], [{}], [{"name": 5}], [{"name": "../outside"}]], ids=repr)
def test_a_statement_of_another_shape_names_nothing_outside(version, subject):
    (version.parent / "outside").write_text("secret")
    evidence = make_bundle(statement=lambda statement: {**statement, "subject": subject}).evidence
    (version / "evidence.json").write_bytes(evidence)
    content = archive(version, STEM)

    assert content is None or not [name for name in names(content) if "outside" in name]


@pytest.mark.parametrize(
    ("key", "stem"),
    [
        ("month=2018-05", STEM),
        ("run=manual-1", "nytaxi_local-manual-1"),
        ('run=a"\r\nb/é', "nytaxi_local-a---b--"),
    ],
)
def test_the_stem_is_a_plain_file_name(key, stem):
    assert archive_stem("nytaxi_local", key) == stem
