"""The list of input files: what a driver's enclave may sign, and an executor's takes."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote

import pytest
from confidential_spark.agent.data.files import InputFile, input_files
from confidential_spark.agent.errors import AgentError, ExitCode
from confidential_spark.agent.executors.input_list import (
    MAX_FILES,
    MAX_NAME_BYTES,
    ListedFile,
    copy_listed,
    input_list,
    parse_input_list,
)
from hypothesis import given
from hypothesis import strategies as st

DIGEST = "ab" * 32
FILE = {"name": "part-0.parquet", "bytes": 5, "sha256": DIGEST}


def named(name: str) -> dict[str, object]:
    return {**FILE, "name": name}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("part-00000-tid-1-c000.snappy.parquet", id="of-spark"),
        pytest.param("é 100% [#?]*.parquet", id="odd-characters"),
        pytest.param("a..parquet", id="two-dots"),
        pytest.param("x" * (MAX_NAME_BYTES - 8) + ".parquet", id="longest"),
    ],
)
def test_files_are_listed_as_the_driver_read_them(name):
    read = [InputFile(f"file:///host/data/input/{quote(name)}", 5, DIGEST)]
    records = json.loads(json.dumps(input_list(read)))
    assert records == [named(name)]
    assert parse_input_list(records) == [ListedFile(name, 5, DIGEST)]


@pytest.mark.parametrize(
    ("records", "why"),
    [
        pytest.param(None, "no list", id="null"),
        pytest.param(FILE, "no list", id="one-file"),
        pytest.param([[]], "mapping", id="file-is-a-list"),
        pytest.param([None], "mapping", id="file-is-null"),
        pytest.param([{"name": "a.parquet", "bytes": 5}], "sha256", id="no-digest"),
        pytest.param([{**FILE, "more": 1}], "more", id="another-member"),
        pytest.param([named("a/b.parquet")], "no name", id="slash"),
        pytest.param([named("/etc/x.parquet")], "no name", id="absolute"),
        pytest.param([named("../a.parquet")], "no name", id="parent"),
        pytest.param([named("..")], "no name", id="dots"),
        pytest.param([named("")], "no name", id="empty"),
        pytest.param([named(".a.parquet")], "no name", id="hidden"),
        pytest.param([named("_a.parquet")], "no name", id="ignored-by-spark"),
        pytest.param([named("a.txt")], "no name", id="no-parquet"),
        pytest.param([named("a.parquet\n")], "no name", id="line-end"),
        pytest.param([named("a\0.parquet")], "no name", id="zero"),
        pytest.param([named("\udcff.parquet")], "no name", id="no-utf8"),
        pytest.param([named("é" * 124 + ".parquet")], "more than 255 bytes", id="long"),
        pytest.param([named(7)], "no name", id="name-is-a-number"),
        pytest.param([{**FILE, "bytes": "5"}], "no size", id="size-is-text"),
        pytest.param([{**FILE, "bytes": True}], "no size", id="size-is-true"),
        pytest.param([{**FILE, "bytes": 5.0}], "no size", id="size-is-no-integer"),
        pytest.param([{**FILE, "bytes": -1}], "no size", id="size-is-negative"),
        pytest.param([{**FILE, "sha256": DIGEST.upper()}], "no size, or no SHA-256", id="upper-case"),
        pytest.param([{**FILE, "sha256": DIGEST[:-1]}], "no size, or no SHA-256", id="short-digest"),
        pytest.param([{**FILE, "sha256": None}], "no size, or no SHA-256", id="digest-is-null"),
        pytest.param([FILE, {**FILE, "sha256": "cd" * 32}], "listed twice", id="twice"),
        pytest.param([named(f"{n}.parquet") for n in range(MAX_FILES + 1)], "at most 256", id="too-many"),
    ],
)
def test_what_no_driver_lists_is_refused(records, why):
    with pytest.raises((ValueError, TypeError), match=why):
        parse_input_list(records)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
NAMES = st.text(max_size=12) | st.text(max_size=12).map(lambda stem: f"{stem}.parquet")
DIGESTS = st.just(DIGEST) | st.text("0123456789abcdef", min_size=63, max_size=65)
FILES = st.fixed_dictionaries(
    {"name": NAMES | JSON, "bytes": st.integers(-1, 9) | JSON, "sha256": DIGESTS | JSON},
    optional={"more": JSON},
)


@given(JSON | st.lists(FILES, max_size=4))
def test_any_list_is_taken_as_it_is_or_refused(records):
    try:
        listed = parse_input_list(records)
    except (ValueError, TypeError):
        return
    assert [vars(file) for file in listed] == records
    for name in [file.name for file in listed]:
        assert Path("/private", name).parent == Path("/private")
        assert name.isprintable()
        assert not name.startswith((".", "_"))
    assert len({file.name for file in listed}) == len(listed)


@pytest.mark.parametrize(
    ("inputs", "why"),
    [
        pytest.param(["a%0Ab"], "no name", id="line-end"),
        pytest.param(["%FF"], "no name", id="no-utf8"),
        pytest.param(["x" * 248], "more than 255 bytes", id="long"),
        pytest.param([str(n) for n in range(MAX_FILES + 1)], "257 files", id="too-many"),
    ],
)
def test_a_driver_refuses_by_name_what_executors_would(inputs, why):
    read = [InputFile(f"file:///host/data/input/{name}.parquet", 5, DIGEST) for name in inputs]
    with pytest.raises(AgentError, match=rf"input-not-listable.*{why}") as caught:
        input_list(read)
    assert caught.value.exit_code is ExitCode.INPUT_UNUSABLE


@pytest.fixture
def volume(tmp_path) -> Path:
    folder = tmp_path / "volume é"
    folder.mkdir()
    (folder / "a.parquet").write_bytes(b"a" * 3_000_000)
    (folder / "b c%.parquet").write_bytes(b"")
    return folder


@pytest.fixture
def private(tmp_path) -> Path:
    folder = tmp_path / "private"
    folder.mkdir()
    return folder


def test_exactly_the_listed_files_are_copied(volume, private):
    listed = parse_input_list(input_list(input_files(volume.as_uri())))
    (volume / "later.parquet").write_bytes(b"later")
    (volume / "notes.txt").touch()
    copy_listed(volume.as_uri(), listed, private)
    assert {path.name: path.read_bytes() for path in private.iterdir()} == {
        "a.parquet": b"a" * 3_000_000,
        "b c%.parquet": b"",
    }


def test_a_file_that_differs_is_named_with_both_digests(volume, private):
    listed = parse_input_list(input_list(input_files(volume.as_uri())))
    (volume / "b c%.parquet").write_bytes(b"b")
    with pytest.raises(AgentError) as caught:
        copy_listed(volume.as_uri(), listed, private)
    assert (caught.value.code, caught.value.exit_code) == ("executor-input-differs", ExitCode.INPUT_CHANGED)
    assert f"of 1 bytes: b c%.parquet · expected: {listed[1].sha256} of 0 bytes" in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "code"),
    [
        pytest.param(None, "launch-invalid", id="nowhere"),
        pytest.param("wasbs://c@a.blob.core.windows.net/x", "input-scheme", id="blob"),
        pytest.param("file:///no/such/folder", "input-not-read", id="no-folder"),
    ],
)
def test_a_place_without_the_files_is_named(private, uri, code):
    with pytest.raises(AgentError) as caught:
        copy_listed(uri, [ListedFile("a.parquet", 1, DIGEST)], private)
    assert caught.value.code == code


def test_no_file_of_the_private_folder_is_overwritten(volume, private):
    (private / "a.parquet").write_bytes(b"before")
    with pytest.raises(AgentError, match=r"input-not-read.*File exists"):
        copy_listed(volume.as_uri(), [ListedFile("a.parquet", 1, DIGEST)], private)
    assert (private / "a.parquet").read_bytes() == b"before"
