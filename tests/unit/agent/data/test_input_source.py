from __future__ import annotations

import os

import pytest
from confidential_spark.agent.data.input_source import input_names, input_uri, open_input
from confidential_spark.agent.errors import AgentError, ExitCode


@pytest.fixture
def month(tmp_path):
    folder = tmp_path / "puMonth=5 [é]"
    folder.mkdir()
    for name in ("b.parquet", "a.parquet", "_SUCCESS", ".a.parquet.crc"):
        (folder / name).write_text(name)
    return folder


def test_names_are_those_that_spark_reads_in_order(month):
    assert input_names(month.as_uri()) == ["a.parquet", "b.parquet"]


def test_a_name_has_an_address_and_bytes(month):
    assert input_uri(month.as_uri(), "a.parquet") == (month / "a.parquet").as_uri()
    with open_input(month.as_uri(), "a.parquet") as source:
        assert source.read() == b"a.parquet"


def test_one_file_is_an_input_whatever_is_beside_it(month):
    (month / "notes.txt").touch()
    place = (month / "a.parquet").as_uri()
    assert input_names(place) == ["a.parquet"]
    assert input_uri(place, "a.parquet") == place
    with open_input(place, "a.parquet") as source:
        assert source.read() == b"a.parquet"
    with pytest.raises(OSError, match="no such file"):
        open_input(place, "b.parquet")


def test_a_folder_may_have_the_name_of_a_file_in_it(tmp_path):
    folder = tmp_path / "a.parquet"
    folder.mkdir()
    (folder / "a.parquet").write_text("inner")
    assert input_uri(folder.as_uri(), "a.parquet") == (folder / "a.parquet").as_uri()


def test_one_file_must_be_parquet(month):
    (month / "notes.txt").touch()
    with pytest.raises(AgentError, match="input-foreign-file"):
        input_names((month / "notes.txt").as_uri())


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        pytest.param(lambda m: (m / "notes.txt").touch(), "input-foreign-file", id="foreign-file"),
        pytest.param(
            lambda m: (m / "c.parquet").mkdir(), "input-foreign-file", id="folder-named-like-a-file"
        ),
        pytest.param(lambda m: os.mkfifo(m / "c.parquet"), "input-foreign-file", id="pipe"),
        pytest.param(lambda m: [f.unlink() for f in m.glob("?.parquet")], "input-empty", id="empty"),
    ],
)
def test_refuses_inputs(month, spoil, code):
    spoil(month)
    with pytest.raises(AgentError) as caught:
        input_names(month.as_uri())
    assert (caught.value.code, caught.value.exit_code) == (code, ExitCode.INPUT_UNUSABLE)


@pytest.mark.parametrize(
    ("uri", "code"),
    [
        pytest.param("wasbs://trips@account.blob.core.windows.net/x", "input-scheme", id="blob"),
        pytest.param("file://otherhost/data", "input-scheme", id="other-host"),
        pytest.param("file:///data?x", "input-scheme", id="query"),
        pytest.param("file:///no/such/folder", "input-missing", id="missing"),
    ],
)
def test_refuses_locations(uri, code):
    with pytest.raises(AgentError) as caught:
        input_names(uri)
    assert (caught.value.code, caught.value.exit_code) == (code, ExitCode.INPUT_UNUSABLE)


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda p: p.unlink(), id="gone"),
        pytest.param(lambda p: (p.unlink(), p.mkdir()), id="folder"),
        # Nobody writes to it: whoever opened it would wait for ever.
        pytest.param(lambda p: (p.unlink(), os.mkfifo(p)), id="pipe"),
    ],
)
def test_what_is_no_file_is_not_opened(month, spoil):
    spoil(month / "a.parquet")
    with pytest.raises(FileNotFoundError, match="no such file"):
        open_input(month.as_uri(), "a.parquet")
