from __future__ import annotations

import hashlib
import io
import json
import os

import pytest
from confidential_spark.agent.data import files
from confidential_spark.agent.errors import AgentError, ExitCode
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture
def month(tmp_path):
    folder = tmp_path / "puMonth=5 [é]"
    folder.mkdir()
    (folder / "b.parquet").write_bytes(b"bb")
    (folder / "a.parquet").write_bytes(b"a")
    (folder / "_SUCCESS").touch()
    (folder / ".a.parquet.crc").touch()
    return folder


def test_inputs_are_hashed_in_the_order_of_their_names(month):
    assert files.input_files(month.as_uri()) == [
        files.InputFile((month / "a.parquet").as_uri(), 1, hashlib.sha256(b"a").hexdigest()),
        files.InputFile((month / "b.parquet").as_uri(), 2, hashlib.sha256(b"bb").hexdigest()),
    ]


def test_a_copy_has_exactly_the_hashed_bytes(month, tmp_path):
    (month / "b.parquet").write_bytes(b"b" * 3_000_000)
    copies = tmp_path / "copies"
    copies.mkdir()
    assert files.input_files(month.as_uri(), copies) == files.input_files(month.as_uri())
    assert {path.name: path.read_bytes() for path in copies.iterdir()} == {
        "a.parquet": b"a",
        "b.parquet": b"b" * 3_000_000,
    }


def test_a_file_is_read_once_for_hash_and_copy(month, tmp_path, monkeypatch):
    """A host that gives every reader other bytes gets its lie into both or into neither."""
    real, opened = type(month).open, []

    def serve(path, *arguments, **options):
        if path.parent == month:
            opened.append(path.name)
            path.write_bytes(b"answer %d" % len(opened))
        return real(path, *arguments, **options)

    (tmp_path / "copies").mkdir()
    monkeypatch.setattr(type(month), "write_bytes", lambda path, data: real(path, "wb").write(data))
    monkeypatch.setattr(type(month), "open", serve)
    found = files.input_files(month.as_uri(), tmp_path / "copies")
    assert opened == ["a.parquet", "b.parquet"]
    for file in found:
        name = file.uri.rpartition("/")[2]
        copy = real(tmp_path / "copies" / name, "rb").read()
        assert hashlib.sha256(copy).hexdigest() == file.sha256


@pytest.mark.parametrize("copy", [False, True], ids=["in-place", "copied"])
def test_input_that_cannot_be_read_is_named(month, tmp_path, monkeypatch, copy):
    class Broken(io.BytesIO):
        def read(self, *_):
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(files, "open_input", lambda *_: Broken())
    with pytest.raises(AgentError, match=r"input-not-read.*Input/output error: a\.parquet") as caught:
        files.input_files(month.as_uri(), tmp_path if copy else None)
    assert caught.value.exit_code is ExitCode.INPUT_UNUSABLE


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda r: (r / "tables").write_text(""), id="file-in-the-way"),
        pytest.param(lambda r: (r / "summary.json").symlink_to(r / "elsewhere"), id="planted-link"),
        pytest.param(lambda r: (r / "summary.json").touch(), id="planted-file"),
    ],
)
def test_results_are_copied_to_new_files_only(tmp_path, spoil):
    private, results = tmp_path / "private", tmp_path / "results"
    (private / "tables").mkdir(parents=True)
    (private / "summary.json").write_text("s")
    (private / "tables" / "t.parquet").write_text("t")
    names = files.result_digests(private)
    files.copy_results(private, names, results)
    assert files.result_digests(results) == names

    spoiled = tmp_path / "spoiled"
    spoiled.mkdir()
    spoil(spoiled)
    with pytest.raises(AgentError, match="results-not-copied") as caught:
        files.copy_results(private, names, spoiled)
    assert caught.value.exit_code is ExitCode.RESULTS_INCOMPLETE
    assert not (spoiled / "elsewhere").exists()


def test_a_file_that_grows_is_not_read_to_its_end(month, tmp_path):
    """A host must not be able to fill an executor's memory with bytes that nobody listed."""
    (month / "a.parquet").write_bytes(b"a" * 5_000_000)
    (tmp_path / "copies").mkdir()
    size, _ = files.read_input(month.as_uri(), "a.parquet", copy_to=tmp_path / "copies", at_most=1)
    assert 1 < size == (tmp_path / "copies" / "a.parquet").stat().st_size < 5_000_000


@pytest.mark.parametrize("size", [0, 1, 2_097_152], ids=["empty", "short", "whole-chunks"])
def test_a_file_of_the_expected_size_is_read_whole(month, tmp_path, size):
    data = b"a" * size
    (month / "a.parquet").write_bytes(data)
    (tmp_path / "copies").mkdir()
    found = files.read_input(month.as_uri(), "a.parquet", copy_to=tmp_path / "copies", at_most=size)
    assert found == (size, hashlib.sha256(data).hexdigest())


@pytest.mark.parametrize("name", ["a.parquet", "ü %41 #?.parquet", "a\nb.parquet"])
def test_an_input_file_knows_its_name(tmp_path, name):
    assert files.InputFile((tmp_path / name).as_uri(), 1, "ab").name == name


def test_a_name_that_is_no_utf8_is_not_mistaken_for_another(tmp_path):
    name = os.fsdecode(b"\xff.parquet")
    assert files.InputFile((tmp_path / name).as_uri(), 1, "ab").name == name


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda m: (m / "a.parquet").write_bytes(b"x"), id="same-size"),
        pytest.param(lambda m: (m / "a.parquet").unlink(), id="removed"),
        pytest.param(lambda m: (m / "z.parquet").touch(), id="added"),
    ],
)
def test_a_change_of_the_input_is_refused(month, change):
    before = files.input_files(month.as_uri())
    files.require_unchanged(before, files.input_files(month.as_uri()))
    change(month)
    with pytest.raises(AgentError, match="input-changed") as caught:
        files.require_unchanged(before, files.input_files(month.as_uri()))
    assert caught.value.exit_code is ExitCode.INPUT_CHANGED


def test_result_digests_cover_every_file(tmp_path):
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "t.parquet").write_bytes(b"t")
    (tmp_path / ".hidden").write_bytes(b"h")
    assert files.result_digests(tmp_path) == {
        ".hidden": hashlib.sha256(b"h").hexdigest(),
        "tables/t.parquet": hashlib.sha256(b"t").hexdigest(),
    }


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda r: (r / "link").symlink_to("/etc/passwd"), id="symlink"),
        pytest.param(lambda r: os.mkfifo(r / "pipe"), id="pipe"),
        pytest.param(lambda r: (r / "envelope.json").touch(), id="forged-envelope"),
    ],
)
def test_refuses_results(tmp_path, spoil):
    spoil(tmp_path)
    with pytest.raises(AgentError, match="results-foreign-file") as caught:
        files.result_digests(tmp_path)
    assert caught.value.exit_code is ExitCode.RESULTS_INCOMPLETE


ROWS = {"input": 3, "accepted": 2, "rejected": 1}


def test_row_counts_come_from_the_summary(tmp_path):
    (tmp_path / "summary.json").write_text(json.dumps({"job": "j", "rows": ROWS, "more": 1}))
    assert files.summary_rows(tmp_path, "j") == ROWS


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("", id="empty"),
        pytest.param("[]", id="a-list"),
        pytest.param("[" * 100_000, id="deep-nesting"),
        pytest.param(json.dumps({"job": "other", "rows": ROWS}), id="other-job"),
        pytest.param(json.dumps({"job": "j"}), id="no-rows"),
        pytest.param(json.dumps({"job": "j", "rows": ROWS | {"input": 4}}), id="sum-differs"),
        pytest.param(json.dumps({"job": "j", "rows": ROWS | {"input": 3.0}}), id="float"),
        pytest.param(
            json.dumps({"job": "j", "rows": {"input": 0, "accepted": -1, "rejected": 1}}), id="negative"
        ),
        pytest.param(json.dumps({"job": "j", "rows": [1, 2, 3]}), id="rows-are-a-list"),
        pytest.param(json.dumps({"job": "j", "rows": ROWS}) + " " * 5_000_000, id="too-large"),
    ],
)
def test_refuses_a_summary(tmp_path, content):
    (tmp_path / "summary.json").write_text(content)
    with pytest.raises(AgentError, match="summary-malformed"):
        files.summary_rows(tmp_path, "j")


@given(st.binary(max_size=200))
def test_any_summary_is_read_or_refused_by_name(tmp_path_factory, raw):
    folder = tmp_path_factory.mktemp("summary")
    (folder / "summary.json").write_bytes(raw)
    with pytest.raises(AgentError, match="summary-malformed"):
        files.summary_rows(folder, "j")


def test_no_summary_is_named(tmp_path):
    with pytest.raises(AgentError, match="summary-missing"):
        files.summary_rows(tmp_path, "j")


def test_a_json_file_is_complete_or_absent(tmp_path):
    files.write_json(tmp_path / "a.json", {"ü": 1})
    assert json.loads((tmp_path / "a.json").read_text()) == {"ü": 1}
    with pytest.raises(TypeError):
        files.write_json(tmp_path / "b.json", {"key": object()})
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
