"""The commit marker of results in Blob: what is written is read, and nothing else is taken for one."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from confidential_spark.core.errors import ResultError
from confidential_spark.hooks.results.blob_marker import FileDigest, Marker
from confidential_spark.hooks.results.store import SAFE_NAME
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime(2026, 11, 29, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
DIGEST = FileDigest.of(b"{}")
MARKER = Marker(key="month=2018-05", version="run.1", published_at=NOW, files={"summary.json": DIGEST})

names = st.from_regex(SAFE_NAME, fullmatch=True)
segments = st.text(st.characters(exclude_characters="/\\\x7f", exclude_categories=("Cc", "Cs")), min_size=1)
file_names = st.lists(segments.filter(lambda part: part not in (".", "..")), min_size=1, max_size=3).map(
    "/".join
)
digests = st.builds(FileDigest.of, st.binary(max_size=10))


@given(names, names, st.dictionaries(file_names, digests), st.lists(names))
def test_what_is_written_is_read(key, version, files, replaced) -> None:
    marker = Marker(key=key, version=replaced[0] if replaced else version, published_at=NOW, files=files)
    for name in [*replaced[1:], version]:
        marker = marker.followed_by(name, files, NOW)
    assert Marker.parse(marker.to_bytes(), "here") == marker
    assert marker.version == version


def changed(**members: Any) -> bytes:
    return json.dumps({**json.loads(MARKER.to_bytes()), **members}).encode()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\xff\xfe", id="not-text"),
        pytest.param(b"[" * 100_000, id="nested"),
        pytest.param(b'"run.1"', id="not-an-object"),
        pytest.param(changed(v=2), id="another-form"),
        pytest.param(changed(more=1), id="unknown-member"),
        pytest.param(changed(version="../run.2"), id="version-elsewhere"),
        pytest.param(changed(published_at="2026-11-29T01:00:00"), id="time-without-zone"),
        pytest.param(changed(files={"../up": DIGEST.model_dump()}), id="file-elsewhere"),
        pytest.param(changed(files={"/etc/passwd": DIGEST.model_dump()}), id="absolute-file"),
        pytest.param(changed(files={"a": {"size": -1, "sha256": "0" * 64}}), id="negative-size"),
        pytest.param(
            changed(files={"a": {"size": 1, "sha256": "0" * 64 + "\n"}}), id="digest-with-a-line-break"
        ),
        pytest.param(changed(replaced=[{"version": "run.0"}]), id="replaced-without-time"),
    ],
)
def test_nothing_else_is_taken_for_one(content: bytes) -> None:
    assert Marker.parse(changed(), "here") == MARKER
    with pytest.raises(ResultError, match=r"results-obstructed.*here"):
        Marker.parse(content, "here")


@given(st.binary(max_size=200))
def test_any_bytes_are_a_marker_or_a_named_error(content: bytes) -> None:
    with pytest.raises(ResultError, match="results-obstructed"):
        Marker.parse(content, "here")


def test_replaced_versions_are_kept_for_the_grace_period() -> None:
    marker = MARKER.followed_by("run.2", {}, NOW).followed_by("run.3", {}, NOW + HOUR)
    assert [marker.was_replaced(name) for name in ("run.1", "run.2", "run.3")] == [True, True, False]
    assert marker.over(HOUR, NOW + HOUR) == []
    assert marker.over(HOUR, NOW + HOUR + timedelta(seconds=1)) == ["run.1"]
    assert [each.version for each in marker.without(["run.1"]).replaced] == ["run.2"]


@pytest.mark.parametrize(
    ("files", "held"),
    [
        pytest.param({}, True, id="none"),
        pytest.param({"summary.json": DIGEST}, True, id="all"),
        pytest.param({"summary.json": FileDigest.of(b"[]")}, False, id="changed"),
        pytest.param({"summary.json": DIGEST, "more": DIGEST}, False, id="one-more"),
    ],
)
def test_files_are_its_version_s_or_not(files: dict[str, FileDigest], held: bool) -> None:
    assert MARKER.holds(files) is held
