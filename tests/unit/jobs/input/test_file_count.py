"""A month's list of files fits into the statement, and with executors into one answer."""

from __future__ import annotations

import json

import pytest
from confidential_spark.agent.executors.input_list import MAX_FILES, MAX_NAME_BYTES
from confidential_spark.agent.launch import launch_file
from confidential_spark.core.errors import InputError
from confidential_spark.jobs.input.file_count import (
    MOST_BLOBS,
    MOST_FILES,
    MOST_LIST_BYTES,
    require_few_blobs,
    require_few_files,
)
from confidential_spark.jobs.input.manifest import InputFile, InputManifest

FOLDER = "file:///data/yellow/puYear=2018/puMonth=5"


def month(files: int, name: str = "part-{:05d}.parquet") -> InputManifest:
    entries = (InputFile(name.format(n), 6_200, f"{n:064x}", 4, 1) for n in range(files))
    return InputManifest(
        FOLDER, "2018-05", tuple(entries), version="", columns=(), synthetic=False, extra_columns=()
    )


@pytest.mark.parametrize(
    ("files", "for_executors"),
    [
        pytest.param(5_000, False, id="small-files-of-a-stream"),
        pytest.param(MOST_FILES, False, id="as-many-as-may-be"),
        pytest.param(MAX_FILES, True, id="as-many-as-executors-take"),
    ],
)
def test_a_list_that_fits_is_taken(files: int, for_executors: bool) -> None:
    require_few_files(month(files), for_executors=for_executors)


@pytest.mark.parametrize(
    ("files", "for_executors", "got", "expected"),
    [
        pytest.param(MOST_FILES + 1, False, "10001 files", "at most 10000", id="too-many"),
        pytest.param(MAX_FILES + 1, True, "257 files", "at most 256 on this platform", id="for-executors"),
    ],
)
def test_a_list_that_does_not_fit_is_refused(
    files: int, for_executors: bool, got: str, expected: str
) -> None:
    with pytest.raises(InputError) as refused:
        require_few_files(month(files), for_executors=for_executors)
    error = refused.value
    assert (error.code, error.got, error.expected) == ("input-too-many-files", got, expected)
    assert "coalesce" in str(error.action)


def test_a_month_of_400_parts_in_blob_is_told_why_and_what_to_do() -> None:
    folder = "https://account.blob.core.windows.net/trips/2018-05"
    with pytest.raises(InputError) as refused:
        require_few_blobs(400, folder)
    error = refused.value
    assert (error.code, error.retryable) == ("input-too-many-files", False)
    assert (error.got, error.expected) == (f"400 blobs in {folder}", "at most 256")
    assert "a token for each" in error.message
    assert "coalesce(8)" in str(error.action)
    assert f"{MOST_FILES:,} files" in str(error.action)
    require_few_blobs(MOST_BLOBS, folder)


def test_a_launch_file_has_place_for_as_many_blobs_as_a_month_may_have() -> None:
    """With longer tokens than Azure's library signs for an identity, and names as Spark gives them."""
    name = f"part-00000-{'a' * 36}-c000.snappy.parquet"
    record = {"name": name, "bytes": 2**30, "etag": "0x8DD" + "F" * 12, "sas": "s" * 700}
    assert MOST_BLOBS <= launch_file.MAX_ITEMS
    assert len(json.dumps([record] * MOST_BLOBS)) < launch_file.MAX_FILE_BYTES * 0.9


def test_long_names_count_by_their_bytes() -> None:
    longest = "x" * (MAX_NAME_BYTES - len("00000.parquet")) + "{:05d}.parquet"
    with pytest.raises(InputError, match=f"input-too-many-files.*at most {MOST_LIST_BYTES} bytes"):
        require_few_files(month(MOST_FILES, longest), for_executors=False)
