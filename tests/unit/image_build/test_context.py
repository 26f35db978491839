"""The build context depends on content only, and nothing that changed on the way gets into an image."""

from __future__ import annotations

import io
import tarfile
from types import SimpleNamespace

import pytest
from confidential_spark.core.errors import InputError
from confidential_spark.image_build.context import (
    BuildContext,
    ContextFile,
    InputList,
    list_of_inputs,
    record_inputs,
    recorded_inputs,
)
from confidential_spark.image_build.operators import ResolveInputsOperator
from hypothesis import given
from hypothesis import strategies as st

names = st.from_regex(r"[a-z]{1,8}(/[a-z]{1,60}){0,4}", fullmatch=True)
contents = st.dictionaries(names, st.binary(max_size=2000), max_size=8)


def context_of(files: dict[str, bytes], **changes) -> BuildContext:
    made = {path: ContextFile.containing(content) for path, content in files.items()}
    return BuildContext(made, {"ARG": "1"}, "sha256:base", **changes)


def unpacked(context: BuildContext) -> tarfile.TarFile:
    return tarfile.open(fileobj=io.BytesIO(b"".join(context.tar())))


@given(contents)
def test_the_tar_has_exactly_the_files(files) -> None:
    # A path that is a file and a folder cannot come from a file system.
    files = {p: c for p, c in files.items() if not any(other.startswith(f"{p}/") for other in files)}
    with unpacked(context_of(files)) as tar:
        members = {member.name: member for member in tar.getmembers()}
        read = {name: tar.extractfile(m).read() for name, m in members.items() if m.isfile()}
        assert read == files
        assert {m.mtime for m in members.values()} <= {0}
        assert {(m.uid, m.gid) for m in members.values()} <= {(0, 0)}


@given(contents)
def test_order_does_not_matter(files) -> None:
    backwards = dict(reversed(files.items()))
    assert context_of(files).inputs_sha256 == context_of(backwards).inputs_sha256
    assert b"".join(context_of(files).tar()) == b"".join(context_of(backwards).tar())


BASE = context_of({"a": b"1", "b": b"2"})


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(context_of({"a": b"1", "b": b"3"}), id="content"),
        pytest.param(context_of({"a": b"1", "c": b"2"}), id="name"),
        pytest.param(context_of({"a": b"1"}), id="file-removed"),
        pytest.param(BuildContext(BASE.files, {"ARG": "2"}, "sha256:base"), id="argument"),
        pytest.param(BuildContext(BASE.files, {"ARG": "1"}, "sha256:other"), id="base"),
        pytest.param(
            BuildContext(
                {**BASE.files, "a": ContextFile(b"1", BASE.files["a"].sha256, executable=True)},
                {"ARG": "1"},
                "sha256:base",
            ),
            id="executable",
        ),
    ],
)
def test_every_input_counts(other) -> None:
    assert other.inputs_sha256 != BASE.inputs_sha256


def test_an_executable_stays_one(tmp_path) -> None:
    script = tmp_path / "run.sh"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o711)
    with unpacked(BuildContext({"s/run.sh": ContextFile.of(script)}, {}, "", empty_folders=("jars",))) as tar:
        modes = {member.name: (member.isdir(), member.mode) for member in tar.getmembers()}
    assert modes == {"jars": (True, 0o755), "s": (True, 0o755), "s/run.sh": (False, 0o755)}


def test_a_file_that_changes_on_the_way_is_refused(tmp_path) -> None:
    path = tmp_path / "job.py"
    path.write_text("reviewed")
    context = BuildContext({"job.py": ContextFile.of(path)}, {}, "")
    path.write_text("replaced")
    with pytest.raises(InputError) as refusal:
        b"".join(context.tar())
    assert refusal.value.code == "build-input-changed"
    assert "job.py" in str(refusal.value)


def test_the_list_of_inputs_is_kept_beside_the_ledger(tmp_path) -> None:
    ledger, context = tmp_path / "approvals.jsonl", context_of({"a": b"1", "b/c": b"2"})
    record_inputs(ledger, context)
    record_inputs(ledger, context)
    place = tmp_path / "approvals.inputs" / f"{context.inputs_sha256}.json"
    assert list(place.parent.iterdir()) == [place]
    digests = {path: file.sha256 for path, file in context.files.items()}
    expected = InputList("sha256:base", {"ARG": "1"}, (), digests)
    assert recorded_inputs(ledger, context.inputs_sha256) == expected


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda place: place.unlink(), id="absent"),
        pytest.param(lambda place: place.write_bytes(place.read_bytes() + b" "), id="changed"),
        pytest.param(lambda place: place.write_bytes(b" " * (4 * 1024 * 1024 + 1)), id="too-large"),
    ],
)
def test_a_list_that_is_not_what_its_name_says_is_none(tmp_path, change) -> None:
    ledger = tmp_path / "approvals.jsonl"
    record_inputs(ledger, BASE)
    assert recorded_inputs(ledger, BASE.inputs_sha256)
    change(list_of_inputs(ledger, BASE.inputs_sha256))
    assert recorded_inputs(ledger, BASE.inputs_sha256) is None


@pytest.mark.parametrize(
    ("folder", "needed", "kept"),
    [
        pytest.param("", True, True, id="beside-the-ledger"),
        pytest.param("absent", True, False, id="not-writable"),
        pytest.param("", False, False, id="no-ledger"),
    ],
)
def test_a_list_that_cannot_be_kept_stops_no_build(tmp_path, folder, needed, kept) -> None:
    ledger = tmp_path / folder / "approvals.jsonl"
    policy = SimpleNamespace(identities=SimpleNamespace(needs_ledger=needed), approvals_path=ledger)
    ResolveInputsOperator(task_id="resolve_inputs").record(BASE, policy)
    assert (recorded_inputs(ledger, BASE.inputs_sha256) is not None) is kept
