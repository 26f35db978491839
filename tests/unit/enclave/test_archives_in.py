"""Input on its way in: a tar stream that every tar reads, or an error with a name."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING, Any

import pytest
from confidential_spark.core.errors import InputError
from confidential_spark.enclave.archives import Entry, tar_stream
from hypothesis import given
from hypothesis import strategies as st

if TYPE_CHECKING:
    from pathlib import Path


def archive(entries: list[Entry]) -> tarfile.TarFile:
    return tarfile.open(fileobj=io.BytesIO(b"".join(tar_stream(entries, user_id=10_001))))


@given(content=st.binary(max_size=3000))
def test_every_content_arrives(tmp_path_factory: Any, content: bytes) -> None:
    source = tmp_path_factory.mktemp("in") / "a.parquet"
    source.write_bytes(content)
    with archive([Entry("input"), Entry("input/a.parquet", source), Entry("results")]) as tar:
        assert tar.getnames() == ["input", "input/a.parquet", "results"]
        file = tar.extractfile("input/a.parquet")
        assert file is not None
        assert file.read() == content


def test_everything_belongs_to_the_enclaves_user_alone(tmp_path: Path) -> None:
    source = tmp_path / "a.parquet"
    source.write_bytes(b"x")
    with archive([Entry("results"), Entry("a.parquet", source)]) as tar:
        assert [(m.uid, m.gid, oct(m.mode)) for m in tar] == [
            (10_001, 10_001, "0o700"),
            (10_001, 10_001, "0o400"),
        ]


@pytest.mark.parametrize(
    ("after", "code"),
    [
        pytest.param(b"longer", "input-changed", id="grows"),
        pytest.param(b"", "input-changed", id="shrinks"),
        pytest.param(None, "input-not-read", id="vanishes"),
    ],
)
def test_a_file_that_changes_meanwhile_has_a_name(tmp_path: Path, after: bytes | None, code: str) -> None:
    source = tmp_path / "a.parquet"
    source.write_bytes(b"four")
    stream = tar_stream([Entry("a.parquet", source)], user_id=1)
    next(stream)
    source.unlink()
    if after is not None:
        source.write_bytes(after)
    with pytest.raises(InputError) as failure:
        list(stream)
    assert failure.value.code == code
    assert "a.parquet" in str(failure.value)
